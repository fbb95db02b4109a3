package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/internal/timeline"
	"github.com/epwatch/epwatch/server"
	"github.com/epwatch/epwatch/tracer"
)

// experiment is one run of a variant under observation. Two goroutines share it: the conductor lets things happen, and
// the caller's own reads, orders, judges and shows what happened.
type experiment struct {
	variant server.Variant
	timeout time.Duration
	address string
	only    []string
	kid     *child
	tracer  *tracer.Tracer
	out     *output
	print   render.Printer // out's
	meta    *render.Meta

	timeline *timeline.Timeline
	engine   *diagnose.Engine
	events   []event.Event
	outcome  outcome

	inbox inbox
}

// inbox is what other goroutines heard.
type inbox struct {
	mu      sync.Mutex
	lines   []render.Line // not shown yet
	server  []string      // all of the server's lines
	records []server.Record
	broken  error

	news chan struct{} // holds a token when something came
}

func newExperiment(v server.Variant, f *traceFlags, kid *child, tr *tracer.Tracer, out *output) *experiment {
	e := &experiment{
		variant: v, timeout: f.clientTimeout(v), address: f.address, only: f.checks, kid: kid, tracer: tr, out: out, print: out.printer,
		meta: metaOf(v, kid, tr.Hooks(), f.checks),
	}
	e.inbox.news = make(chan struct{}, 1)
	e.timeline = timeline.New(timeline.Options{Observe: e.observe, PIDs: []uint32{kid.pid()}})
	e.engine = diagnose.New(e.timeline, diagnose.Options{
		Thresholds: thresholds(e.timeout), Only: f.checks, Missing: e.meta.Missing,
		Report: func(f *diagnose.Finding) { e.print.Finding(e.timeline.Now(), f) },
		Comm:   func(uint32) string { return e.meta.Processes[0].Comm },
	})
	return e
}

func (e *experiment) observe(ev *event.Event) {
	e.showLines(ev.Time)
	e.engine.Tick(ev.Time) // what had to happen before this and did not is told before it
	e.print.Event(ev)
	e.engine.Observe(ev)
	e.events = append(e.events, *ev)
}

// run lets the experiment happen and shows it, from the opened gate to the conclusion. The error says why it did not
// get to its end, unless somebody asked for that.
func (e *experiment) run(ctx context.Context) (*render.Conclusion, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e.print.Meta(e.meta)
	conducted := make(chan outcome, 1)
	go func() {
		defer e.tracer.Stop()
		conducted <- e.conduct(ctx)
	}()
	err := e.pump(cancel)
	cancel(err)
	e.tracer.Stop()
	e.outcome = <-conducted
	if err != nil {
		return nil, err
	}
	end := tracer.Now()
	e.timeline.Close(end)
	e.showLines(end)
	e.engine.Finish(end)
	c := e.conclude(end)
	e.print.Conclude(c)
	return c, e.outcome.failed
}

// pump moves events from the tracer to the timeline until the tracer is stopped and drained. A broken output cancels the
// run but not the pump, which has to drain what is left.
func (e *experiment) pump(cancel context.CancelCauseFunc) error {
	var batch []event.Event
	for {
		now := tracer.Now()
		var err error
		batch, err = e.tracer.Read(batch[:0])
		// Everything up to now is here if nothing was left to read; else everything up to the latest that was.
		latest := event.Time(0)
		for i := range batch {
			latest = max(latest, batch[i].Time)
			e.timeline.Add(batch[i])
		}
		if len(batch) > 0 {
			now = min(now, latest)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		e.timeline.Advance(now)
		e.engine.Tick(e.timeline.Now())
		e.showLines(e.timeline.Now())
		if err := e.out.flush(); err != nil {
			cancel(err)
		}
	}
}

// showLines shows the lines that were printed before a point of the timeline.
func (e *experiment) showLines(until event.Time) {
	e.inbox.mu.Lock()
	var due []render.Line
	for len(e.inbox.lines) > 0 && e.inbox.lines[0].Time < until {
		due = append(due, e.inbox.lines[0])
		e.inbox.lines = e.inbox.lines[1:]
	}
	e.inbox.mu.Unlock()
	for i := range due {
		e.print.Line(&due[i])
	}
}

func (b *inbox) put(add func()) {
	b.mu.Lock()
	add()
	b.mu.Unlock()
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// await waits until something in the inbox holds, or for as long as it may.
func (b *inbox) await(ctx context.Context, patience time.Duration, what string, holds func() bool) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		b.mu.Lock()
		ok, broken := holds(), b.broken
		b.mu.Unlock()
		switch {
		case ok:
			return nil
		case broken != nil:
			return broken
		}
		select {
		case <-b.news:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limit.C:
			return fmt.Errorf("waiting %v for %s: %w", patience, what, syscall.ETIMEDOUT)
		}
	}
}
