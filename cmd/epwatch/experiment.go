package main

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

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
	kid     *child
	*observation

	events  []event.Event
	outcome outcome

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
	e := &experiment{variant: v, timeout: f.clientTimeout(v), address: f.address, kid: kid}
	e.inbox.news = make(chan struct{}, 1)
	who := render.Process{PID: kid.pid(), Comm: commOf(kid.pid())}
	e.observation = newObservation(tr, out, observeOptions{
		meta: metaOf("trace "+v.Name, []render.Process{who}, tr.Hooks(), f.checks), only: f.checks,
		thresholds: thresholds(e.timeout), comm: func(uint32) string { return who.Comm }, lag: timeline.DefaultWindow,
	})
	e.before = e.showLines
	e.each = func(ev *event.Event) { e.events = append(e.events, *ev) }
	e.tick = func() { e.showLines(e.timeline.Now()) }
	return e
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
	c := e.conclude(e.finish())
	e.out.conclude(e.meta, c)
	return c, e.outcome.failed
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
