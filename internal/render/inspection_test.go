package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/inspect"
	"github.com/epwatch/epwatch/internal/proc"
)

const (
	edgeMask  = event.In | event.RdHup | event.Err | event.Hup | event.ET
	spentMask = event.ET | event.OneShot
)

func tcpItem(fd int32, mask event.Mask, s inspect.Socket) inspect.Item {
	s.HasSent = s.State != event.Listen
	return inspect.Item{
		FD: fd, Mask: mask, Data: uint64(fd), Inode: uint64(1000 + fd), Kind: "tcp", Name: "socket:[1]", Link: inspect.LinkSame,
		Armed: mask&^event.Private != 0, Standing: true, State: s.State.String(), Sock: &s,
	}
}

// stuck has everything that can be said of an item.
func stuck() *inspect.Report {
	left := tcpItem(7, edgeMask, inspect.Socket{State: event.Established, Local: local4, Peer: peer4, Unread: 4})
	left.Suspicions = []inspect.Suspicion{{Check: "et-unread", Message: "4 bytes unread", Fix: "read until EAGAIN"}}
	deaf := tcpItem(8, spentMask, inspect.Socket{State: event.CloseWait, Local: local4, Peer: peer4, Unread: 7, FIN: true, SendQueue: 12})
	deaf.Suspicions = []inspect.Suspicion{
		{Check: "oneshot-disarmed", Message: strings.Repeat("many words ", 12) + "and an end", Fix: "re-arm"},
		{Check: "close-wait", Message: "the peer has closed", Fix: "close it", Root: "oneshot-disarmed"},
	}
	busy := tcpItem(9, edgeMask, inspect.Socket{State: event.Established, Local: local4, Peer: peer4, Unread: 1})
	busy.Standing, busy.Notes = false, []string{"1 byte unread now"}
	listener := tcpItem(4, event.In|event.ET, inspect.Socket{State: event.Listen, Local: local4, Limit: 4096})
	ghost := inspect.Item{FD: 10, Mask: event.In, Data: 0x7fd90000000b, Inode: 5, Link: inspect.LinkClosed, Armed: true, Standing: true}
	ghost.Suspicions = []inspect.Suspicion{{Check: "ghost-event", Message: "the descriptor is closed", Fix: "DEL before close"}}
	wide := tcpItem(6, event.In|event.Out, inspect.Socket{State: event.Established, Local: local6, Peer: peer6})
	return &inspect.Report{
		Process: proc.Process{PID: 4711, Comm: "nginx"}, Time: ms(300), Sample: 300 * time.Millisecond,
		Instances: []inspect.Instance{
			{FD: 3, Also: []int32{12}, Waiters: []uint32{4711}, HasWaiters: true, Items: []inspect.Item{listener, left, deaf, busy, ghost}},
			{FD: 5, HasWaiters: true, Sharers: []uint32{4712, 4713}, Items: []inspect.Item{
				wide, {FD: 11, Mask: event.In, Data: 11, Kind: "unix stream", Name: "/run/\x1b[2J.sock", Link: inspect.LinkSame, Armed: true, State: "LISTEN"},
				{FD: 15, Mask: edgeMask, Data: 15, Kind: "unix stream", Link: inspect.LinkSame, Armed: true, State: "CONNECTED",
					Sock: &inspect.Socket{State: event.Established, Unread: 7, SendQueue: 3, HasSent: true}},
				{FD: 16, Mask: edgeMask, Data: 16, Kind: "unix stream", Name: "/run/a.sock", Link: inspect.LinkSame, Armed: true, State: "LISTEN",
					Sock: &inspect.Socket{State: event.Listen, Unread: 2, Limit: 64}},
				{FD: 17, Mask: edgeMask, Data: 17, Kind: "udp", Link: inspect.LinkSame, Armed: true, State: "UNCONNECTED",
					Sock: &inspect.Socket{State: event.Closed, Local: local4, Peer: netip.AddrPortFrom(netip.IPv4Unspecified(), 0), Unread: 768, Datagrams: true}},
				{FD: 13, Mask: event.In, Data: 13, Kind: "eventfd", Link: inspect.LinkSame, Armed: true},
			}},
			{FD: 14, Waiters: []uint32{4711, 4714}, HasWaiters: true},
		},
		Missing: []inspect.Missing{{What: "TCP sockets", Reason: "no sock_diag", Checks: []string{"et-unread", "close-wait"}}},
	}
}

func healthy() *inspect.Report {
	return &inspect.Report{
		Process: proc.Process{PID: 4711, Comm: "nginx"}, Time: ms(300), Sample: 300 * time.Millisecond,
		Instances: []inspect.Instance{{FD: 3, Items: []inspect.Item{
			tcpItem(4, event.In|event.ET, inspect.Socket{State: event.Listen, Local: local4, Limit: 4096}),
		}}},
	}
}

func inspected(t *testing.T, o Options, reports ...*inspect.Report) string {
	t.Helper()
	var b bytes.Buffer
	p, err := NewInspection(&b, o)
	if err != nil {
		t.Fatal(err)
	}
	m := testMeta()
	m.Command, m.Hooks = "inspect 4711", nil
	p.Meta(m)
	s := InspectionSummary{Duration: 301 * time.Millisecond}
	for _, r := range reports {
		p.Look(r)
		s.Looks, s.Last = s.Looks+1, r
	}
	if len(reports) > 1 {
		s.Ended = "interrupted"
	}
	p.Conclude(&s)
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestInspectionText(t *testing.T) {
	golden(t, "inspection.txt", []byte(inspected(t, Options{}, stuck())))
	golden(t, "inspection-quiet.txt", []byte(inspected(t, Options{Quiet: true}, stuck(), healthy())))
	for line := range strings.Lines(inspected(t, Options{}, stuck())) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > Columns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	colored := inspected(t, Options{Color: true}, stuck())
	if !strings.Contains(colored, "\x1b[1;33m") || strings.Contains(colored, "\x1b[2J") {
		t.Errorf("colours: %q", colored)
	}
}

func TestInspectionJSON(t *testing.T) {
	golden(t, "inspection.jsonl", []byte(inspected(t, Options{Format: FormatJSON}, stuck())))
	ids := map[string]float64{}
	n := 0
	for line := range strings.Lines(inspected(t, Options{Format: FormatJSON, Quiet: true}, stuck(), stuck())) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch l["type"] {
		case "snapshot":
			if n++; l["fd"] == 4.0 || l["fd"] == 9.0 {
				t.Errorf("quiet shows %s", line)
			}
		case "finding":
			key := l["check"].(string)
			if id, again := ids[key]; again && id != l["id"] {
				t.Errorf("%s has id %v and then %v", key, id, l["id"])
			}
			ids[key] = l["id"].(float64)
		}
	}
	if n != 6 || len(ids) != 4 {
		t.Errorf("%d items, findings %v", n, ids)
	}
}

func TestInspectionErrors(t *testing.T) {
	if _, err := NewInspection(nil, Options{Format: "xml"}); err == nil {
		t.Error("an unknown format was taken")
	}
	for _, f := range []Format{FormatText, FormatJSON} {
		p, err := NewInspection(fullDisk{}, Options{Format: f})
		if err != nil {
			t.Fatal(err)
		}
		for range 100 { // more than a buffer holds
			p.Look(stuck())
		}
		if err := p.Flush(); !errors.Is(err, errFull) {
			t.Errorf("%s: %v", f, err)
		}
	}
}

var errFull = errors.New("full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }
