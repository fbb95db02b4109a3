package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/internal/symbol"
	"github.com/epwatch/epwatch/internal/timeline"
	"github.com/epwatch/epwatch/tracer"
)

// observeFlags are what every observation has: trace, attach and run.
type observeFlags struct {
	outputFlags
	reportFlags
	backend  choice
	checks   []string
	failOn   []string
	ready    string
	buffer   int
	packets  bool
	duration time.Duration
	stacks   bool
}

func (f *observeFlags) add(cmd *cobra.Command, packetsHelp, durationHelp string) {
	f.outputFlags.add(cmd)
	f.reportFlags.add(cmd)
	var families []string
	for _, fam := range tracer.Families() {
		families = append(families, string(fam))
	}
	fl := cmd.Flags()
	fl.Var(choiceFlag{&f.backend, families}, "backend", "take hooks of this family only")
	fl.Var(checksFlag{codes: &f.checks}, "check", "run these checks only, separated by commas")
	fl.Var(checksFlag{codes: &f.failOn, allowAny: true}, "fail-on", "exit with status 3 when one of these checks finds something")
	fl.StringVar(&f.ready, "ready-file", "", "create this `FILE` when everything is attached")
	fl.Var(sizeFlag{&f.buffer}, "buffer", "size of the kernel's ring buffer, such as 512K or 8M")
	fl.BoolVar(&f.packets, "packets", false, packetsHelp)
	fl.DurationVar(&f.duration, "duration", 0, durationHelp)
	fl.BoolVar(&f.stacks, "stacks", false, "with loop-stall, say where the thread was: its program's functions and the kernel's")
	complete(cmd, "backend", families)
	complete(cmd, "check", checkCodes())
	complete(cmd, "fail-on", append(checkCodes(), anyCheck))
}

func (f *observeFlags) check() error {
	if f.duration < 0 {
		return usagef("invalid duration %v", f.duration)
	}
	if f.stacks && len(f.checks) > 0 && !slices.Contains(f.checks, "loop-stall") {
		return usagef("--stacks needs the check loop-stall")
	}
	return f.reportFlags.check()
}

// open opens everything that is written to.
func (f *observeFlags) open() (*output, error) {
	r, err := f.reportFlags.open()
	if err != nil {
		return nil, err
	}
	out, err := f.outputFlags.open()
	if err != nil {
		r.close()
		return nil, err
	}
	out.reporting = r
	return out, nil
}

// attach opens the tracer, takes in whom latecomers names then (it may be nil), says so in the ready file, and gives up the
// privileges that are not needed any more.
func (f *observeFlags) attach(o tracer.Options, latecomers func() []uint32) (*tracer.Tracer, error) {
	o.Backend, o.Buffer, o.Packets = tracer.Family(f.backend), f.buffer, f.packets
	if f.stacks && o.SlowTurn > 0 {
		// Now, while the kernel still shows the addresses of its functions and nothing has to keep up with anything.
		names := symbol.New()
		for _, pid := range o.PIDs {
			names.Warm(pid)
		}
		o.Stacks = names.Stack
	}
	tr, err := tracer.Open(o)
	if err != nil {
		return nil, err
	}
	if latecomers != nil {
		if pids := latecomers(); len(pids) > 0 {
			if err := tr.Add(pids...); err != nil {
				tr.Close()
				return nil, err
			}
		}
	}
	if err := writeReady(f.ready); err != nil {
		tr.Close()
		return nil, &readyError{err}
	}
	// A binary that links C code cannot, and runs on with what it has.
	if err := tracer.DropPrivileges(); err != nil && !errors.Is(err, syscall.ENOTSUP) {
		tr.Close()
		return nil, err
	}
	return tr, nil
}

// readyError is no fault of the observation, and is told without naming it.
type readyError struct{ cause error }

func (e *readyError) Error() string { return e.cause.Error() }
func (e *readyError) Unwrap() error { return e.cause }

// doing names what was being done when an error came, where that is not clear from it.
func doing(what string, err error) error {
	if ready := (*readyError)(nil); errors.As(err, &ready) {
		return ready.cause
	}
	return fmt.Errorf("%s: %w", what, err)
}

// errInterrupted and errTimeUp end an observation in order.
var (
	errInterrupted = errors.New("interrupted")
	errTimeUp      = errors.New("the duration is over")
)

