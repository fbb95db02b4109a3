package diagnose_test

import (
	"bytes"
	"testing"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

// TestProofs: the proof of each finding has the events that are its evidence, as they were observed.
func TestProofs(t *testing.T) {
	eachHistory(t, func(t *testing.T, path string) {
		h, _ := readHistory(t, path)
		r := (&run{h: h}).play(h.events)
		lines := bytes.Split(bytes.TrimSpace(r.out.Bytes()), []byte("\n"))
		for _, f := range r.findings {
			if len(f.Proof) < len(f.Evidence) || len(f.Proof) > 10 {
				t.Errorf("%s: the proof of the %d events %v has %d", f.Check, len(f.Evidence), f.Evidence, len(f.Proof))
			}
			have := map[uint64]bool{}
			last := uint64(0)
			for _, ev := range f.Proof {
				have[ev.Seq] = true
				if ev.Seq <= last {
					t.Errorf("%s: event %d comes after event %d", f.Check, ev.Seq, last)
				}
				last = ev.Seq
				was, err := event.ParseJSON(lines[ev.Seq-1])
				if err != nil {
					t.Fatal(err)
				}
				if ev.Kind != was.Kind || ev.Time != was.Time || ev.Ret != was.Ret || ev.FD != was.FD || ev.TID != was.TID ||
					ev.Events != was.Events || ev.Flags != was.Flags || ev.Unread != was.Unread || ev.NewState != was.NewState {
					t.Errorf("%s: event %d is remembered as %+v", f.Check, ev.Seq, ev)
				}
			}
			for _, seq := range f.Evidence {
				if !have[seq] {
					t.Errorf("%s: event %d is not in the proof", f.Check, seq)
				}
			}
		}
	})
}

// TestProofsUnderLoad: a thousand events between any two of a history do not push its proofs out, as far as they are about the file.
func TestProofsUnderLoad(t *testing.T) {
	for _, name := range []string{"et-partial-fentry", "oneshot-fentry", "close-wait-unwatched", "close-wait-eof"} {
		h, _ := readHistory(t, "testdata/"+name+".txtar")
		var eng *diagnose.Engine
		tl := timeline.New(timeline.Options{Observe: func(ev *event.Event) { eng.Observe(ev) }})
		eng = diagnose.New(tl, h.opt)
		for i, ev := range h.events {
			if i > 0 && ev.Time > h.events[i-1].Time {
				noise(tl, h.events[i-1].Time, ev.Time, 1000)
			}
			tl.Add(&ev)
		}
		end := max(h.end, h.events[len(h.events)-1].Time)
		noise(tl, h.events[len(h.events)-1].Time, end, 20000)
		tl.Close(end)
		eng.Tick(end)
		eng.Finish(end)
		for _, f := range eng.Findings() {
			kept := map[uint64]bool{}
			for _, ev := range f.Proof {
				kept[ev.Seq] = true
			}
			for _, seq := range f.Evidence {
				if !kept[seq] {
					t.Errorf("%s: event %d is not in the proof of %s", name, seq, f.Check)
				}
			}
			if len(f.Proof) < 4 {
				t.Errorf("%s: the proof of %s has %d events", name, f.Check, len(f.Proof))
			}
		}
		if len(eng.Findings()) == 0 {
			t.Errorf("%s finds nothing", name)
		}
	}
}

// noise is what another process does between two times.
func noise(tl *timeline.Timeline, from, to event.Time, n int) {
	for i := range n {
		at := from + (to-from)*event.Time(i+1)/event.Time(n+1)
		tl.Add(&event.Event{
			Kind: event.KindRead, Time: at, PID: 9999, TID: 9999, FD: int32(i%100 + 3), EpFD: event.NoFD, Ret: -11,
		})
	}
}
