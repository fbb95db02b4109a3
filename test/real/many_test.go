//go:build linux

package real

import (
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	manyConnections = 10_000
	maxAttach       = 2 * time.Second
	maxMemory       = 100 << 10 // KiB
	// spareDescriptors are those of the server and of this test that are no connection.
	spareDescriptors = 300
)

// Ten thousand connections in one epoll instance are taken in at once, and what comes and goes leaves nothing behind.
func TestMany(t *testing.T) {
	need(t)
	n := manyConnections
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if most := int(min(limit.Max, 1<<20)) - spareDescriptors; most < n {
		t.Logf("RLIMIT_NOFILE allows %d connections, not %d", most, n)
		n = most
	}
	s := startRole(t, roleEpoll)
	crowd := make([]*conn, n)
	t.Cleanup(func() {
		for _, c := range crowd {
			if c != nil {
				c.Close()
			}
		}
	})
	connect := func(i int) {
		c, err := dial(s.address, s.speaks)
		if err == nil {
			crowd[i] = c
			err = c.ask()
		}
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	for i := range crowd {
		connect(i)
	}
	if held := descriptors(t, s.pids[0]); held < n {
		t.Fatalf("the server holds %d descriptors, not %d", held, n)
	}

	if _, err := built.path(); err != nil { // it may take long, and is not what is measured
		t.Fatal(err)
	}
	before := time.Now()
	o := attach(t, s.pids)
	took := time.Since(before)
	first := memory(t, o.pid, "VmHWM")
	t.Logf("%d connections: attached within %v with %d KiB", n, took.Round(time.Millisecond), first)
	if took > maxAttach {
		t.Errorf("attaching took %v, want %v at most", took, maxAttach)
	}
	if first > maxMemory {
		t.Errorf("attaching took %d KiB, want %d at most", first, maxMemory)
	}

	// Connections are replaced one after the other; a quarter of the time is for everything to have its size.
	var replaced atomic.Int64
	done := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() {
		for i := 0; ; i = (i + 1) % n {
			select {
			case <-done:
				return
			default:
			}
			crowd[i].Close()
			c, err := dial(s.address, s.speaks)
			if err == nil {
				crowd[i] = c
				err = c.ask()
			}
			if err != nil {
				t.Errorf("connection %d: %v", i, err)
				return
			}
			replaced.Add(1)
		}
	})
	time.Sleep(seconds(t) / 4)
	settled := memory(t, o.pid, "VmHWM")
	time.Sleep(seconds(t))
	last := memory(t, o.pid, "VmHWM")
	close(done)
	churn.Wait()
	t.Logf("%d connections replaced: %d KiB, then %d KiB", replaced.Load(), settled, last)
	if last > maxMemory {
		t.Errorf("%d KiB after %d connections were replaced, want %d at most", last, replaced.Load(), maxMemory)
	}
	r := o.end(t)
	judge(t, r, busyEnds())
	if r.summary.Matched < uint64(replaced.Load()) {
		t.Errorf("%d connections were replaced, and %d reads matched", replaced.Load(), r.summary.Matched)
	}
}
