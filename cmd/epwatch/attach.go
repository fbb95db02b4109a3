package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/tracer"
)

// narrowFlags are what attach and run share: which part of a process is observed, and when a check speaks.
type narrowFlags struct {
	observeFlags
	follow     bool
	fds        []int32
	port       uint16
	kinds      []event.Kind
	thresholds diagnose.Thresholds
}

func (f *narrowFlags) add(cmd *cobra.Command, followHelp, durationHelp string) {
	f.observeFlags.add(cmd, "show the segments on the wire", durationHelp)
	fl := cmd.Flags()
	fl.BoolVar(&f.follow, "follow", false, followHelp)
	fl.Int32SliceVar(&f.fds, "fd", nil, fmt.Sprintf("record these `DESCRIPTORS` only, separated by commas (%d at most)", tracer.MaxFDs))
	fl.Lookup("fd").DefValue = "" // pflag would say []
	fl.Uint16Var(&f.port, "port", 0, "record sockets with this local or peer `PORT` only")
	fl.Var(kindsFlag{&f.kinds}, "events", "record these kinds of events only; checks that need others answer unknown")
	complete(cmd, "events", kindNames())
	for _, s := range f.thresholds.Settings() {
		if s.Duration != nil {
			fl.DurationVar(s.Duration, s.Check, time.Duration(s.Default), s.Help)
		} else {
			fl.IntVar(s.Count, s.Check, int(s.Default), s.Help)
		}
	}
}

func (f *narrowFlags) check() error {
	if len(f.fds) > tracer.MaxFDs {
		return usagef("too many descriptors, %d (%d at most)", len(f.fds), tracer.MaxFDs)
	}
	for _, fd := range f.fds {
		if fd < 0 {
			return usagef("invalid descriptor %d", fd)
		}
	}
	for _, s := range f.thresholds.Settings() {
		switch {
		case s.Duration != nil && *s.Duration < minThreshold:
			return usagef("invalid --%s %v (%v at least)", s.Check, *s.Duration, minThreshold)
		case s.Count != nil && *s.Count < 1:
			return usagef("invalid --%s %d (1 at least)", s.Check, *s.Count)
		}
	}
	return f.observeFlags.check()
}

// minThreshold is well above what scheduling and ordering take.
const minThreshold = minTimeout / 2

// tracerOptions is what of the flags the kernel's side has to know.
func (f *narrowFlags) tracerOptions() tracer.Options {
	return tracer.Options{
		Follow: f.follow, FDs: f.fds, Port: f.port, Kinds: recorded(f.kinds),
		SlowTurn: slowTurn(f.checks, f.kinds, f.thresholds.LoopStall),
	}
}

// observe begins an observation of what the targets are.
func (f *narrowFlags) observe(command string, tr *tracer.Tracer, out *output, t *targets) *observation {
	meta := metaOf(command, t.processes(), tr.Hooks(), f.checks)
	leftOut(meta.Missing, f.kinds, f.checks)
	o := newObservation(tr, out, observeOptions{
		meta: meta, only: f.checks, thresholds: f.thresholds, follow: f.follow, comm: t.comm,
	})
	t.told = func(at event.Time, p render.Process) { o.print.Process(at, p) }
	o.each = t.observe
	return o
}

// attachFlags are the flags of attach.
type attachFlags struct {
	narrowFlags
	name string
}

