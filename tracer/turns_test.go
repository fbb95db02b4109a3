package tracer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// parts of a turn that was told, by what the thread did, and by call where it was blocked.
type told map[string]time.Duration

func (p told) sum(prefix string) time.Duration {
	var d time.Duration
	for name, part := range p {
		if strings.HasPrefix(name, prefix) {
			d += part
		}
	}
	return d
}

// toldTurns reads the turns that the workload says it played, with what was told of each.
func toldTurns(t *testing.T, events []event.Event, lines []string) map[string]told {
	t.Helper()
	turns := make(map[string]told)
	for _, line := range lines {
		var name string
		var tid uint32
		var begun, ended event.Time
		if n, _ := fmt.Sscanf(line, "turn %s %d %d %d", &name, &tid, &begun, &ended); n != 4 {
			t.Fatalf("the workload said %q", line)
		}
		turns[name] = told{}
		var sum, whole time.Duration
		for _, e := range events {
			if e.Kind != event.KindSched || e.TID != tid || e.Start < begun || e.Time > ended {
				continue
			}
			turns[name][strings.TrimSpace(e.Sched.Doing.String()+" "+e.Sched.Call)] += e.Sched.For
			sum += e.Sched.For
			whole = e.Time.Sub(e.Start)
		}
		if sum != whole {
			t.Errorf("%s: the parts of the turn are %v, the turn %v", name, sum, whole)
		}
	}
	return turns
}

// TestTurnsAreToldApart plays a turn of each sort and wants to be told which it was.
func TestTurnsAreToldApart(t *testing.T) {
	needPrivileges(t)
	for _, family := range usableFamilies(t) {
		t.Run(string(family), func(t *testing.T) {
			events, lines, _ := observe(t, "turns", Options{Backend: family, SlowTurn: longTurn / 2})
			turns := toldTurns(t, events, lines)
			// A blocked or computing thread of a busy machine waits for a processor besides, so only what the program did itself is
			// held against the clock from both sides.
			atLeast := func(turn, part string, least time.Duration) {
				t.Helper()
				if got := turns[turn].sum(part); got < least {
					t.Errorf("%s: %q lasted %v, want %v at least: %v", turn, part, got, least, turns[turn])
				}
			}
			atMost := func(turn, part string, most time.Duration) {
				t.Helper()
				if got := turns[turn].sum(part); got > most {
					t.Errorf("%s: %q lasted %v, want %v at most: %v", turn, part, got, most, turns[turn])
				}
			}
			const little, slack = longTurn / 4, longTurn / 20
			if len(turns["short"]) > 0 {
				t.Errorf("a short turn was told: %v", turns["short"])
			}
			atLeast("computing", "computing", longTurn-slack)
			atMost("computing", "blocked", little)
			atLeast("sleeping", "blocked clock_nanosleep", longTurn-slack)
			atMost("sleeping", "computing", little)
			atLeast("reading", "blocked read", longTurn-slack)
			atMost("reading", "computing", little)
			atLeast("runnable", "computing", longTurn-slack)
			atLeast("runnable", "runnable", longTurn/2)
			atMost("runnable", "blocked", little)
			atLeast("stopped", "stopped", longTurn-slack)
			atMost("stopped", "computing", little)
			atLeast("many", "blocked read", longTurn-slack)
			atLeast("many", "blocked "+event.OtherCalls, time.Millisecond)
			if t.Failed() {
				t.Logf("the workload said %q", lines)
			}
		})
	}
}

// TestNoTurnsUnlessAsked wants neither programs nor events where nobody asks for turns.
func TestNoTurnsUnlessAsked(t *testing.T) {
	needPrivileges(t)
	events, _, tr := observe(t, "tour", Options{Backend: usableFamilies(t)[0]})
	for _, h := range tr.Hooks() {
		if h.Event == "sched" {
			t.Errorf("hooks for turns: %v", h.Programs)
		}
	}
	for _, e := range events {
		if e.Kind == event.KindSched {
			t.Errorf("a turn was told: %+v", e.Sched)
		}
	}
}
