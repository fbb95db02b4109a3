package tracer

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/event"
)

// ownNames names the addresses of the workload: it is this very program, and loaded at the same place.
func ownNames(_ uint32, user, kernel []uint64) *event.Stack {
	s := &event.Stack{}
	var callers []uintptr
	for i, address := range user {
		if i == 0 {
			address++ // the others are return addresses, behind the call
		}
		callers = append(callers, uintptr(address))
	}
	frames := runtime.CallersFrames(callers)
	for more := len(callers) > 0; more; {
		var f runtime.Frame
		f, more = frames.Next()
		s.User = append(s.User, f.Function)
	}
	for range kernel {
		s.Kernel = append(s.Kernel, "a function")
	}
	return s
}

// TestStacks wants to be told where the thread was in each turn.
func TestStacks(t *testing.T) {
	needPrivileges(t)
	events, lines, tr := observe(t, "turns", Options{SlowTurn: longTurn / 2, Stacks: ownNames})
	sampled := slices.ContainsFunc(tr.Hooks(), func(h Hook) bool { return h.Event == "samples" && h.Family != "" })
	if !sampled {
		t.Logf("no samples here: %+v", tr.Hooks())
	}
	for _, want := range []struct {
		turn     string
		doing    event.Doing
		call     string
		function string
		sample   bool
	}{
		{"computing", event.Computing, "", "tracer.burn", true},
		{"runnable", event.Computing, "", "tracer.burn", true},
		{"sleeping", event.Blocked, "clock_nanosleep", "tracer.sleep", false},
		{"reading", event.Blocked, "read", "tracer.readSlowly", false},
		{"many", event.Blocked, "read", "tracer.sleepInMany", false},
	} {
		if want.sample && !sampled {
			continue
		}
		found := false
		for _, e := range turnEvents(t, events, lines, want.turn) {
			if e.Sched.Doing != want.doing || e.Sched.Call != want.call || e.Sched.Stack == nil {
				continue
			}
			found = true
			if !slices.ContainsFunc(e.Sched.Stack.User, func(name string) bool { return strings.Contains(name, want.function) }) {
				t.Errorf("%s: the stack is %q, want %s in it", want.turn, e.Sched.Stack.User, want.function)
			}
			if want.doing == event.Blocked && len(e.Sched.Stack.Kernel) < 3 {
				t.Errorf("%s: the kernel's stack has %d functions", want.turn, len(e.Sched.Stack.Kernel))
			}
		}
		if !found {
			t.Errorf("%s: no stack of %v %s", want.turn, want.doing, want.call)
		}
	}
}

func TestProcessorLists(t *testing.T) {
	for list, want := range map[string][]int{"0": {0}, "0-1": {0, 1}, "0-2,5,7-8": {0, 1, 2, 5, 7, 8}} {
		got, err := parseProcessors(list)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", list, err, diff)
		}
	}
	for _, bad := range []string{"", "a", "3-1", "0,,1", "0-"} {
		if got, err := parseProcessors(bad); err == nil {
			t.Errorf("%q is understood as %v", bad, got)
		}
	}
}
