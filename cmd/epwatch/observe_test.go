package main

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/tracer"
)

// request is what one request to an edge-triggered server makes, a microsecond apart, from at on.
func request(dst []event.Event, at event.Time) []event.Event {
	step := func(kind event.Kind, change func(*event.Event)) {
		at += 1000
		e := event.Event{Kind: kind, Time: at, PID: 100, TID: 100, FD: event.NoFD, EpFD: event.NoFD}
		change(&e)
		dst = append(dst, e)
	}
	const mask = event.In | event.RdHup | event.ET
	onConn := func(e *event.Event) { e.FD, e.FileAddr, e.SockAddr, e.Start = 5, 0xf2, 0x52, e.Time-500 }
	onEpoll := func(e *event.Event) { e.EpFD, e.EpollAddr = 4, 0xe1 }
	step(event.KindWakeup, func(e *event.Event) {
		onConn(e)
		onEpoll(e)
		e.TID, e.Start, e.Events, e.Key, e.Data, e.Unread, e.Flags = 0, 0, mask, event.In|event.RdNorm, 5, 20, event.HasUnread
	})
	step(event.KindWoken, onEpoll)
	step(event.KindWaitReturn, func(e *event.Event) { onEpoll(e); e.Ret, e.Start = 1, e.Time-5000 })
	step(event.KindDeliver, func(e *event.Event) { onEpoll(e); e.Events, e.Data = event.In, 5 })
	for _, r := range [...]struct {
		got  int64
		left uint32
	}{{16, 4}, {4, 0}} {
		step(event.KindRecv, func(e *event.Event) {
			e.SockAddr, e.Ret, e.Flags, e.Unread = 0x52, r.got, event.HasUnread, r.left
		})
		step(event.KindRead, func(e *event.Event) { onConn(e); e.Start, e.Call, e.Ret = e.Time-1500, event.CallRead, r.got })
	}
	step(event.KindWrite, func(e *event.Event) { onConn(e); e.Call, e.Ret = event.CallWrite, 20 })
	step(event.KindWaitEnter, func(e *event.Event) { onEpoll(e); e.Timeout = -1 })
	return dst
}

// steady returns a function that observes one request, after so many that everything has its place.
func steady(t testing.TB, o render.Options) func() {
	t.Helper()
	p, err := render.New(io.Discard, o)
	if err != nil {
		t.Fatal(err)
	}
	meta := &render.Meta{Processes: []render.Process{{PID: 100, Comm: "server"}}}
	obs := newObservation(nil, &output{printer: p}, observeOptions{meta: meta, thresholds: diagnose.DefaultThresholds()})
	obs.each = newTargets(false, false).observe
	now := event.Time(1e9)
	found := event.Event{
		Kind: event.KindSnapshot, Time: now, PID: 100, FD: 5, EpFD: event.NoFD, FileAddr: 0xf2, SockAddr: 0x52, NewState: event.Established, Flags: event.HasUnread,
	}
	obs.timeline.Add(&found)
	var batch []event.Event
	one := func() {
		batch = request(batch[:0], now)
		now += 100_000
		for i := range batch {
			obs.timeline.Add(&batch[i])
		}
		obs.timeline.Advance(now)
		obs.engine.Tick(obs.timeline.Now())
	}
	for range 1000 {
		one()
	}
	if n := len(obs.engine.Findings()); n > 0 || obs.timeline.Stats().Matched == 0 {
		t.Fatalf("%d findings, %+v", n, obs.timeline.Stats())
	}
	return one
}

// TestObservingAllocatesNothing: a busy server makes hundreds of thousands of events a second.
func TestObservingAllocatesNothing(t *testing.T) {
	for _, o := range []render.Options{{Quiet: true}, {Format: render.FormatJSON}} {
		if n := testing.AllocsPerRun(2000, steady(t, o)); n > 0 {
			t.Errorf("%+v: %v allocations a request", o, n)
		}
	}
}

// BenchmarkObserve is the cost of a request, ten events, without the tracer.
func BenchmarkObserve(b *testing.B) {
	for name, o := range map[string]render.Options{"quiet": {Quiet: true}, "json": {Format: render.FormatJSON}, "text": {}} {
		b.Run(name, func(b *testing.B) {
			one := steady(b, o)
			b.ReportAllocs()
			for b.Loop() {
				one()
			}
		})
	}
}

// batches is a source that hands out what it was given, in turn.
type batches struct {
	left   [][]event.Event
	latest event.Time
}

func (b *batches) Read(dst []event.Event) ([]event.Event, error) {
	if len(b.left) == 0 {
		return dst, io.EOF
	}
	dst = append(dst, b.left[0]...)
	for _, ev := range b.left[0] {
		b.latest = max(b.latest, ev.Time)
	}
	b.left = b.left[1:]
	return dst, nil
}

func (b *batches) Horizon() event.Time { return b.latest }

func (*batches) Look(_, _ uint32)    {}
func (*batches) Stop()               {}
func (*batches) Stats() tracer.Stats { return tracer.Stats{} }

// TestPumpWaitsForWhatWasThere: what existed before the attaching is handed out first, and took a while to be gathered. What
// happened meanwhile is older than the end of it, and not late.
func TestPumpWaitsForWhatWasThere(t *testing.T) {
	p, err := render.New(io.Discard, render.Options{})
	if err != nil {
		t.Fatal(err)
	}
	spool := newSpool(io.Discard)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	src := &batches{}
	o := newObservation(src, &output{printer: p, spool: spool, to: null}, observeOptions{
		meta: &render.Meta{Processes: []render.Process{{PID: 100}}}, thresholds: diagnose.DefaultThresholds(),
	})
	begun := o.attached.Add(-time.Second)
	at := func(kind event.Kind, ms int) event.Event {
		return event.Event{
			Kind: kind, Time: begun.Add(time.Duration(ms) * time.Millisecond), PID: 100, TID: 100, FD: 5, EpFD: event.NoFD,
		}
	}
	src.left = [][]event.Event{
		{at(event.KindSnapshot, 0), at(event.KindSnapshot, 900)},
		{at(event.KindRead, 100), at(event.KindRead, 500)},
		{at(event.KindRead, 990), at(event.KindRead, 1100)}, // past the attaching: all is there
		{},
	}
	if err := o.pump(func(error) {}); err != nil {
		t.Fatal(err)
	}
	o.finish()
	if s := o.timeline.Stats(); s.Late > 0 || s.Total != 6 {
		t.Errorf("%d of %d events came late", s.Late, s.Total)
	}
}
