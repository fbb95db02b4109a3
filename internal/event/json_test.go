package event_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/event"
)

// named gives an event the ordinals that stand for its addresses in JSON.
func named(e event.Event) event.Event {
	e.FileAddr, e.NewFileAddr = event.Addr(e.File), event.Addr(e.NewFile)
	e.SockAddr, e.EpollAddr = event.Addr(e.Sock), event.Addr(e.Epoll)
	return e
}

var compareAddr = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

func full() event.Event {
	return named(event.Event{
		Seq: 7, Time: 1234567890123456789, Start: 1234567890123456000, Kind: event.KindWakeup, CPU: 3,
		Flags: event.HasUnread | event.Coalesced | event.Disarmed | event.Filtered | event.Overflow | event.Listener | event.FIN |
			event.FINUnread | event.Peek | event.Last | event.Nonblock | event.Waiter | event.IsEpoll | event.IsSocket |
			event.Dead | event.Compat | event.Ambiguous | event.AfterGap | event.Ongoing,
		Call: event.CallRecvmsg, Op: event.CtlMod, PID: 4711, TID: 4712, Lost: 9, FD: 0, EpFD: 4, File: 11, NewFile: 12, Sock: 13,
		Epoll: 14, Events: event.In | event.ET | 1<<20, Key: event.In | event.RdNorm, Data: 1<<64 - 1, Ret: -11,
		Timeout: 250 * time.Millisecond, MaxEvents: 32, Unread: 24, OldState: event.Established, NewState: event.CloseWait,
		Reason: event.ReasonAbortOnClose, Signal: 15, Local: netip.MustParseAddrPort("127.0.0.1:8080"),
		Peer: netip.MustParseAddrPort("[2001:db8::1]:51724"),
		Sched: event.Sched{Doing: event.Blocked, Times: 3, For: 200 * time.Millisecond, Call: "clock_nanosleep", Stack: &event.Stack{
			User: []string{"main.handle (server.go:41)", "std::pair<int, char>::first"}, Kernel: []string{"do_nanosleep"},
		}},
	})
}

func TestJSONRoundTrip(t *testing.T) {
	events := []event.Event{full()}
	for _, k := range event.Kinds() {
		empty := event.Event{Kind: k, FD: event.NoFD, EpFD: event.NoFD}
		rich := full()
		rich.Kind = k
		zero := event.Event{Kind: k, FD: 0, EpFD: 0, Flags: event.HasUnread}
		forEver := event.Event{Kind: k, FD: event.NoFD, EpFD: event.NoFD, Timeout: -1, Op: 9, OldState: 200}
		events = append(events, empty, rich, zero, forEver)
	}
	events = append(events, event.Event{
		Kind: event.KindPacket, FD: event.NoFD, EpFD: event.NoFD,
		Packet: event.Packet{Seq: 1 << 31, Ack: 5, Len: 20, Window: 65535, Flags: 0xff},
	}, event.Event{Kind: event.KindShutdown, FD: 5, EpFD: event.NoFD, Op: 2}, event.Event{
		Kind: event.KindSched, FD: event.NoFD, EpFD: event.NoFD, Sched: event.Sched{
			Doing: event.Blocked, Call: "\"<\x1b>\\ü", Stack: &event.Stack{User: []string{"\x1b[2J", ""}, Kernel: []string{}},
		},
	}, event.Event{Kind: event.KindSched, FD: event.NoFD, EpFD: event.NoFD, Sched: event.Sched{Doing: event.Runnable}})
	for _, want := range events {
		line := event.AppendJSON(nil, &want)
		if !json.Valid(line) {
			t.Errorf("%v: not JSON: %s", want.Kind, line)
		}
		got, err := event.ParseJSON(line)
		if err != nil {
			t.Errorf("%v: %v\n%s", want.Kind, err, line)
			continue
		}
		if diff := cmp.Diff(want, got, compareAddr); diff != "" {
			t.Errorf("%v (-written +read):\n%s\n%s", want.Kind, diff, line)
		}
	}
}

// Each field must have its place in the JSON: with any one of them cleared, the text is another.
func TestJSONHoldsEveryField(t *testing.T) {
	packet := full()
	packet.Kind = event.KindPacket
	packet.Packet = event.Packet{Seq: 1, Ack: 2, Len: 3, Window: 4, Flags: 5}
	want := string(event.AppendJSON(nil, &packet))
	addresses := map[string]bool{"FileAddr": true, "NewFileAddr": true, "SockAddr": true, "EpollAddr": true}
	typ := reflect.TypeFor[event.Event]()
	for i := range typ.NumField() {
		changed := packet
		field := reflect.ValueOf(&changed).Elem().Field(i)
		if name := typ.Field(i).Name; name == "FD" || name == "EpFD" {
			field.SetInt(int64(event.NoFD))
		} else {
			field.SetZero()
		}
		same := string(event.AppendJSON(nil, &changed)) == want
		if same != addresses[typ.Field(i).Name] {
			t.Errorf("%s: cleared, the JSON is the same: %v", typ.Field(i).Name, same)
		}
	}
}

func TestJSONSaysOnlyWhatIsKnown(t *testing.T) {
	e := event.Event{Kind: event.KindRead, Time: 5, FD: event.NoFD, EpFD: event.NoFD, FileAddr: 0xffff888812345678, Unread: 99, Ret: -11}
	got := string(event.AppendJSON(nil, &e))
	if want := `{"type":"event","kind":"read","ts":5,"cpu":0,"ret":-11}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestJSONText(t *testing.T) {
	tests := []struct {
		e    event.Event
		want string
	}{
		{
			event.Event{
				Seq: 15, Kind: event.KindWakeup, Time: 2000, PID: 100, FD: 5, EpFD: event.NoFD, File: 2, Sock: 3, Epoll: 1,
				Events: event.In | event.RdHup | event.ET, Data: 5, Unread: 20, Flags: event.HasUnread | event.Coalesced,
			},
			`{"type":"event","seq":15,"kind":"wakeup","ts":2000,"pid":100,"cpu":0,"fd":5,"file":2,"sock":3,"epoll":1,` +
				`"events":"IN|RDHUP|ET","key":"0","data":"0x5","unread":20,"flags":["coalesced"]}`,
		},
		{
			event.Event{
				Seq: 16, Kind: event.KindEpollCtl, Time: 9, Start: 8, PID: 1, TID: 1, Call: event.CallEpollCtl, Op: event.CtlAdd, FD: 0, EpFD: 4,
				Events: event.In, Data: 1 << 63,
			},
			`{"type":"event","seq":16,"kind":"epoll-ctl","ts":9,"start":8,"pid":1,"tid":1,"cpu":0,"call":"epoll_ctl","op":"ADD",` +
				`"fd":0,"epfd":4,"events":"IN","data":"0x8000000000000000","ret":0}`,
		},
		{
			event.Event{Kind: event.KindRecv, Time: 1, FD: event.NoFD, EpFD: event.NoFD, Ret: 16, Flags: event.HasUnread},
			`{"type":"event","kind":"recv","ts":1,"cpu":0,"ret":16,"bytes":16,"unread":0}`,
		},
	}
	for _, tc := range tests {
		if got := string(event.AppendJSON(nil, &tc.e)); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

func TestAppendJSONDoesNotAllocate(t *testing.T) {
	e := full()
	b := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { b = event.AppendJSON(b[:0], &e) }); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
