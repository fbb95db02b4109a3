package diagnose_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

// resets is a process that closes n sockets, one a millisecond, with unread bytes that it leaves on each.
func resets(pid uint32, n int, unread func(i int) uint32) []event.Event {
	var events []event.Event
	for i := range n {
		at, addr := event.Time(1e9+i*1e6), event.Addr(uint32(i+1)+pid<<20)
		base := event.Event{PID: pid, TID: pid, FD: event.NoFD, EpFD: event.NoFD, SockAddr: addr, FileAddr: addr}
		found := base
		found.Kind, found.Time, found.FD, found.NewState = event.KindSnapshot, at, 5, event.Established
		found.Unread, found.Flags = unread(i), event.HasUnread
		reset := base
		reset.Kind, reset.Time, reset.Unread, reset.Flags = event.KindReset, at+10, unread(i), event.HasUnread
		reset.Reason = event.ReasonAbortOnClose
		closed := base
		closed.Kind, closed.Time, closed.Start, closed.FD = event.KindClose, at+20, at+5, 5
		events = append(events, found, reset, closed)
	}
	return events
}

// judge is an engine that has seen the history.
func (h *history) judge() *diagnose.Engine {
	var eng *diagnose.Engine
	tl := timeline.New(timeline.Options{Observe: func(ev *event.Event) { eng.Observe(ev) }})
	eng = diagnose.New(tl, h.opt)
	for _, ev := range h.events {
		tl.Add(&ev)
	}
	tl.Close(h.end)
	eng.Tick(tl.Now())
	eng.Finish(tl.Now())
	return eng
}

func judged(opt diagnose.Options, events []event.Event) *diagnose.Engine {
	return (&history{opt: opt, events: events}).judge()
}

// TestGroups: one fault of one process is one group, however often it is found, with the three worst cases, also those that are
// not kept any more.
func TestGroups(t *testing.T) {
	const n = diagnose.MaxFindings + 500
	events := resets(7, n, func(i int) uint32 {
		if i < 3 {
			return uint32(1000 - i) // the first, which go first
		}
		return uint32(i%10 + 1)
	})
	eng := judged(diagnose.Options{}, append(events, resets(8, 2, func(int) uint32 { return 1 })...))
	groups := eng.Groups()
	if len(groups) != 2 {
		t.Fatalf("%d groups", len(groups))
	}
	g := groups[0]
	if g.Check != "reset-on-close" || g.PID != 7 || g.Count != n || g.Files != n || g.Severity() != diagnose.SeverityError {
		t.Errorf("the group is %+v", g)
	}
	if diff := cmp.Diff(map[diagnose.Outcome]int{diagnose.OutcomeLost: n}, g.Outcomes); diff != "" {
		t.Errorf("outcomes:\n%s", diff)
	}
	var worst []uint32
	for _, f := range g.Worst {
		worst = append(worst, f.Unread)
	}
	if diff := cmp.Diff([]uint32{1000, 999, 998}, worst); diff != "" {
		t.Errorf("the worst:\n%s", diff)
	}
	if got := g.Last.Sub(g.First); got != (n-1)*time.Millisecond {
		t.Errorf("they came within %v", got)
	}
	if groups[1].PID != 8 || groups[1].Count != 2 || groups[1].Fingerprint != g.Fingerprint {
		t.Errorf("the other process has the group %+v", groups[1])
	}
}

// TestGroupsAreBounded: processes that come and go, each with its fault, do not fill the memory, and are all counted.
func TestGroupsAreBounded(t *testing.T) {
	const n = diagnose.MaxFindings + 300
	var events []event.Event
	for i := range n {
		for _, ev := range resets(uint32(i+10), 1, func(int) uint32 { return 1 }) {
			ev.Time += event.Time(i * 1e6)
			if ev.Start != 0 {
				ev.Start += event.Time(i * 1e6)
			}
			events = append(events, ev)
		}
	}
	eng := judged(diagnose.Options{}, events)
	if got := len(eng.Groups()); got != diagnose.MaxFindings {
		t.Errorf("%d groups are kept", got)
	}
	if got := eng.Counts()["reset-on-close"]; got != n {
		t.Errorf("%d of %d are counted", got, n)
	}
}

// TestGroupsFollowTheirFindings: a finding that is taken back does not accuse any more, and two on one connection are on one.
func TestGroupsFollowTheirFindings(t *testing.T) {
	for name, want := range map[string]string{
		"back-pressure":        "et-unread 0+1 on 1 map[]",
		"et-partial-fentry":    "et-unread 2+0 on 1 map[lost:1 rescued:1]; reset-on-close 1+0 on 1 map[lost:1]",
		"et-ongoing":           "et-unread 1+0 on 1 map[ongoing:1]",
		"lost-discovered-late": "et-unread 0+1 on 1 map[]",
	} {
		h, _ := readHistory(t, "testdata/"+name+".txtar")
		h.opt.Only = documented()
		var got []string
		for _, g := range h.judge().Groups() {
			got = append(got, fmt.Sprintf("%s %d+%d on %d %v", g.Check, g.Count, g.TakenBack, g.Files, g.Outcomes))
		}
		if s := strings.Join(got, "; "); s != want {
			t.Errorf("%s: %s, want %s", name, s, want)
		}
	}
}
