package tracer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/proc"
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

// turnEvents returns what was told of one of the workload's turns.
func turnEvents(t *testing.T, events []event.Event, lines []string, turn string) []event.Event {
	t.Helper()
	for _, line := range lines {
		var name string
		var tid uint32
		var begun, ended event.Time
		if n, _ := fmt.Sscanf(line, "turn %s %d %d %d", &name, &tid, &begun, &ended); n != 4 {
			t.Fatalf("the workload said %q", line)
		}
		if name != turn {
			continue
		}
		return slices.DeleteFunc(slices.Clone(events), func(e event.Event) bool {
			return e.Kind != event.KindSched || e.TID != tid || e.Start < begun || e.Time > ended
		})
	}
	t.Fatalf("the workload said nothing of %s: %q", turn, lines)
	return nil
}

// toldTurns adds up what was told of each turn.
func toldTurns(t *testing.T, events []event.Event, lines []string) map[string]told {
	t.Helper()
	turns := make(map[string]told)
	for _, p := range turnPlays() {
		turns[p.name] = told{}
		var sum, whole time.Duration
		for _, e := range turnEvents(t, events, lines, p.name) {
			turns[p.name][strings.TrimSpace(e.Sched.Doing.String()+" "+e.Sched.Call)] += e.Sched.For
			sum += e.Sched.For
			whole = e.Time.Sub(e.Start)
		}
		if sum != whole {
			t.Errorf("%s: the parts of the turn are %v, the turn %v", p.name, sum, whole)
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
			const slack = longTurn / 8
			little := longTurn / 4
			if os.Getenv("EPWATCH_VM") != "" {
				little *= 2 // emulation: a thread blocks for longer where the runtime or the kernel has it wait for a moment
			}
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

// TestLook asks again and again what the workload's thread is doing, and wants to hear of each sort while it lasts.
func TestLook(t *testing.T) {
	needPrivileges(t)
	cmd, gate, out := startWorkload(t, "turns")
	pid := uint32(cmd.Process.Pid)
	tr := open(t, Options{PIDs: []uint32{pid}, SlowTurn: longTurn / 2})
	t.Cleanup(func() { tr.Close() })
	if _, err := gate.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, out)
		ended <- errors.Join(err, cmd.Wait())
		tr.Stop()
	}()
	heard := make(map[string]bool)
	tid := pid
	var batch []event.Event
	var err error
	for !errors.Is(err, io.EOF) {
		tr.Look(pid, tid)
		if batch, err = tr.Read(batch[:0]); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		var answered event.Time
		for _, e := range batch {
			if e.Kind == event.KindWaitEnter && e.MaxEvents == 1 {
				tid = e.TID // the workload's, not one of the runtime's
			}
			if e.Kind != event.KindSched || !e.Has(event.Ongoing) {
				continue
			}
			heard[strings.TrimSpace(e.Sched.Doing.String()+" "+e.Sched.Call)] = true
			if e.PID != pid || e.Start == 0 || e.Start > e.Time || e.Sched.For > e.Time.Sub(e.Start) || e.Time == answered {
				t.Errorf("an answer that cannot be: %+v", e)
			}
			answered = e.Time
		}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"blocked clock_nanosleep", "blocked read", "stopped"} {
		if !heard[want] {
			t.Errorf("nobody said %q while it lasted, only %v", want, heard)
		}
	}
	// On a busy machine who computes is without a processor whenever somebody looks.
	if !heard["computing"] && !heard["runnable"] {
		t.Errorf("nobody said that it wanted to compute, only %v", heard)
	}
}

// TestTurnsDecode holds the parts that are told against each other, for a turn that is over and for one that is not.
func TestTurnsDecode(t *testing.T) {
	const ms = uint64(time.Millisecond)
	var r epwatchSchedEvent
	r.H.Kind, r.H.Ts, r.H.Pid, r.H.Tid, r.H.Lost = uint16(event.KindSched), 100*ms, 7, 8, 2
	r.Start, r.Runnable, r.Other = 40*ms, 10*ms, 3*ms
	r.Sleeps[0].Time, r.Sleeps[0].Number, r.Sleeps[0].Times = 20*ms, 0, 4
	r.Sleeps[1].Time, r.Sleeps[1].Number, r.Sleeps[1].Times = 5*ms, sleepStopped, 1
	r.Sleeps[2].Time, r.Sleeps[2].Number, r.Sleeps[2].Times = 2*ms, sleepNoCall, 1
	var d decoder
	events, err := d.decode(nil, bytesOf(&r))
	if err != nil {
		t.Fatal(err)
	}
	describe := func(events []event.Event) (s []string) {
		for _, e := range events {
			s = append(s, fmt.Sprintf("%v %q %v %d lost %d ongoing %v", e.Sched.Doing, e.Sched.Call, e.Sched.For, e.Sched.Times, e.Lost, e.Has(event.Ongoing)))
		}
		return s
	}
	first := proc.CallName(0)
	if diff := cmp.Diff([]string{
		`computing "" 20ms 0 lost 2 ongoing false`, `runnable "" 10ms 0 lost 0 ongoing false`,
		fmt.Sprintf(`blocked %q 20ms 4 lost 0 ongoing false`, first), `stopped "" 5ms 1 lost 0 ongoing false`,
		`blocked "" 2ms 1 lost 0 ongoing false`, `blocked "other calls" 3ms 0 lost 0 ongoing false`,
	}, describe(events)); diff != "" {
		t.Errorf("a turn that is over (-want +got):\n%s", diff)
	}

	u := turn{Since: 40 * ms, Off: 60 * ms, Runnable: 5 * ms, Call: 0}
	u.Sleeps[0].Time, u.Sleeps[0].Number, u.Sleeps[0].Times = 10*ms, 0, 1
	if diff := cmp.Diff([]string{
		`computing "" 5ms 0 lost 0 ongoing false`, `runnable "" 5ms 0 lost 0 ongoing false`,
		fmt.Sprintf(`blocked %q 50ms 2 lost 0 ongoing true`, first),
	}, describe(u.append(nil, thread{7, 8}, event.Time(100*ms), stackOf{}, stackOf{}))); diff != "" {
		t.Errorf("asleep (-want +got):\n%s", diff)
	}
	u.Woken = 70 * ms
	if diff := cmp.Diff([]string{
		`computing "" 5ms 0 lost 0 ongoing false`, `runnable "" 35ms 0 lost 0 ongoing true`,
		fmt.Sprintf(`blocked %q 20ms 2 lost 0 ongoing false`, first),
	}, describe(u.append(nil, thread{7, 8}, event.Time(100*ms), stackOf{}, stackOf{}))); diff != "" {
		t.Errorf("awake without a processor (-want +got):\n%s", diff)
	}
}