// source is what an observation needs of a tracer.
type source interface {
	Read(dst []event.Event) ([]event.Event, error)
	Horizon() event.Time
	Look(pid, tid uint32)
	Stop()
	Stats() tracer.Stats
}

// observation reads a tracer's events, orders them, judges them and shows them. It belongs to one goroutine.
type observation struct {
	tracer source
	out    *output
	print  render.Printer // out's
	meta   *render.Meta

	timeline *timeline.Timeline
	engine   *diagnose.Engine

	// Each may be nil. admit says which of the tracer's events count; before is told the time before each event is shown, each
	// is told after it was judged, and tick every now and then.
	admit  func(*event.Event) bool
	before func(event.Time)
	each   func(*event.Event)
	tick   func()

	attached event.Time
	cpu      time.Duration // at that time
}

// observeOptions say what is peculiar to an observation.
type observeOptions struct {
	meta       *render.Meta
	only       []string
	thresholds diagnose.Thresholds
	follow     bool
	comm       func(pid uint32) string
	// lag is for how long events are held back, for lines that come by another way to find their place among them.
	lag time.Duration
}

func newObservation(tr source, out *output, opt observeOptions) *observation {
	o := &observation{tracer: tr, out: out, print: out.printer, meta: opt.meta, attached: tracer.Now(), cpu: processorTime()}
	var pids []uint32
	for _, p := range o.meta.Processes {
		pids = append(pids, p.PID)
	}
	o.timeline = timeline.New(timeline.Options{Observe: o.observe, PIDs: pids, Follow: opt.follow, Window: max(opt.lag, 1)})
	o.engine = diagnose.New(o.timeline, diagnose.Options{
		Thresholds: opt.thresholds, Only: opt.only, Missing: o.meta.Missing, Comm: opt.comm,
		Kind:     kindOf,
		Look:     func(pid, tid uint32) { o.tracer.Look(pid, tid) },
		Baseline: out.known(),
		Report:   func(f *diagnose.Finding) { o.print.Finding(o.timeline.Now(), f) },
	})
	return o
}

func (o *observation) observe(ev *event.Event) {
	if o.before != nil {
		o.before(ev.Time)
	}
	o.print.Event(ev)
	o.engine.Observe(ev)
	if o.each != nil {
		o.each(ev)
	}
}

// flushAfter is how long output may be held back while events keep coming.
const flushAfter = 100 * time.Millisecond

// pump moves events from the tracer to the timeline until the tracer is stopped and drained. A broken output cancels the
// run but not the pump, which has to drain what is left.
func (o *observation) pump(cancel context.CancelCauseFunc) error {
	var batch []event.Event
	var flushed event.Time
	for {
		asked := tracer.Now()
		var err error
		batch, err = o.tracer.Read(batch[:0])
		for i := range batch {
			if o.admit == nil || o.admit(&batch[i]) {
				o.timeline.Add(&batch[i])
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		// What existed before comes first and out of order with what happened meanwhile; it ends where all from before the
		// attaching is there.
		if horizon := o.tracer.Horizon(); horizon >= o.attached {
			o.timeline.Advance(horizon)
			o.engine.Tick(o.timeline.Now())
			o.print.Tick(o.timeline.Now())
		}
		if len(batch) > 0 && asked.Sub(flushed) < flushAfter {
			continue
		}
		flushed = asked
		if o.tick != nil {
			o.tick()
		}
		if err := o.out.flush(); err != nil {
			cancel(err)
		}
	}
}

// finish closes the history at its end.
func (o *observation) finish() event.Time {
	end := tracer.Now()
	o.timeline.Close(end)
	if o.before != nil {
		o.before(end)
	}
	o.engine.Finish(end)
	return end
}

// until stops the tracer when the context ends.
func (o *observation) until(ctx context.Context) { context.AfterFunc(ctx, o.tracer.Stop) }

// run observes until the context ends, and concludes.
func (o *observation) run(ctx context.Context) (*render.Conclusion, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o.until(ctx)
	_ = giveWay() // nothing depends on it but the cost
	if err := o.pump(cancel); err != nil {
		return nil, err
	}
	end := o.finish()
	ended := ""
	if why := context.Cause(ctx); why != nil {
		ended = why.Error()
	}
	c := &render.Conclusion{
		Findings: o.engine.Findings(), Groups: o.engine.Groups(), Verdicts: o.verdicts(), Summary: o.summary(end, ended),
	}
	o.out.conclude(o.meta, c)
	return c, nil
}
