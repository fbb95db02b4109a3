package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/inspect"
	"github.com/epwatch/epwatch/internal/proc"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/tracer"
)

// inspectFlags are the flags of inspect.
type inspectFlags struct {
	output outputFlags
	sample time.Duration
	watch  time.Duration
}

// minSample is the shortest time between two samples that says anything: the kernel's clock for received data ticks in 10 ms.
const minSample = 20 * time.Millisecond

func newInspect() *cobra.Command {
	var f inspectFlags
	cmd := &cobra.Command{
		Use:   "inspect PID",
		Short: "Show a process's epoll instances as they are now",
		Long: prose(`Show what a process's epoll instances watch, and mark what looks stuck: input left unread on an
edge-triggered item, a spent EPOLLONESHOT with input or a hang-up behind it, CLOSE_WAIT, connections that an
edge-triggered listener left, and items whose descriptor is gone. It looks twice and marks only what did not change in
between.

Nothing is loaded into the kernel. Processes of your own need no privileges, others need CAP_SYS_PTRACE; sockets in
another network namespace need CAP_SYS_ADMIN. EPOLLERR and EPOLLHUP, which the kernel adds to every mask, are left out of the
table.`),
		Example: `  epwatch inspect $(pidof redis-server)
  epwatch inspect 4711 --watch 2s
  epwatch inspect 4711 --format json`,
		Args: onePID,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.sample < minSample {
				return usagef("invalid time between samples %v (%v at least)", f.sample, minSample)
			}
			if f.watch != 0 && f.watch < f.sample {
				return usagef("invalid time between looks %v (no shorter than --sample, %v)", f.watch, f.sample)
			}
			pid, _ := parsePID(args[0])
			return f.run(cmd.Context(), pid)
		},
	}
	f.output.add(cmd)
	cmd.Flags().Lookup("quiet").Usage = "show suspicious items only"
	cmd.Flags().DurationVar(&f.sample, "sample", inspect.DefaultSample, "time between the two samples")
	cmd.Flags().DurationVar(&f.watch, "watch", 0, "look again and again, at this distance, until Ctrl-C")
	return cmd
}

func onePID(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usagef("a PID is missing")
	case len(args) > 1:
		return usagef("unexpected argument %q", args[1])
	}
	_, err := parsePID(args[0])
	return err
}

func parsePID(word string) (uint32, error) {
	n, err := strconv.ParseUint(word, 10, 31)
	if err != nil || n == 0 {
		return 0, usagef("invalid PID %q", word)
	}
	return uint32(n), nil
}

// run looks once, or until it is ended. The output is opened after the first look, so that what cannot be looked at leaves no file.
func (f *inspectFlags) run(parent context.Context, pid uint32) error {
	if parent == nil {
		parent = context.Background()
	}
	ctx, stop := endBySignal(parent)
	defer stop()
	start, wall := tracer.Now(), time.Now()
	look := func() (*inspect.Report, error) {
		return inspect.Look(ctx, inspect.Options{PID: pid, Sample: f.sample, Now: tracer.Now})
	}
	r, err := look()
	if err != nil {
		return ended(ctx, err)
	}
	o, err := f.output.open()
	if err != nil {
		return err
	}
	defer o.close()
	shown, err := render.NewInspection(o.to, render.Options{
		Format: render.Format(f.output.format), Quiet: f.output.quiet, Color: !f.output.noColor && wantsColor(o.to),
	})
	if err != nil {
		return err
	}
	o.printer = inspectionOutput{o.printer, shown}
	meta := &render.Meta{
		Version: version(), Kernel: kernelRelease(), Command: fmt.Sprintf("inspect %d", pid), Start: start, Wall: wall,
		Processes: []render.Process{{PID: pid, Comm: r.Process.Comm}},
	}
	s := render.InspectionSummary{}
	clearing := f.watch > 0 && f.output.format == formatText && isTerminal(o)
	if !clearing {
		shown.Meta(meta)
	}
	for err == nil {
		if clearing {
			_, _ = o.to.WriteString(clearScreen)
			shown.Meta(meta)
		}
		shown.Look(r)
		s.Looks, s.Last = s.Looks+1, r
		if f.watch == 0 {
			break
		}
		if err = o.flush(); err != nil {
			return o.finish()
		}
		if err = pause(ctx, f.watch-f.sample); err == nil {
			r, err = look()
		}
	}
	switch {
	case ctx.Err() != nil:
		s.Ended = context.Cause(ctx).Error()
	case err != nil:
		s.Ended = err.Error()
	}
	s.Duration = tracer.Now().Sub(start)
	shown.Conclude(&s)
	if err := o.finish(); err != nil {
		return err
	}
	if err != nil && ctx.Err() == nil && !over(err) {
		return err
	}
	return nil
}

// clearScreen puts the cursor home and clears what is on the screen.
const clearScreen = "\x1b[H\x1b[2J"

// over reports whether a watch has come to its natural end: the process, or its last epoll instance, is gone.
func over(err error) bool {
	return errors.Is(err, proc.ErrGone) || errors.Is(err, proc.ErrZombie) || errors.Is(err, inspect.ErrNoEpoll)
}

// ended says nothing of what a signal cut short.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &statusError{status: exitFailed}
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(max(d, 0)):
		return nil
	}
}

// inspectionOutput lets an inspection be flushed and closed like any other output.
type inspectionOutput struct {
	render.Printer
	shown render.Inspection
}

func (o inspectionOutput) Flush() error { return o.shown.Flush() }

func isTerminal(o *output) bool {
	_, err := unix.IoctlGetTermios(int(o.to.Fd()), unix.TCGETS)
	return err == nil
}
