package timeline

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

func TestAdvanceKeepsTheWindow(t *testing.T) {
	var seen []event.Time
	tl := New(Options{Window: 10 * time.Millisecond, Observe: func(ev *event.Event) { seen = append(seen, ev.Time) }})
	ms := func(n int) event.Time { return event.Time(n) * 1e6 }
	add := func(n int) {
		tl.Add(&event.Event{Kind: event.KindSignal, Time: ms(n), FD: event.NoFD, EpFD: event.NoFD})
	}
	add(12)
	add(5)
	tl.Advance(ms(16))
	if len(seen) != 1 || seen[0] != ms(5) || tl.Now() != ms(6) {
		t.Fatalf("at 16 ms with a window of 10 were observed: %v, complete up to %d", seen, tl.Now())
	}
	add(8)
	tl.Advance(ms(40))
	tl.Close(ms(50))
	want := []event.Time{ms(5), ms(8), ms(12)}
	if len(seen) != 3 || seen[1] != want[1] || seen[2] != want[2] || tl.Now() != ms(50) {
		t.Errorf("were observed: %v, complete up to %d", seen, tl.Now())
	}
}

func TestBeforeEachSeesTheStateBefore(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.wakeup(20, etMask, 0)
	var before []uint32
	s.tl.BeforeEach(func(now event.Time) {
		n, _ := f.Sock.Unread()
		before = append(before, n)
		if now != s.now {
			t.Errorf("told %d, want %d", now, s.now)
		}
	})
	s.wakeup(30, etMask, 0)
	s.wakeup(40, etMask, 0)
	if len(before) != 2 || before[0] != 20 || before[1] != 30 {
		t.Errorf("before the events unread was %v, want 20 and 30", before)
	}
}

// FuzzTimeline plays nonsense: whatever a tracer hands over, the timeline neither fails nor grows without bound.
func FuzzTimeline(f *testing.F) {
	f.Add([]byte("\x01\x05\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07"))
	f.Add([]byte{byte(event.KindEpollCtl), 1, 4, 5, 1, 1, 1, 1, 0, 0, 0, 0, byte(event.KindDeliver), 9, 4, 5, 1, 1, 1, 1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var last uint64
		tl := New(Options{Observe: func(ev *event.Event) {
			if ev.Seq != last+1 {
				t.Fatalf("event %d follows %d", ev.Seq, last)
			}
			last = ev.Seq
		}})
		now := event.Time(1e9)
		for n := 0; len(data) >= 12; n++ {
			b := data[:12]
			data = data[12:]
			now += event.Time(b[1]) << (b[8] & 31)
			ev := event.Event{
				Kind: event.Kind(b[0] % 30), Time: now - event.Time(b[9])<<16, PID: uint32(b[2] & 3), TID: uint32(b[2] >> 4),
				FD: int32(b[3]&15) - 1, EpFD: int32(b[4]&3) - 1, FileAddr: event.Addr(b[5] & 15), NewFileAddr: event.Addr(b[5] >> 4),
				SockAddr: event.Addr(b[6] & 15), EpollAddr: event.Addr(b[6] >> 6), Data: uint64(b[3] & 7), Op: b[4] >> 6,
				Ret: int64(int8(b[7])), Unread: uint32(b[10]), Flags: event.Flags(binary.LittleEndian.Uint16(b[10:])),
				Events: event.Mask(b[10]) | event.Mask(b[11])<<24, Call: event.Call(b[11] % 33), Lost: uint32(b[9] / 250),
				OldState: event.State(b[8] & 15), NewState: event.State(b[9] & 15),
			}
			ev.Start = ev.Time - event.Time(b[1])
			tl.Add(&ev)
			if n%3 == 0 {
				tl.Advance(now)
			}
		}
		tl.Close(now)
		st := tl.Stats()
		if st.Total != last {
			t.Errorf("%d events were counted and %d observed", st.Total, last)
		}
		for d, b := range tl.fds {
			if b.file == nil || b.file.Ended {
				t.Errorf("fd %v names a file that has ended", d)
			}
		}
		for _, ep := range tl.epolls {
			if ep.Waiting < 0 {
				t.Errorf("%d threads wait", ep.Waiting)
			}
		}
	})
}

// cycle is what a server like redis does for one request.
func cycle(tl *Timeline, now event.Time) {
	base := event.Event{PID: pid, TID: tid, FD: event.NoFD, EpFD: event.NoFD}
	add := func(kind event.Kind, at event.Time, change func(*event.Event)) {
		ev := base
		ev.Kind, ev.Time = kind, now+at
		change(&ev)
		tl.Add(&ev)
	}
	add(event.KindWakeup, 10, func(e *event.Event) {
		e.EpollAddr, e.FileAddr, e.SockAddr, e.FD, e.Data = epollAddr, connFile, connSock, 5, 5
		e.Events, e.Key, e.Unread, e.Flags = event.In, event.In, 40, event.HasUnread
	})
	add(event.KindWaitReturn, 20, func(e *event.Event) { e.EpollAddr, e.EpFD, e.Start, e.Ret = epollAddr, 4, now, 1 })
	add(event.KindDeliver, 20, func(e *event.Event) { e.EpollAddr, e.EpFD, e.Events, e.Data = epollAddr, 4, event.In, 5 })
	add(event.KindRecv, 30, func(e *event.Event) { e.SockAddr, e.Ret, e.Flags = connSock, 40, event.HasUnread })
	add(event.KindRead, 31, func(e *event.Event) {
		e.FileAddr, e.SockAddr, e.FD, e.Ret, e.Start, e.Call = connFile, connSock, 5, 40, now+25, event.CallRead
	})
	add(event.KindWrite, 40, func(e *event.Event) {
		e.FileAddr, e.SockAddr, e.FD, e.Ret, e.Start, e.Call = connFile, connSock, 5, 5, now+35, event.CallWrite
	})
	add(event.KindWaitEnter, 50, func(e *event.Event) { e.EpollAddr, e.EpFD, e.Timeout, e.MaxEvents = epollAddr, 4, -1, 100 })
}

const cycleEvents = 7

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	tl := New(Options{Window: time.Microsecond})
	now := event.Time(1e9)
	step := func() {
		cycle(tl, now)
		now += 100
		tl.Advance(now)
	}
	for range 1000 {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n > 0 {
		t.Errorf("%v allocations for %d events, want none", n, cycleEvents)
	}
}

func BenchmarkTimeline(b *testing.B) {
	tl := New(Options{})
	now := event.Time(1e9)
	b.ReportAllocs()
	for b.Loop() {
		cycle(tl, now)
		now += 10_000
		tl.Advance(now)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/cycleEvents, "ns/event")
}
