package tracer

import (
	"bufio"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// TestSnapshot attaches to a process that is stuck already, and whose loop sleeps: its files, its interest list and its
// sleeper are known at once, and the sleeper's return and deliveries are seen although its call was not.
func TestSnapshot(t *testing.T) {
	needPrivileges(t)
	cmd, gate, out := startWorkload(t, "stuck")
	if _, err := gate.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	var epfd, server int32
	var sleeper, other uint32
	lines := bufio.NewScanner(out)
	lines.Scan()
	if n, _ := fmt.Sscanf(lines.Text(), "stuck %d %d %d %d", &epfd, &server, &sleeper, &other); n != 4 {
		t.Fatalf("the workload said %q", lines.Text())
	}
	pid := uint32(cmd.Process.Pid)
	tr := open(t, Options{PIDs: []uint32{pid}, Existing: true})
	defer tr.Close()
	// As if the other thread had been found in a wait that it left before that was written down: it is in a read.
	stale := epwatchCall{Start: 1, Fd: event.NoFD, Epfd: epfd, Call: uint8(event.CallEpollPwait), Number: unix.SYS_EPOLL_PWAIT}
	if err := tr.coll.Maps[epwatchMapCalls].Put(uint64(pid)<<32|uint64(other), stale); err != nil {
		t.Fatal(err)
	}
	if _, err := gate.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	tr.Stop()
	events := drain(t, tr)

	var epoll event.Addr
	for _, e := range events {
		if e.Kind == event.KindSnapshot && e.Has(event.IsEpoll) && e.FD == epfd {
			epoll = e.EpollAddr
		}
	}
	if epoll == 0 {
		t.Error("no snapshot of the epoll instance")
	}
	want := map[string]func(e *event.Event) bool{
		"the connection's descriptor": func(e *event.Event) bool {
			return e.Kind == event.KindSnapshot && e.FD == server && e.SockAddr != 0
		},
		"the connection with 4 bytes unread": func(e *event.Event) bool {
			return e.Kind == event.KindSnapshot && e.FD == server && e.NewState == event.Established && e.Unread == 4 && e.Has(event.HasUnread)
		},
		"its item in the interest list": func(e *event.Event) bool {
			return e.Kind == event.KindSnapshot && e.EpFD == epfd && e.FD == server && e.EpollAddr == epoll && e.Data&0xffffffff == uint64(server) &&
				e.Events&(event.In|event.RdHup|event.ET) == event.In|event.RdHup|event.ET && e.FileAddr != 0
		},
		"the sleeper": func(e *event.Event) bool {
			return e.Kind == event.KindWaitEnter && e.TID == sleeper && e.EpFD == epfd && e.EpollAddr == epoll
		},
		"the wakeup with 5 bytes unread": func(e *event.Event) bool {
			return e.Kind == event.KindWakeup && e.FD == server && e.EpollAddr == epoll && e.Unread == 5 && e.Key&event.In != 0
		},
		"the sleeper's return": func(e *event.Event) bool {
			return e.Kind == event.KindWaitReturn && e.TID == sleeper && e.EpollAddr == epoll && e.Ret == 1
		},
		"the delivery": func(e *event.Event) bool {
			return e.Kind == event.KindDeliver && e.TID == sleeper && e.Data&0xffffffff == uint64(server) && e.Events == event.In
		},
	}
	for what, is := range want {
		seen := 0
		for i := range events {
			if is(&events[i]) {
				seen++
			}
		}
		if seen != 1 {
			t.Errorf("%s was seen %d times, want once", what, seen)
		}
	}
	for _, e := range events {
		if e.Kind == event.KindWaitReturn && e.TID == other {
			t.Error("a wait returned that had returned before")
		}
	}
	if t.Failed() {
		dump(t, events)
	}
}
