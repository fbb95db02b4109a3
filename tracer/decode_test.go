package tracer

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/epwatch/epwatch/internal/event"
)

func bytesOf[T any](v *T) []byte {
	return append([]byte{}, unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))...)
}

func decodeOne(t *testing.T, raw []byte) event.Event {
	t.Helper()
	var d decoder
	events, err := d.decode(nil, raw)
	if err != nil || len(events) != 1 {
		t.Fatalf("%d events, error %v", len(events), err)
	}
	return events[0]
}

func TestDecodeCalls(t *testing.T) {
	var r epwatchCallEvent
	r.H.Ts, r.H.Pid, r.H.Tid, r.H.Cpu, r.H.Lost = 1000, 7, 8, 1, 3
	r.H.Kind = uint16(event.KindWakeup)
	r.Fd, r.Epfd, r.Events, r.Key, r.Unread, r.Flags = 9, 4, uint32(event.In|event.ET), 0xc3, 20, uint16(event.HasUnread|event.Coalesced)
	r.File, r.Sock, r.Epoll, r.Data = 0x1000, 0x2000, 0x3000, 9
	e := decodeOne(t, bytesOf(&r))
	if e.Time != 1000 || e.PID != 7 || e.TID != 8 || e.CPU != 1 || e.Lost != 3 || e.FD != 9 || e.EpFD != 4 || e.Events != event.In|event.ET ||
		e.Key != 0xc3 || e.Unread != 20 || !e.Has(event.HasUnread|event.Coalesced) || e.FileAddr != 0x1000 || e.SockAddr != 0x2000 || e.EpollAddr != 0x3000 {
		t.Errorf("wakeup decoded as %+v", e)
	}

	r.H.Kind = uint16(event.KindAccept)
	if e = decodeOne(t, bytesOf(&r)); e.NewFileAddr != 0x3000 || e.EpollAddr != 0 || e.Key != 0 {
		t.Errorf("accept decoded as %+v", e)
	}
	r.H.Kind = uint16(event.KindReset)
	r.Key = uint32(event.ReasonAbortOnClose)
	if e = decodeOne(t, bytesOf(&r)); e.Reason != event.ReasonAbortOnClose || e.Key != 0 {
		t.Errorf("reset decoded as %+v", e)
	}
}

// TestDecodeShortAfterLong makes sure that a short record does not show the end of the one before.
func TestDecodeShortAfterLong(t *testing.T) {
	var d decoder
	var r epwatchCallEvent
	r.H.Kind = uint16(event.KindRead)
	r.File, r.Ret, r.Start = 1, 2, 3
	if _, err := d.decode(nil, bytesOf(&r)); err != nil {
		t.Fatal(err)
	}
	r.H.Kind = uint16(event.KindWaitEnter)
	r.Data = ^uint64(0)
	r.Events = 32
	events, err := d.decode(nil, bytesOf(&r)[:shortSize])
	if err != nil {
		t.Fatal(err)
	}
	if e := events[0]; e.FileAddr != 0 || e.Ret != 0 || e.Start != 0 || e.Timeout != -1 || e.MaxEvents != 32 || e.Events != 0 {
		t.Errorf("short record decoded as %+v", e)
	}
	r.Data = uint64(5 * time.Second)
	if events, _ = d.decode(nil, bytesOf(&r)[:shortSize]); events[0].Timeout != 5*time.Second {
		t.Errorf("time-out %v", events[0].Timeout)
	}
}

func TestDecodeDeliveries(t *testing.T) {
	var r epwatchDeliverEvent
	r.H.Kind, r.H.Lost = uint16(event.KindDeliver), 5
	r.Epoll, r.Epfd, r.Number = 0x3000, 4, 2
	raw := bytesOf(&r)
	// Two of the kernel's struct epoll_event, packed as on x86-64.
	raw = append(raw, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0)
	raw = append(raw, 4, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0)
	raw = append(raw, make([]byte, 24)...)
	var d decoder
	events, err := d.decode(nil, raw)
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 2 || events[0].Events != event.In || events[0].Data != 7 || events[1].Events != event.Out || events[1].Data != 1<<32|8 {
		t.Errorf("deliveries %+v", events)
	}
	if events[0].Lost != 5 || events[1].Lost != 0 {
		t.Errorf("the loss is told %d and %d times, want once", events[0].Lost, events[1].Lost)
	}
	withReturn := slices.Clone(raw)
	(*epwatchDeliverEvent)(unsafe.Pointer(&withReturn[0])).Start = 77
	(*epwatchDeliverEvent)(unsafe.Pointer(&withReturn[0])).Ret = 3
	(*epwatchDeliverEvent)(unsafe.Pointer(&withReturn[0])).Call = uint8(event.CallEpollPwait)
	events, err = d.decode(nil, withReturn)
	if err != nil || len(events) != 3 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	if e := events[0]; e.Kind != event.KindWaitReturn || e.Start != 77 || e.Ret != 3 || e.Call != event.CallEpollPwait || e.EpFD != 4 || e.Data != 0 || e.Lost != 5 {
		t.Errorf("the wait's return is %+v", e)
	}
	if e := events[1]; e.Kind != event.KindDeliver || e.Data != 7 || e.Ret != 0 || e.Start != 0 || e.Call != 0 || e.Lost != 0 {
		t.Errorf("the first delivery is %+v", e)
	}
	r.Number = 5
	if _, err := d.decode(nil, append(bytesOf(&r), make([]byte, 48)...)); err == nil || !strings.Contains(err.Error(), "claims 5") {
		t.Errorf("a record with too many deliveries: %v", err)
	}
}

