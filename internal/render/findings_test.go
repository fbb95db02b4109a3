package render

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
)

// guilty is the nth connection of a server that makes the same mistake on all of them.
func guilty(n int) *diagnose.Finding {
	f := testFinding()
	f.ID, f.FD, f.Severity, f.Outcome, f.End = n, int32(n), diagnose.SeverityWarning, diagnose.OutcomeOngoing, 0
	f.Peer = netip.AddrPortFrom(peer4.Addr(), uint16(40000+n))
	f.Start, f.Unread = ms(float64(n)), uint32(n%50)+1
	return f
}

// flood is what an engine tells of a thousand guilty connections, one each five milliseconds.
func flood(p Printer) *diagnose.Group {
	g := testGroup(1, guilty(1))
	g.First, g.TakenBack = ms(0), 0
	for n := range 1000 {
		f := guilty(n + 1)
		f.Group, g.Count, g.Files, g.Last = g, n+1, n+1, ms(float64(5*n))
		g.Outcomes[diagnose.OutcomeOngoing] = n + 1
		if n < 3 || f.Unread > g.Worst[0].Unread {
			g.Worst = append([]*diagnose.Finding{f}, g.Worst[:min(len(g.Worst), 2)]...)
		}
		p.Finding(g.Last, f)
		p.Tick(g.Last.Add(time.Millisecond))
	}
	return g
}

// A thousand connections with one fault are one finding that grows, told of about once a second.
func TestTextManyFindings(t *testing.T) {
	var g *diagnose.Group
	got := string(play(t, Options{Quiet: true}, func(p Printer) {
		p.Meta(testMeta())
		g = flood(p)
		p.Tick(ms(10000))
		p.Conclude(&Conclusion{Groups: []*diagnose.Group{g}, Summary: Summary{Duration: 10 * time.Second}})
	}))
	golden(t, "flood.txt", []byte(got))
	live, closing, _ := strings.Cut(got, "\nFindings\n")
	if n := strings.Count(live, "et-unread:"); n < 5 || n > 9 {
		t.Errorf("five seconds of findings are told of %d times", n)
	}
	if n := strings.Count(live, "repair:"); n != 1 {
		t.Errorf("the repair is told %d times", n)
	}
	if !strings.Contains(live, "et-unread: 1000 connections") || strings.Count(closing, "et-unread: 1000 connections") != 1 {
		t.Error("the last count was not told")
	}
}

// What is found is told within a second, also while nothing else is.
func TestTextTellsWithinASecond(t *testing.T) {
	var out strings.Builder
	p, err := New(&out, Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.Meta(testMeta())
	g := testGroup(1, guilty(1))
	for n := 1; n <= 2; n++ {
		f := guilty(n)
		f.Group, g.Count, g.Files = g, n, n
		g.Outcomes[diagnose.OutcomeOngoing] = n
		p.Finding(ms(1000), f)
	}
	told := func() bool {
		if err := p.Flush(); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(out.String(), "2 connections")
	}
	if told() {
		t.Fatal("the second one is told at once: a thousand would be too")
	}
	p.Tick(ms(1900))
	if !told() {
		t.Errorf("after 900 ms:\n%s", out.String())
	}
}

// A single finding is told of as its story goes on.
func TestTextSingleFindingIsFollowed(t *testing.T) {
	got := string(play(t, Options{}, func(p Printer) {
		p.Meta(testMeta())
		f := guilty(1)
		f.Group = testGroup(1, f)
		p.Finding(ms(500), f)
		p.Finding(ms(501), f)
		f.Outcome, f.End, f.Message = diagnose.OutcomeRescued, ms(502), "woken again"
		p.Finding(ms(502), f)
	}))
	if strings.Count(got, "et-unread:") != 2 || !strings.Contains(got, "et-unread: woken again") {
		t.Errorf("want the finding and its end:\n%s", got)
	}
}

func TestGrowth(t *testing.T) {
	group := func(change func(*diagnose.Group)) *diagnose.Group {
		g := testGroup(4, guilty(1))
		g.First, g.Last = ms(0), ms(300)
		change(g)
		return g
	}
	for want, g := range map[string]*diagnose.Group{
		"4 connections within 300 ms, all ongoing":           group(func(*diagnose.Group) {}),
		"4 times on 1 connection within 300 ms, all ongoing": group(func(g *diagnose.Group) { g.Files = 1 }),
		"4 times on 3 connections within 3.0 s, all ongoing": group(func(g *diagnose.Group) { g.Files, g.Last = 3, ms(3000) }),
		"4 times within 300 ms, all ongoing":                 group(func(g *diagnose.Group) { g.Worst[0].Peer = netip.AddrPort{} }),
		"6 connections, all taken back":                      group(func(g *diagnose.Group) { g.Count, g.TakenBack, g.Files = 0, 6, 6 }),
		"121 connections at 2 a second, all ongoing":         group(func(g *diagnose.Group) { g.Count, g.Files, g.Last = 121, 121, ms(60000) }),
		"121 connections at 12 a minute, all ongoing":        group(func(g *diagnose.Group) { g.Count, g.Files, g.Last = 121, 121, ms(600000) }),
		"4 connections within 300 ms, all ongoing; 2 more taken back": group(func(g *diagnose.Group) {
			g.TakenBack, g.Files = 2, 6
		}),
		"4 connections within 300 ms, 3 lost, 1 ongoing": group(func(g *diagnose.Group) {
			g.Outcomes = map[diagnose.Outcome]int{diagnose.OutcomeLost: 3, diagnose.OutcomeOngoing: 1}
		}),
		"4 connections at once, all ongoing": group(func(g *diagnose.Group) { g.Last = g.First }),
		"4 connections within 300 ms":        group(func(g *diagnose.Group) { g.Outcomes = nil }),
	} {
		if got := growth(g); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A drawn proof keeps to its columns, says whose thread it was where that matters, and shows pauses.
func TestTextProof(t *testing.T) {
	f := guilty(1)
	f.TID, f.Outcome = 4711, diagnose.OutcomeRescued
	at := func(seq uint64, after float64, k event.Kind, change func(*event.Event)) event.Event {
		return with(user(seq, 1+after, k), change)
	}
	f.Proof = []event.Event{
		at(1, 0, event.KindDeliver, func(e *event.Event) { e.FD, e.Events = 7, event.In }),
		at(2, 0.5, event.KindDeliver, func(e *event.Event) { e.FD, e.Events, e.TID = 7, event.In, 4712 }),
		at(3, 300, event.KindRead, func(e *event.Event) { e.FD, e.Ret, e.PID, e.TID = 7, -11, 4800, 4800 }),
		at(4, 2500, event.KindState, func(e *event.Event) {
			e.FD, e.OldState, e.NewState, e.Unread, e.Flags = event.NoFD, event.CloseWait, event.Closed, 12345678, event.HasUnread|event.FINUnread
			e.Local, e.Peer = local6, peer6
		}),
	}
	got := string(play(t, Options{}, func(p Printer) {
		p.Meta(testMeta())
		p.Finding(ms(5000), f)
	}))
	golden(t, "proof.txt", []byte(got))
}
