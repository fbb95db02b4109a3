package diagnose_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
	"github.com/epwatch/epwatch/internal/timeline/timelinetest"
)

var update = flag.Bool("update", false, "write what was found into the histories")

// history is one file of testdata: what happened, and what must be found.
type history struct {
	events []event.Event
	end    event.Time
	opt    diagnose.Options
	want   string
	follow bool // children are observed too
}

// A header line "# key: value" is an option if the key is one of these; everything else tells the story.
func (h *history) option(t *testing.T, key, value string) {
	t.Helper()
	duration := func() time.Duration {
		d, err := time.ParseDuration(value)
		if err != nil {
			t.Fatalf("reading the option %s: %v", key, err)
		}
		return d
	}
	number := func() int {
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatalf("reading the option %s: %v", key, err)
		}
		return n
	}
	for _, s := range h.opt.Thresholds.Settings() {
		if s.Check == key && s.Duration != nil {
			s.Set(int64(duration()))
		} else if s.Check == key {
			s.Set(int64(number()))
		}
	}
	switch key {
	case "follow":
		h.follow = value == "true"
	case "missing":
		check, why, _ := strings.Cut(value, " ")
		h.opt.Missing = map[string]string{check: why}
	case "end":
		if _, err := fmt.Sscan(value, &h.end); err != nil {
			t.Fatalf("reading the option end: %v", err)
		}
	}
}

func readHistory(t *testing.T, path string) (*history, *txtar.Archive) {
	t.Helper()
	ar, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatalf("reading a history: %v", err)
	}
	h := &history{}
	for line := range strings.Lines(string(ar.Comment)) {
		if key, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "# "), ": "); ok {
			h.option(t, key, value)
		}
	}
	for _, f := range ar.Files {
		switch f.Name {
		case "events.jsonl":
			for i, line := range bytes.Split(bytes.TrimSpace(f.Data), []byte("\n")) {
				ev, err := event.ParseJSON(line)
				if err != nil {
					t.Fatalf("%s, event %d: %v", path, i+1, err)
				}
				h.events = append(h.events, ev)
			}
		case "findings":
			h.want = string(f.Data)
		default:
			t.Fatalf("%s has an unexpected part %s", path, f.Name)
		}
	}
	if len(h.events) == 0 {
		t.Fatalf("%s has no events", path)
	}
	return h, ar
}

// run is one way to feed a history.
type run struct {
	h        *history
	tick     time.Duration // 0: no time between the events
	out      bytes.Buffer  // every event as it was observed
	findings []*diagnose.Finding
	verdicts []diagnose.Verdict
	reports  int
	stats    timeline.Stats
	invalid  error
}

func (r *run) play(events []event.Event) *run {
	var v timelinetest.Validator
	var eng *diagnose.Engine
	tl := timeline.New(timeline.Options{
		Follow: r.h.follow,
		Observe: func(ev *event.Event) {
			v.Observe(ev)
			r.out.Write(append(event.AppendJSON(nil, ev), '\n'))
			eng.Observe(ev)
		},
		Matched: func(m timeline.Match) { v.Matched(m.Read, m.Recv, m.Bytes) },
	})
	opt := r.h.opt
	opt.Report = func(*diagnose.Finding) { r.reports++ }
	eng = diagnose.New(tl, opt)
	// The clock runs between the events, as it does for a tracer that reads in batches: before a batch is released
	// everything older than the window has arrived.
	var clock event.Time
	for _, ev := range events {
		for r.tick > 0 && clock != 0 && clock < ev.Time {
			clock = min(clock.Add(r.tick), ev.Time)
			tl.Advance(clock)
			eng.Tick(clock)
		}
		tl.Add(&ev)
		clock = max(clock, ev.Time)
	}
	end := r.h.end
	if end == 0 {
		end = events[len(events)-1].Time
	}
	tl.Close(end)
	eng.Tick(end)
	eng.Finish(end)
	v.Finish()
	r.findings, r.verdicts, r.stats, r.invalid = eng.Findings(), eng.Verdicts(), tl.Stats(), v.Err()
	return r
}

// text is what the part "findings" of a history holds.
func (r *run) text() string {
	var b strings.Builder
	for _, f := range r.findings {
		fmt.Fprintf(&b, "%s %s %s fd %d unread %d", f.Check, f.Severity, f.Outcome, f.FD, f.Unread)
		if f.Root != "" {
			fmt.Fprintf(&b, " root %s", f.Root)
		}
		if f.Snapshot {
			b.WriteString(" from the snapshot")
		}
		fmt.Fprintf(&b, " evidence %v\n\t%s\n", f.Evidence, f.Message)
	}
	for _, v := range r.verdicts {
		if v.Result == diagnose.UnknownNow {
			fmt.Fprintf(&b, "%s unknown: %s\n", v.Check, v.Reason)
		}
	}
	if n := r.stats.UnmatchedTotal(); n > 0 {
		for _, c := range timeline.Classes() {
			if k := r.stats.Unmatched[c]; k > 0 {
				fmt.Fprintf(&b, "unmatched %d: %s\n", k, c)
			}
		}
	}
	return b.String()
}

// shuffled returns the events in another order that stays within the window, as several CPUs would hand them over.
// What has the same time comes from one call and stays in order.
func shuffled(events []event.Event, seed uint64) []event.Event {
	rng := rand.New(rand.NewPCG(seed, 1))
	type late struct {
		ev event.Event
		at event.Time
	}
	var all []late
	delay := map[event.Time]event.Time{}
	for _, ev := range events {
		d, ok := delay[ev.Time]
		if !ok {
			d = event.Time(rng.Int64N(int64(timeline.DefaultWindow) / 2))
			delay[ev.Time] = d
		}
		all = append(all, late{ev, ev.Time + d})
	}
	slices.SortStableFunc(all, func(a, b late) int { return int(a.at - b.at) })
	out := make([]event.Event, len(all))
	for i, l := range all {
		out[i] = l.ev
	}
	return out
}

func eachHistory(t *testing.T, test func(t *testing.T, path string)) {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("there are no histories: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { test(t, path) })
	}
}

// holes leaves a tenth of the events out and doubles another tenth.
func holes(events []event.Event, seed uint64) []event.Event {
	rng := rand.New(rand.NewPCG(seed, 2))
	var out []event.Event
	for _, ev := range events {
		switch rng.IntN(10) {
		case 0:
		case 1:
			out = append(out, ev, ev)
		default:
			out = append(out, ev)
		}
	}
	if len(out) == 0 {
		return events
	}
	return out
}