func TestDecodeReceived(t *testing.T) {
	var r epwatchCallEvent
	r.H.Kind, r.H.Ts, r.H.Pid, r.H.Tid, r.H.Lost = uint16(event.KindRead), 900, 7, 8, 5
	r.Op, r.Call, r.Fd, r.Epfd, r.Start, r.Ret, r.Flags = opReceived, uint8(event.CallReadv), 6, -1, 800, 20, uint16(event.Nonblock|event.IsSocket)
	r.Sock, r.File, r.Data, r.Unread, r.Events = 0x20, 0x30, 20, 3, uint32(event.HasUnread|event.FIN)
	var d decoder
	events, err := d.decode(nil, bytesOf(&r))
	if err != nil {
		t.Fatal(err)
	}
	want := []event.Event{
		{
			Kind: event.KindRecv, Time: 900, PID: 7, TID: 8, Lost: 5, FD: event.NoFD, EpFD: event.NoFD, SockAddr: 0x20, FileAddr: 0x30, Ret: 20,
			Unread: 3, Flags: event.HasUnread | event.FIN | event.IsSocket,
		},
		{
			Kind: event.KindRead, Time: 900, Start: 800, PID: 7, TID: 8, Call: event.CallReadv, FD: 6, EpFD: event.NoFD, SockAddr: 0x20,
			FileAddr: 0x30, Ret: 20, Flags: event.Nonblock | event.IsSocket,
		},
	}
	if !slices.Equal(events, want) {
		t.Errorf("decoded as %+v, want %+v", events, want)
	}
	r.Data = ^uint64(10)
	if events, err = d.decode(nil, bytesOf(&r)); err != nil || events[0].Ret != -11 {
		t.Errorf("a receive of nothing came out as %v, %v", events, err)
	}
}

func TestDecodeAddresses(t *testing.T) {
	var r epwatchSockEvent
	r.H.Kind = uint16(event.KindState)
	r.Family, r.LocalPort, r.PeerPort, r.OldState, r.NewState, r.Fd = 10, 8080, 0, 1, 8, -1
	r.Local = [16]uint8{10: 0xff, 11: 0xff, 12: 127, 15: 1}
	e := decodeOne(t, bytesOf(&r))
	if e.Local != netip.MustParseAddrPort("127.0.0.1:8080") {
		t.Errorf("a mapped address came out as %v", e.Local)
	}
	if e.Peer.IsValid() {
		t.Errorf("an unbound address came out as %v", e.Peer)
	}
	if e.OldState != event.Established || e.NewState != event.CloseWait || e.FD != event.NoFD {
		t.Errorf("state decoded as %+v", e)
	}
}

func FuzzDecode(f *testing.F) {
	var r epwatchCallEvent
	r.H.Kind = uint16(event.KindWakeup)
	f.Add(bytesOf(&r))
	r.H.Kind = uint16(event.KindDeliver)
	f.Add(bytesOf(&r))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d decoder
		events, err := d.decode(nil, raw)
		for _, e := range events {
			if e.Kind == event.KindNone || e.Kind.String() == "unknown" {
				t.Errorf("decoded the kind %d", e.Kind)
			}
		}
		if err == nil && len(raw) < shortSize {
			t.Error("a record of no length was decoded")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	var d decoder
	var r epwatchCallEvent
	r.H.Kind = uint16(event.KindRead)
	raw := bytesOf(&r)
	events := make([]event.Event, 0, 1)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if events, err = d.decode(events[:0], raw); err != nil {
			b.Fatal(err)
		}
	}
}
