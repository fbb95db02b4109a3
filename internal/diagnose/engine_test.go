package diagnose_test

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

func TestHistories(t *testing.T) {
	eachHistory(t, func(t *testing.T, path string) {
		h, ar := readHistory(t, path)
		r := (&run{h: h}).play(h.events)
		if r.invalid != nil {
			t.Errorf("no kernel produces this history: %v", r.invalid)
		}
		got := r.text()
		if *update {
			for i := range ar.Files {
				if ar.Files[i].Name == "findings" {
					ar.Files[i].Data = []byte(got)
				}
			}
			if err := os.WriteFile(path, txtar.Format(ar), 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
		if diff := cmp.Diff(h.want, got); diff != "" {
			t.Errorf("findings (-want +got):\n%s", diff)
		}
	})
}

// Events may come in any order within the window, and time may pass between them or not.
func TestHistoriesInOtherOrders(t *testing.T) {
	eachHistory(t, func(t *testing.T, path string) {
		h, _ := readHistory(t, path)
		want := (&run{h: h}).play(h.events)
		for seed := range uint64(10) {
			for _, tick := range []time.Duration{0, time.Millisecond, 90 * time.Millisecond} {
				got := (&run{h: h, tick: tick}).play(shuffled(h.events, seed))
				if got.invalid != nil {
					t.Fatalf("seed %d, tick %v: no kernel produces this history: %v", seed, tick, got.invalid)
				}
				if diff := cmp.Diff(want.out.String(), got.out.String()); diff != "" {
					t.Fatalf("seed %d, tick %v: the timeline differs (-want +got):\n%s", seed, tick, diff)
				}
				if diff := cmp.Diff(want.text(), got.text()); diff != "" {
					t.Fatalf("seed %d, tick %v: findings differ (-want +got):\n%s", seed, tick, diff)
				}
			}
		}
	})
}

// A written history can be judged again.
func TestHistoriesWrittenAndReadAgain(t *testing.T) {
	eachHistory(t, func(t *testing.T, path string) {
		h, _ := readHistory(t, path)
		want := (&run{h: h}).play(h.events)
		var again []event.Event
		for _, line := range bytes.Split(bytes.TrimSpace(want.out.Bytes()), []byte("\n")) {
			ev, err := event.ParseJSON(line)
			if err != nil {
				t.Fatal(err)
			}
			again = append(again, ev)
		}
		got := (&run{h: h}).play(again)
		if diff := cmp.Diff(want.out.String(), got.out.String()); diff != "" {
			t.Errorf("the timeline differs (-first +second):\n%s", diff)
		}
		if diff := cmp.Diff(want.text(), got.text()); diff != "" {
			t.Errorf("findings differ (-first +second):\n%s", diff)
		}
	})
}

func TestFindingsAreComplete(t *testing.T) {
	eachHistory(t, func(t *testing.T, path string) {
		h, _ := readHistory(t, path)
		r := (&run{h: h}).play(h.events)
		for _, f := range r.findings {
			least := 3
			if f.Snapshot {
				least = 2 // the state, and the item
			}
			if len(f.Evidence) < least || len(f.Evidence) > 10 || !slices.IsSorted(f.Evidence) {
				t.Errorf("%s has the evidence %v, want %d to 10 events in order", f.Check, f.Evidence, least)
			}
			for _, seq := range f.Evidence {
				if seq == 0 || seq > r.stats.Total {
					t.Errorf("%s names event %d of %d", f.Check, seq, r.stats.Total)
				}
			}
			// A listener has no peer, a timer or a UNIX socket has no address at all.
			listens := strings.HasPrefix(f.Check, "accept-")
			nameless := h.counts(f.Check) || !listens && !slices.ContainsFunc(h.events, func(ev event.Event) bool { return ev.Peer.IsValid() })
			if f.PID == 0 || f.File == 0 || !nameless && (!f.Local.IsValid() || f.Peer.IsValid() == listens) || f.Fix == "" || f.Message == "" {
				t.Errorf("%s is not complete: pid %d, file %d, %v ← %v, fix %q, message %q", f.Check, f.PID, f.File, f.Local, f.Peer, f.Fix, f.Message)
			}
			if f.End != 0 && f.End < f.Start {
				t.Errorf("%s ends before it starts", f.Check)
			}
		}
		if r.reports < len(r.findings) {
			t.Errorf("%d findings were reported %d times", len(r.findings), r.reports)
		}
	})
}

// counts reports whether the check is one of those that count, which speak of any sort of file.
func (h *history) counts(check string) bool {
	for _, s := range h.opt.Thresholds.Settings() {
		if s.Check == check {
			return s.Count != nil
		}
	}
	return false
}

func TestChecksAreDocumented(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range diagnose.Checks() {
		if c.Code == "" || c.Title == "" || c.New == nil || seen[c.Code] {
			t.Errorf("check %q is not complete, or not the only one of its code", c.Code)
		}
		d := c.Doc
		if d.Symptom == "" || d.Mechanism == "" || d.Proof == "" || d.Blind == "" || d.Repair == "" || len(d.References) == 0 {
			t.Errorf("%s: the documentation is not complete", c.Code)
		}
		for _, on := range d.DependsOn {
			if !seen[on] {
				t.Errorf("%s depends on %s, which does not run before it", c.Code, on)
			}
		}
		seen[c.Code] = true
	}
}

// playHistory plays a history with other options and returns what came of it.
func playHistory(t *testing.T, name string, change func(*diagnose.Options)) *run {
	t.Helper()
	h, _ := readHistory(t, "testdata/"+name+".txtar")
	change(&h.opt)
	return (&run{h: h}).play(h.events)
}

func TestOnlySomeChecks(t *testing.T) {
	r := playHistory(t, "et-partial-fentry", func(o *diagnose.Options) { o.Only = []string{"reset-on-close"} })
	if len(r.findings) != 1 || r.findings[0].Check != "reset-on-close" || len(r.verdicts) != 1 {
		t.Errorf("found %d, said %v; want one of reset-on-close", len(r.findings), r.verdicts)
	}
}

func TestVerdicts(t *testing.T) {
	missing := map[string]string{"et-unread": "no wakeups here", "close-wait": "no states here"}
	r := playHistory(t, "et-partial-fentry", func(o *diagnose.Options) { o.Missing = missing })
	special := map[string]diagnose.Verdict{
		"et-unread":      {Result: diagnose.Found},
		"close-wait":     {Result: diagnose.UnknownNow, Reason: "no states here"},
		"reset-on-close": {Result: diagnose.Found},
	}
	var want []diagnose.Verdict
	for _, c := range diagnose.Checks() {
		v, ok := special[c.Code]
		if !ok {
			v.Result = diagnose.Clean
		}
		v.Check = c.Code
		want = append(want, v)
	}
	if diff := cmp.Diff(want, r.verdicts); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
}

func TestTakenBackIsNotAccused(t *testing.T) {
	r := playHistory(t, "back-pressure", func(*diagnose.Options) {})
	if len(r.findings) != 1 || r.verdicts[0].Result != diagnose.Clean {
		t.Errorf("%d findings, verdict %v; want one and clean", len(r.findings), r.verdicts[0])
	}
}

func TestCommIsAskedFor(t *testing.T) {
	r := playHistory(t, "et-ongoing", func(o *diagnose.Options) {
		o.Comm = func(pid uint32) string {
			if pid != 100 {
				t.Errorf("asked for the name of %d", pid)
			}
			return "server"
		}
	})
	if len(r.findings) != 1 || r.findings[0].Comm != "server" {
		t.Errorf("findings are %+v", r.findings)
	}
}

// The default threshold of et-unread, to the nanosecond; and a finding is made live, not when the story is over.
func TestFindingIsMadeAtTheThreshold(t *testing.T) {
	h, _ := readHistory(t, "testdata/et-ongoing.txtar")
	var made []*diagnose.Finding
	var eng *diagnose.Engine
	tl := timeline.New(timeline.Options{Observe: func(ev *event.Event) { eng.Observe(ev) }})
	eng = diagnose.New(tl, diagnose.Options{Report: func(f *diagnose.Finding) { made = append(made, f) }})
	for _, ev := range h.events {
		tl.Add(&ev)
	}
	last := h.events[len(h.events)-1].Time // the wait that the loop went back to
	ripe := last.Add(500 * time.Millisecond)

	tl.Advance(last) // the window holds the last events back, so the future is not known yet
	eng.Tick(ripe.Add(time.Hour))
	if len(made) != 0 {
		t.Fatal("a finding was made from a history that is not complete")
	}
	tl.Advance(ripe.Add(timeline.DefaultWindow - 1))
	eng.Tick(ripe.Add(time.Hour))
	if len(made) != 0 {
		t.Fatal("a finding was made before its threshold")
	}
	tl.Advance(ripe.Add(timeline.DefaultWindow))
	eng.Tick(ripe)
	if len(made) != 1 || made[0].Start != last || made[0].Outcome != diagnose.OutcomeOngoing {
		t.Fatalf("at the threshold were made: %+v", made)
	}
	eng.Tick(ripe.Add(time.Second))
	if len(made) != 1 {
		t.Error("the finding was made again")
	}
}

// Whatever is missing from a history, the checks come to an end and stay consistent.
func TestHistoriesWithHoles(t *testing.T) {
	eachHistory(t, func(t *testing.T, path string) {
		h, _ := readHistory(t, path)
		for seed := range uint64(30) {
			r := (&run{h: h, tick: 90 * time.Millisecond}).play(holes(h.events, seed))
			for _, f := range r.findings {
				if f.Check == "" || f.Message == "" || f.End != 0 && f.End < f.Start {
					t.Fatalf("seed %d: %+v", seed, f)
				}
			}
		}
	})
}

// TestCallsThatAreNotFollowed: nothing is clean where a process has ways of its own.
func TestCallsThatAreNotFollowed(t *testing.T) {
	for what, ev := range map[string]event.Event{
		"process 7 uses io_uring, whose operations are not followed": {Call: event.CallIOUring},
		"process 7 makes 32-bit calls, which are not followed":       {Flags: event.Compat},
		"process 7 makes calls that are not followed":                {},
	} {
		ev.Kind, ev.Time, ev.PID, ev.FD, ev.EpFD = event.KindUnseen, 1e9, 7, event.NoFD, event.NoFD
		r := (&run{h: &history{}}).play([]event.Event{ev})
		for _, v := range r.verdicts {
			if v.Result != diagnose.UnknownNow || v.Reason != what {
				t.Errorf("%s is %s: %q, want unknown: %q", v.Check, v.Result, v.Reason, what)
			}
		}
	}
}

// TestFindingsAreBounded: a server that resets a connection each millisecond for hours does not fill the memory, and every
// finding is counted.
func TestFindingsAreBounded(t *testing.T) {
	const n = diagnose.MaxFindings + 500
	var events []event.Event
	for i := range n {
		at, addr := event.Time(1e9+i*1e6), event.Addr(i+1)
		base := event.Event{PID: 7, TID: 7, FD: event.NoFD, EpFD: event.NoFD, SockAddr: addr, FileAddr: addr}
		found := base
		found.Kind, found.Time, found.FD, found.NewState = event.KindSnapshot, at, 5, event.Established
		found.Unread, found.Flags = 3, event.HasUnread
		reset := base
		reset.Kind, reset.Time, reset.Unread, reset.Flags = event.KindReset, at+10, 3, event.HasUnread
		reset.Reason = event.ReasonAbortOnClose
		closed := base
		closed.Kind, closed.Time, closed.Start, closed.FD = event.KindClose, at+20, at+5, 5
		events = append(events, found, reset, closed)
	}
	var eng *diagnose.Engine
	tl := timeline.New(timeline.Options{Observe: func(ev *event.Event) { eng.Observe(ev) }})
	ids := map[int]bool{}
	eng = diagnose.New(tl, diagnose.Options{Report: func(f *diagnose.Finding) { ids[f.ID] = true }})
	for _, ev := range events {
		tl.Add(&ev)
	}
	tl.Close(0)
	eng.Finish(tl.Now())
	if kept := len(eng.Findings()); kept != diagnose.MaxFindings {
		t.Errorf("%d findings are kept, want %d", kept, diagnose.MaxFindings)
	}
	if got := eng.Counts()["reset-on-close"]; got != n || len(ids) != n || !ids[1] || !ids[n] {
		t.Errorf("%d findings are counted and %d were reported, want %d", got, len(ids), n)
	}
	if last := eng.Findings()[diagnose.MaxFindings-1]; last.ID != n {
		t.Errorf("the last one kept has the number %d, want %d", last.ID, n)
	}
}