func newAttach() *cobra.Command {
	var f attachFlags
	cmd := &cobra.Command{
		Use:   "attach PID... | --comm NAME",
		Short: "Observe running processes",
		Long: prose(`Observe processes that run already, with all their threads, and show on one timeline what the kernel and
they do to each other. Several processes are one target. What they had before, sockets with what stands
unread in them and interest lists, is taken in first, so that a process that is stuck already is named
too: such findings say that how it came about was not seen. The processes are never stopped and nothing
in them is changed. With --comm, processes of that name that start later join.

It ends with Ctrl-C or SIGTERM, after --duration, or when all the processes have ended: then come the
findings, what each check says, and the figures. Needs root, or CAP_BPF and CAP_PERFMON, and
CAP_SYS_PTRACE for the processes of others.

Exit status: 0 done; 1 it could not run; 2 wrong usage; 3 a finding named by --fail-on was made.`),
		Example: `  sudo epwatch attach 4711
  sudo epwatch attach --comm nginx --quiet --duration 60s
  sudo epwatch attach 4711 --port 8080 --format json --output 4711.jsonl
  sudo epwatch attach $(pidof redis-server) --fail-on any --duration 10s`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			pids, err := parsePIDs(args)
			if err != nil {
				return err
			}
			if (len(pids) == 0) == (f.name == "") {
				return usagef("either PIDs or --comm NAME is needed")
			}
			if err := f.check(); err != nil {
				return err
			}
			return runAttach(pids, &f)
		},
	}
	f.add(cmd, "observe children as well, also those that exist already",
		"end the observation after this time (default until Ctrl-C, or until all the processes have ended)")
	cmd.Flags().StringVar(&f.name, "comm", "", "observe all processes of this `NAME`, also those that start later")
	return cmd
}

// errAllEnded ends an observation that has nobody left to observe.
var errAllEnded = errors.New("every process has ended")

func runAttach(pids []uint32, f *attachFlags) error {
	t, err := f.find(pids)
	if err != nil {
		return err
	}
	defer t.close()
	out, err := f.open()
	if err != nil {
		return err
	}
	defer out.close()
	if err := clearReady(f.ready); err != nil {
		return err
	}
	ctx, stop := endBySignal(context.Background())
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	title := t.title()
	attaching := "attaching to " + title
	options := f.tracerOptions()
	options.PIDs, options.Existing, options.Comm = t.pids(), true, f.name
	tr, err := f.attach(options, func() []uint32 { return f.latecomers(t) })
	if err != nil {
		return doing(attaching, err)
	}
	defer tr.Close()
	o := f.observe("attach "+f.title(pids), tr, out, t)
	o.tick = func() {
		if t.allEnded() && f.name == "" {
			cancel(errAllEnded)
		}
	}
	defer endAfter(f.duration, cancel)()
	o.print.Meta(o.meta)
	t.notes(o)
	c, err := o.run(ctx)
	if err := out.finish(); err != nil {
		return err
	}
	if err != nil {
		return doing(attaching, err)
	}
	if found := f.offence(c.Summary); found != "" {
		return &statusError{exitFinding, fmt.Errorf("checking %s: found %s (--fail-on)", title, found)}
	}
	return nil
}

// find looks the targets up.
func (f *attachFlags) find(pids []uint32) (*targets, error) {
	t := newTargets(f.follow, f.name != "")
	if f.name != "" {
		return t, t.addByName(f.name)
	}
	for _, pid := range pids {
		if err := t.add(pid); err != nil {
			t.close()
			return nil, fmt.Errorf("attaching to %d: %w", pid, err)
		}
	}
	if f.follow {
		t.addChildren()
	}
	return t, nil
}

// latecomers looks for those who came while the programs were being attached: from now on the kernel's side sees them begin.
func (f *attachFlags) latecomers(t *targets) []uint32 {
	known := len(t.order)
	if f.name != "" {
		_ = t.addByName(f.name) // it could be done a moment ago
	}
	if f.follow {
		t.addChildren()
	}
	return slices.Clone(t.order[known:])
}

func (f *attachFlags) title(pids []uint32) string {
	if f.name != "" {
		return "--comm " + f.name
	}
	return numbersOf(pids)
}

func numbersOf(pids []uint32) string {
	words := make([]string, 0, len(pids))
	for _, pid := range pids {
		words = append(words, fmt.Sprint(pid))
	}
	return strings.Join(words, " ")
}
