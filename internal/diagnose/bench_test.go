package diagnose_test

import (
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

// traffic makes the events of a server with several loop threads, each with an instance and connections of its own, and half
// of these edge-triggered. Every time two connections have a request each, which is one wait with two deliveries.
type traffic struct {
	now   event.Time
	conns int
	turn  int
	emit  func(event.Event)
}

const (
	benchPID     = 7
	benchThreads = 4
	benchEdge    = event.In | event.Out | event.RdHup | event.Err | event.Hup | event.ET
	benchLevel   = event.In | event.RdHup | event.Err | event.Hup
)

func (g *traffic) event(kind event.Kind, thread int) event.Event {
	g.now += 7000 // 140,000 a second
	return event.Event{Kind: kind, Time: g.now, PID: benchPID, TID: uint32(100 + thread), FD: event.NoFD, EpFD: event.NoFD, CPU: uint16(thread % 2)}
}

func (g *traffic) call(kind event.Kind, call event.Call, thread, conn int, ret int64) event.Event {
	ev := g.event(kind, thread)
	ev.Start, ev.Call, ev.Ret = g.now-1000, call, ret
	ev.FD, ev.FileAddr, ev.SockAddr = int32(10+conn), event.Addr(0x1000+conn), event.Addr(0x100000+conn)
	ev.Flags = event.IsSocket | event.Nonblock
	return ev
}

func (g *traffic) epoll(ev event.Event, thread int) event.Event {
	ev.EpFD, ev.EpollAddr = int32(3+thread), event.Addr(0x10+thread)
	return ev
}

func mask(conn int) event.Mask {
	if conn%2 == 0 {
		return benchEdge
	}
	return benchLevel
}

// open gives every thread its instance and its connections.
func (g *traffic) open() {
	for thread := range benchThreads {
		ev := g.epoll(g.event(event.KindEpollCreate, thread), thread)
		ev.Ret = int64(ev.EpFD)
		g.emit(ev)
	}
	for conn := range g.conns {
		ev := g.epoll(g.call(event.KindEpollCtl, event.CallEpollCtl, conn%benchThreads, conn, 0), conn%benchThreads)
		ev.Op, ev.Events, ev.Data, ev.Flags = event.CtlAdd, mask(conn), uint64(conn), ev.Flags|event.HasUnread
		g.emit(ev)
	}
	for thread := range benchThreads {
		g.enter(thread)
	}
}

func (g *traffic) enter(thread int) {
	ev := g.epoll(g.event(event.KindWaitEnter, thread), thread)
	ev.Timeout, ev.MaxEvents = -1, 64
	g.emit(ev)
}

// round is one wait of one thread: two requests, answered.
func (g *traffic) round() {
	thread := g.turn % benchThreads
	g.turn++
	var conns [2]int
	entered := g.now
	for k := range conns {
		conns[k] = (g.turn*26 + 13*k*benchThreads) % (g.conns / benchThreads) * benchThreads
		conns[k] += thread
		if k == 1 && conns[1] == conns[0] {
			conns[1] = (conns[1] + benchThreads) % g.conns
		}
		ev := g.epoll(g.call(event.KindWakeup, event.CallNone, thread, conns[k], 0), thread)
		ev.TID, ev.Start = 0, 0
		ev.Events, ev.Key, ev.Data, ev.Unread = mask(conns[k]), event.In|event.RdNorm, uint64(conns[k]), 64
		ev.Flags = event.HasUnread | event.IsSocket | event.Waiter
		g.emit(ev)
	}
	g.emit(g.epoll(g.event(event.KindWoken, thread), thread))
	ret := g.epoll(g.event(event.KindWaitReturn, thread), thread)
	ret.Start, ret.Ret = entered, int64(len(conns))
	g.emit(ret)
	for _, conn := range conns {
		ev := g.epoll(g.event(event.KindDeliver, thread), thread)
		ev.Events, ev.Data = event.In, uint64(conn)
		g.emit(ev)
	}
	for _, conn := range conns {
		g.receive(thread, conn, 64)
		g.emit(g.call(event.KindWrite, event.CallWrite, thread, conn, 128))
		if mask(conn)&event.ET != 0 {
			g.receive(thread, conn, -11)
		}
	}
	g.enter(thread)
}

func (g *traffic) receive(thread, conn int, ret int64) {
	ev := g.call(event.KindRecv, event.CallNone, thread, conn, ret)
	ev.Start, ev.FD, ev.Flags = 0, event.NoFD, event.IsSocket|event.HasUnread
	g.emit(ev)
	read := g.call(event.KindRead, event.CallRead, thread, conn, ret)
	read.Start = ev.Time - 1000
	g.emit(read)
}

// analysis is a timeline with every check.
type analysis struct {
	traffic
	tl  *timeline.Timeline
	eng *diagnose.Engine
	n   int
}

func newAnalysis(conns int) *analysis {
	a := &analysis{traffic: traffic{now: 1e9, conns: conns}}
	a.tl = timeline.New(timeline.Options{PIDs: []uint32{benchPID}, Observe: func(ev *event.Event) { a.eng.Observe(ev) }})
	a.eng = diagnose.New(a.tl, diagnose.Options{})
	a.emit = func(ev event.Event) {
		a.tl.Add(&ev)
		a.n++
		if a.n%100 == 0 { // a tracer reads in batches
			a.tl.Advance(ev.Time)
			a.eng.Tick(a.tl.Now())
		}
	}
	a.open()
	for range 20 * conns {
		a.round()
	}
	return a
}

// BenchmarkAnalysis is what an event of a busy server costs, the ordering, the timeline and all checks together.
func BenchmarkAnalysis(b *testing.B) {
	a := newAnalysis(1000)
	b.ReportAllocs()
	start := a.n
	b.ResetTimer()
	for a.n-start < b.N {
		a.round()
	}
	b.StopTimer()
	if found := a.eng.Findings(); len(found) > 0 {
		b.Fatalf("a healthy server is accused: %s: %s", found[0].Check, found[0].Message)
	}
}

// TestAnalysisAllocatesNothing: in a steady state memory does not move, however long it lasts.
func TestAnalysisAllocatesNothing(t *testing.T) {
	a := newAnalysis(200)
	before := a.n
	allocated := testing.AllocsPerRun(5, func() {
		for range 2000 {
			a.round()
		}
	})
	if perEvent := allocated / (float64(a.n-before) / 6); perEvent > 0.001 {
		t.Errorf("%.4f allocations an event", perEvent)
	}
	if s := a.tl.Stats(); s.Matched == 0 || s.Matched != s.Receives {
		t.Errorf("of %d receives %d belong to a call", s.Receives, s.Matched)
	}
	if span := a.now.Sub(1e9); span < time.Second {
		t.Errorf("the traffic lasts %v only", span)
	}
	for _, v := range a.eng.Verdicts() {
		if v.Result != diagnose.Clean {
			t.Errorf("%s is %s: %s", v.Check, v.Result, v.Reason)
		}
	}
}
