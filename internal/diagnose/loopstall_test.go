package diagnose_test

import (
	"testing"

	"github.com/epwatch/epwatch/internal/diagnose"
)

// A thread is asked about once when its items have waited as long as the threshold, and nobody else is.
func TestStallAsksWhatTheThreadDoes(t *testing.T) {
	for name, want := range map[string]int{
		"stall-computing": 1, "stall-no-sched": 1, "stall-ongoing": 2, "stall-nobody-waits": 0, "stall-pool": 0, "stall-late-arrival": 0,
		"et-drain": 0,
	} {
		asked := 0
		playHistory(t, name, func(o *diagnose.Options) {
			o.Look = func(pid, tid uint32) {
				asked++
				if pid != 100 || tid != 100 {
					t.Errorf("%s: asked about thread %d of process %d", name, tid, pid)
				}
			}
		})
		if asked != want {
			t.Errorf("%s: asked %d times, want %d", name, asked, want)
		}
	}
}
