package render

import (
	"bytes"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

const base event.Time = 5_000_000_000_000

func ms(f float64) event.Time { return base + event.Time(f*1e6) }

var (
	local4 = netip.MustParseAddrPort("127.0.0.1:41234")
	peer4  = netip.MustParseAddrPort("127.0.0.1:51724")
	local6 = netip.MustParseAddrPort("[2001:db8:85a3:8d3:1319:8a2e:370:7348]:41234")
	peer6  = netip.MustParseAddrPort("[2001:db8:85a3:8d3:1319:8a2e:370:7349]:51724")
)

// user and kernel make an event of the observed process with no descriptors.
func user(seq uint64, at float64, k event.Kind) event.Event {
	return event.Event{Seq: seq, Time: ms(at), Kind: k, PID: 4711, TID: 4711, FD: event.NoFD, EpFD: event.NoFD}
}

func kernel(seq uint64, at float64, k event.Kind, fd int32) event.Event {
	return event.Event{Seq: seq, Time: ms(at), Kind: k, PID: 4711, FD: fd, EpFD: event.NoFD, Sock: 2, File: 2}
}

func with(e event.Event, change func(*event.Event)) event.Event {
	change(&e)
	return e
}

func testMeta() *Meta {
	return &Meta{
		Version: "v0.1.0", Kernel: "6.18.44", Command: "trace et-partial",
		Processes: []Process{{PID: 4711, Comm: "epwatch"}},
		Hooks: []Hook{
			{Event: "calls", Family: "tracepoint", Programs: []string{"sys_enter", "sys_exit"}},
			{Event: "wakeup", Family: "fentry", Programs: []string{"ep_poll_callback"}},
			{Event: "recv", Family: "fentry", Programs: []string{"inet_recvmsg"}},
			{Event: "release", Reason: "no tracepoint hook for it"},
		},
		Start: base, Wall: time.Unix(1_700_000_000, 5),
	}
}

const tcpKey = event.In | event.Pri | event.RdNorm | event.RdBand

// partial is the beginning and the end of et-partial as an ideal tracer would tell it.
func partial() []event.Event {
	mask := event.In | event.RdHup | event.Hup | event.ET
	unreadIs := func(n uint32) func(*event.Event) {
		return func(e *event.Event) { e.Unread, e.Flags = n, e.Flags|event.HasUnread }
	}
	return []event.Event{
		with(user(1, 0.412, event.KindEpollCreate), func(e *event.Event) { e.Call, e.Ret = event.CallEpollCreate1, 3 }),
		with(user(2, 0.518, event.KindEpollCtl), func(e *event.Event) {
			e.EpFD, e.FD, e.Op, e.Events = 3, 4, event.CtlAdd, event.In|event.Out|event.ET
		}),
		with(user(3, 0.604, event.KindWaitEnter), func(e *event.Event) { e.EpFD, e.Timeout, e.MaxEvents = 3, -1, 32 }),
		with(kernel(4, 1.204, event.KindState, event.NoFD), func(e *event.Event) {
			e.OldState, e.NewState, e.Local, e.Peer = event.SynRecv, event.Established, local4, peer4
		}),
		with(kernel(5, 1.211, event.KindWakeup, 4), func(e *event.Event) {
			e.Key, e.Events, e.Unread, e.Sock = tcpKey, event.In|event.Out|event.ET, 1, 1
			e.Flags = event.Listener | event.HasUnread | event.Waiter
		}),
		with(user(6, 1.214, event.KindWoken), func(e *event.Event) { e.EpFD = 3 }),
		with(user(7, 1.260, event.KindWaitReturn), func(e *event.Event) { e.EpFD, e.Ret = 3, 1 }),
		with(user(8, 1.260, event.KindDeliver), func(e *event.Event) { e.EpFD, e.FD, e.Events, e.Data = 3, 4, event.In, 4 }),
		with(kernel(5, 1.200, event.KindSnapshot, 3), func(e *event.Event) { e.Flags, e.Sock, e.File = event.IsEpoll, 0, 0 }),
		with(kernel(9, 1.290, event.KindSnapshot, 7), func(e *event.Event) {
			e.NewState, e.Local, e.Peer = event.Established, local4, peer4
		}),
		with(user(10, 1.291, event.KindAccept), func(e *event.Event) { e.Call, e.FD, e.Ret, e.Sock = event.CallAccept4, 4, 7, 2 }),
		with(user(11, 1.320, event.KindEpollCtl), func(e *event.Event) {
			e.EpFD, e.FD, e.Op, e.Events, e.Sock = 3, 7, event.CtlAdd, mask, 2
		}),
		with(user(12, 1.350, event.KindWaitEnter), func(e *event.Event) { e.EpFD, e.Timeout = 3, -1 }),
		with(with(kernel(13, 2.001, event.KindWakeup, 7), unreadIs(20)), func(e *event.Event) { e.Key, e.Events = tcpKey, mask }),
		with(user(14, 2.031, event.KindWaitReturn), func(e *event.Event) { e.EpFD, e.Ret = 3, 1 }),
		with(user(15, 2.031, event.KindDeliver), func(e *event.Event) { e.EpFD, e.FD, e.Events, e.Data = 3, 7, event.In, 7 }),
		with(with(kernel(16, 2.051, event.KindRecv, 7), unreadIs(4)), func(e *event.Event) { e.Ret = 16 }),
		with(user(17, 2.052, event.KindRead), func(e *event.Event) { e.Call, e.FD, e.Ret = event.CallRead, 7, 16 }),
		with(user(18, 2.090, event.KindWrite), func(e *event.Event) { e.Call, e.FD, e.Ret = event.CallWrite, 7, 16 }),
		with(user(19, 2.101, event.KindWaitEnter), func(e *event.Event) { e.EpFD, e.Timeout = 3, -1 }),
		with(with(kernel(20, 2003.5, event.KindState, 7), unreadIs(8)), func(e *event.Event) {
			e.OldState, e.NewState = event.Established, event.CloseWait
		}),
		with(with(kernel(21, 2003.504, event.KindWakeup, 7), unreadIs(8)), func(e *event.Event) {
			e.Events, e.Flags = mask, e.Flags|event.FIN|event.FINUnread
		}),
		with(with(kernel(22, 2003.506, event.KindWakeup, 7), unreadIs(8)), func(e *event.Event) {
			e.Key, e.Events, e.Flags = tcpKey, mask, e.Flags|event.FIN|event.FINUnread|event.Coalesced
		}),
		with(user(23, 2003.53, event.KindWaitReturn), func(e *event.Event) { e.EpFD, e.Ret = 3, 1 }),
		with(user(24, 2003.53, event.KindDeliver), func(e *event.Event) {
			e.EpFD, e.FD, e.Events, e.Data = 3, 7, event.In|event.RdHup, 7
		}),
		with(user(25, 2003.56, event.KindEpollCtl), func(e *event.Event) { e.EpFD, e.FD, e.Op = 3, 7, event.CtlDel }),
		with(with(kernel(26, 2003.58, event.KindReset, 7), unreadIs(8)), func(e *event.Event) { e.Reason = event.ReasonAbortOnClose }),
		with(kernel(27, 2003.59, event.KindState, 7), func(e *event.Event) { e.OldState, e.NewState = event.CloseWait, event.Closed }),
		with(user(28, 2003.61, event.KindClose), func(e *event.Event) { e.FD = 7 }),
	}
}

func testFinding() *diagnose.Finding {
	history := partial()
	return &diagnose.Finding{
		ID: 1, Check: "et-unread", Severity: diagnose.SeverityError, Outcome: "rescued", PID: 4711, TID: 4711, Comm: "epwatch",
		FD: 7, EpFD: 3, File: 2, Epoll: 1, Local: local4, Peer: peer4, Start: ms(2.031), End: ms(1003.412), Unread: 4,
		Message: "fd 7 (127.0.0.1:41234 ← 127.0.0.1:51724): 4 bytes were left unread after an edge-triggered delivery; " +
			"only the next input woke it, 1.0 s later",
		Evidence: []uint64{13, 15, 16, 19}, Fix: "read until EAGAIN before the next epoll_wait",
		Proof:       []event.Event{history[12], history[14], history[15], history[18]},
		Fingerprint: "et-unread/epwatch/accepted/ET",
	}
}

// testGroup is a group of these findings, the worst first.
func testGroup(count int, worst ...*diagnose.Finding) *diagnose.Group {
	f := worst[0]
	g := &diagnose.Group{
		Fingerprint: f.Fingerprint, Check: f.Check, PID: f.PID, Comm: f.Comm, Accepted: f.Accepted, Count: count, Files: count,
		Outcomes: map[diagnose.Outcome]int{f.Outcome: count}, First: ms(502), Last: ms(2502), Worst: worst,
	}
	if f.Severity == diagnose.SeverityInfo {
		g.Count, g.TakenBack = 0, count
		clear(g.Outcomes)
	}
	return g
}

func testConclusion() *Conclusion {
	c := &Conclusion{
		Claims: []Claim{
			{ID: "wakeups", Text: "two sends, two wakeups: 20 bytes at the first, 24 at the second", Answer: Shown, Events: []uint64{13, 40}},
			{ID: "echo", Text: "the client got 32 of the 40 bytes it sent", Answer: NotShown, Why: "it got 3 bytes instead of 32: \"0\\n1\""},
			{ID: "reset", Text: "closing with unread data sent a reset, not a FIN", Answer: NotReached},
		},
		Journal: &Journal{Entries: 7, Receives: 6, Matched: 6, Unmatched: []Unmatched{{Reason: "journal entry without a kernel receive", Count: 1}}},
		Findings: []*diagnose.Finding{testFinding(), {
			ID: 2, Check: "close-wait", Severity: diagnose.SeverityWarning, PID: 4711, TID: 4712, Comm: "bad\x1b[2Jname", FD: 9, EpFD: event.NoFD,
			Message: "held", Root: "oneshot-disarmed",
		}},
		Tables: []Table{
			{Moment: "after the second wait", Time: ms(2003.1), Sockets: []Socket{
				{Local: local4, Peer: netip.AddrPortFrom(netip.IPv4Unspecified(), 0), State: event.Listen, PID: 4711, FD: 4, Comm: "epwatch"},
				{Local: local4, Peer: peer4, State: event.CloseWait, RecvQueue: 8, Unread: 7, FIN: true, PID: 4711, FD: 7, Comm: "epwatch"},
				{Local: peer4, Peer: local4, State: event.FinWait2, FD: event.NoFD},
			}},
			{Moment: "after the interrupt", Time: ms(2203.1)},
		},
		Departures: []string{"expected et-unread (lost, 8 bytes), which was not found"},
		Summary: Summary{
			Duration: 2210 * time.Millisecond, Events: map[event.Kind]uint64{event.KindWakeup: 5, event.KindRead: 7},
			Lost: 312, Reads: 7, Receives: 6, Matched: 6, Unmatched: []Unmatched{{Reason: "call without a receive", Count: 1}},
			Findings: map[string]int{"et-unread": 1, "close-wait": 1},
			Unknown:  []Unknown{{Check: "reset-on-close", Reason: "312 records were lost"}}, Ended: "interrupted", Early: true,
		},
	}
	for _, f := range c.Findings {
		c.Groups = append(c.Groups, testGroup(1, f))
	}
	return c
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("reading the golden file: %v (run with -update)", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// play shows a whole observation.
func play(t *testing.T, o Options, show func(Printer)) []byte {
	t.Helper()
	var out bytes.Buffer
	p, err := New(&out, o)
	if err != nil {
		t.Fatal(err)
	}
	show(p)
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func observation(p Printer) {
	p.Meta(testMeta())
	p.Line(&Line{Time: ms(0.55), Source: "server", PID: 4711, Text: "listen on port 41234"})
	f := testFinding()
	f.Outcome, f.End = "ongoing", 0
	for _, ev := range partial() {
		p.Event(&ev)
		if ev.Seq == 19 {
			p.Line(&Line{Time: ms(2.2), Source: "client", Text: "received 16 bytes: 0123456789012345"})
			p.Finding(ms(502), f)
			p.Finding(ms(602), f)
			*f = *testFinding()
			p.Finding(ms(1003.412), f)
		}
	}
	p.Conclude(testConclusion())
}

func TestUnknownFormat(t *testing.T) {
	if _, err := New(&bytes.Buffer{}, Options{Format: "yaml"}); err == nil || !strings.Contains(err.Error(), `"yaml"`) {
		t.Errorf("New(yaml) = %v", err)
	}
}

func TestQuietLeavesFindingsAndSummary(t *testing.T) {
	for _, format := range []Format{FormatText, FormatJSON} {
		got := string(play(t, Options{Format: format, Quiet: true}, observation))
		for _, gone := range []string{"epoll_ctl", "listen on port", `"type":"event"`, `"type":"line"`} {
			if strings.Contains(got, gone) {
				t.Errorf("%s, quiet: still has %q", format, gone)
			}
		}
		for _, kept := range []string{"et-unread", "after the second wait"} {
			if !strings.Contains(got, kept) {
				t.Errorf("%s, quiet: lost %q", format, kept)
			}
		}
	}
}

type brokenPipe struct{ writes int }

func (b *brokenPipe) Write([]byte) (int, error) {
	b.writes++
	return 0, errors.New("broken pipe")
}

func TestFirstOutputErrorStays(t *testing.T) {
	for _, format := range []Format{FormatText, FormatJSON} {
		w := &brokenPipe{}
		p, err := New(w, Options{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			observation(p)
			if err := p.Flush(); err == nil || err.Error() != "broken pipe" {
				t.Errorf("%s: Flush = %v, want the output's error", format, err)
			}
		}
		if w.writes != 1 {
			t.Errorf("%s: wrote %d times after an error", format, w.writes-1)
		}
	}
}
