//go:build linux

package real

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Coming and going must not be felt, neither in good order nor when epwatch is killed in the middle of anything.
func TestAttachDetachUnderLoad(t *testing.T) {
	for _, p := range programs() {
		if p.name != "nginx" && p.name != "go" {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			need(t, append(p.needs, "bpftool")...)
			s := p.start(t)
			held := func() (n int) {
				for _, pid := range s.pids {
					n += descriptors(t, pid)
				}
				return n
			}
			// Under load it holds what it serves as well, so it is compared with itself at rest.
			askExactly(t, s, 1)
			before, loaded := held(), map[uint32]bool{}
			l := pattern{conns: 16, pause: 2 * time.Millisecond}.run(t, s)
			l.warm(t)
			for i := range setting(t, "EPWATCH_REAL_ATTACHES", 40) / 2 {
				comeAndGo(t, s, i, loaded)
			}
			for range 5 {
				o := beginAttach(t, s.pids, "--quiet")
				time.Sleep(rand.N(600 * time.Millisecond))
				loadedBy(o.pid, loaded)
				o.kill()
			}
			asked := l.asked.Load()
			if err := until(deadline, func() bool { return l.asked.Load() > asked+100 }); err != nil {
				t.Error("the load stopped when epwatch had gone")
			}
			l.check(t)
			if err := until(deadline, func() bool { return held() == before }); err != nil {
				t.Errorf("%d descriptors of the server before, %d after", before, held())
			}
			t.Logf("%d requests", l.asked.Load())
			if len(loaded) == 0 {
				t.Error("no BPF program was seen while epwatch ran")
			}
			// The kernel frees programs some time after their last user has gone.
			left := func() []string { return abandoned(t, loaded) }
			if err := until(deadline, func() bool { return len(left()) == 0 }); err != nil {
				t.Errorf("BPF programs of nobody are left: %q", left())
			}
		})
	}
}

// comeAndGo ends every second observation at once, the others when they have seen something.
func comeAndGo(t *testing.T, s *target, i int, loaded map[uint32]bool) {
	t.Helper()
	o := attach(t, s.pids, "--quiet")
	loadedBy(o.pid, loaded)
	if i%2 == 0 {
		time.Sleep(100 * time.Millisecond)
	}
	descriptorsBefore := descriptors(t, o.pid)
	if i%2 == 0 {
		time.Sleep(50 * time.Millisecond)
		if after := descriptors(t, o.pid); after > descriptorsBefore {
			t.Errorf("%d descriptors of epwatch, then %d", descriptorsBefore, after)
		}
	}
	judge(t, o.end(t), busyEnds())
}

// loadedBy collects the BPF programs that a process holds, itself or by what attaches them. Others may come and go on this
// machine at the same time.
func loadedBy(pid int, into map[uint32]bool) {
	infos, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	for _, info := range infos {
		text, _ := os.ReadFile(info) // it may be closed by now
		for line := range strings.Lines(string(text)) {
			if id, ok := strings.CutPrefix(line, "prog_id:"); ok {
				if n, err := strconv.ParseUint(strings.TrimSpace(id), 10, 32); err == nil {
					into[uint32(n)] = true
				}
			}
		}
	}
}

// abandoned returns which of these programs the kernel still has.
func abandoned(t *testing.T, loaded map[uint32]bool) []string {
	t.Helper()
	path, err := find("bpftool")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--json", "prog", "show")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		ID   uint32
		Name string
	}
	decode(t, out, &all)
	var left []string
	for _, p := range all {
		if loaded[p.ID] {
			left = append(left, fmt.Sprint(p.ID, " ", p.Name))
		}
	}
	return left
}
