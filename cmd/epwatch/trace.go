package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/proc"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/server"
	"github.com/epwatch/epwatch/tracer"
)

// traceFlags are the flags of trace.
type traceFlags struct {
	experimentFlags
	observeFlags
}

func newTrace() *cobra.Command {
	var f traceFlags
	cmd := &cobra.Command{
		Use:   "trace VARIANT",
		Short: "Run a documented epoll server and its client under observation",
		Long: prose(`Run one of the documented epoll servers as a child process, attach to it before it does anything, run
its client against it, and show on one timeline what the kernel and the server did. At the end come the
claims of the variant with the events that show them, the server's own journal of its reads matched with
the kernel's receives, the findings, and the socket tables. "epwatch list" names the variants.
Needs root, or CAP_BPF and CAP_PERFMON.

Exit status: 0 the run showed what it must, or was interrupted; 1 it could not run, or a claim, a finding
or a journal entry is not as documented; 2 wrong usage; 3 a finding named by --fail-on was made.`),
		Example: `  sudo epwatch trace et-partial
  sudo epwatch trace oneshot --documented --packets=false
  sudo epwatch trace lt --format json --output lt.jsonl
  sudo epwatch trace et-drain --fail-on any --quiet`,
		Args:              oneVariant,
		ValidArgsFunction: completeVariant,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, _ := variantByName(args[0])
			if err := f.experimentFlags.check(cmd, 0); err != nil {
				return err
			}
			if err := f.observeFlags.check(); err != nil {
				return err
			}
			if !cmd.Flags().Changed("packets") {
				f.packets = v.Name == "oneshot"
			}
			return runTrace(cmd, v, &f)
		},
	}
	f.addEndpoint(cmd, 0, "`PORT` of the server, 0 for a free one")
	f.addTimeout(cmd)
	f.add(cmd, "show the segments on the wire (default true for oneshot)",
		"end the observation after this time (default when the client is done)")
	return cmd
}

func runTrace(cmd *cobra.Command, v server.Variant, f *traceFlags) error {
	running := func(err error) error { return doing("running "+v.Name, err) }
	out, err := f.open()
	if err != nil {
		return err
	}
	defer out.close()
	if err := clearReady(f.ready); err != nil {
		return err
	}
	ctx, stop := endBySignal(cmd.Context())
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	kid, err := startChild(v, &f.experimentFlags)
	if err != nil {
		return running(err)
	}
	defer kid.end(syscall.SIGKILL)
	tr, err := f.attach(tracer.Options{
		PIDs: []uint32{kid.pid()}, SlowTurn: slowTurn(f.checks, nil, thresholds(f.clientTimeout(v)).LoopStall),
	}, nil)
	if err != nil {
		return running(err)
	}
	defer tr.Close()
	defer endAfter(f.duration, cancel)()
	e := newExperiment(v, f, kid, tr, out)
	c, err := e.run(ctx)
	if err := out.finish(); err != nil {
		return err
	}
	if err != nil {
		return running(err)
	}
	return judge(v, f, c, e.outcome.complete)
}

// judge turns what came of a run into the exit status.
func judge(v server.Variant, f *traceFlags, c *render.Conclusion, complete bool) error {
	if found := f.offence(c.Summary); found != "" {
		return &statusError{exitFinding, fmt.Errorf("checking %s: found %s (--fail-on)", v.Name, found)}
	}
	if !complete {
		return nil
	}
	if lack := shortfall(c); lack != "" {
		return fmt.Errorf("running %s: it did not show what is documented: %s", v.Name, lack)
	}
	return nil
}

// clearReady removes what an earlier run left, so that the file's being there means this run.
func clearReady(path string) error {
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("clearing the ready file: %s: %w", path, cause(err))
	}
	return nil
}

func writeReady(path string) error {
	if path == "" {
		return nil
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return fmt.Errorf("writing the ready file: %s: %w", path, cause(err))
	}
	return nil
}

// lowestCount keeps a count of what went wrong from being one accident.
const lowestCount = 10

// thresholds are half of the client's time-out: what lasts that long while the client waits is no accident of scheduling. Of what is
// counted a fifth is enough: these servers do nothing else, and an emulated processor is slow to do it.
func thresholds(timeout time.Duration) diagnose.Thresholds {
	var t diagnose.Thresholds
	for _, s := range t.Settings() {
		if s.Duration != nil {
			*s.Duration = timeout / 2
		} else {
			*s.Count = max(int(s.Default)/5, lowestCount)
		}
	}
	return t
}

// metaOf describes an observation.
func metaOf(command string, processes []render.Process, hooks []tracer.Hook, only []string) *render.Meta {
	m := &render.Meta{
		Version: version(), Kernel: kernelRelease(), Command: command, Processes: processes,
		Start: tracer.Now(), Wall: time.Now(),
	}
	var have []string
	for _, h := range hooks {
		m.Hooks = append(m.Hooks, render.Hook{
			Event: h.Event, Family: string(h.Family), Programs: h.Programs, Misses: h.Misses, Reason: h.Reason,
		})
		if h.Family != "" {
			have = append(have, h.Event)
		}
	}
	m.Missing = missingFor(have)
	for check := range m.Missing {
		if len(only) > 0 && !slices.Contains(only, check) {
			delete(m.Missing, check)
		}
	}
	return m
}

// kindOf says what sort of file a descriptor names, empty when it is gone.
func kindOf(pid uint32, fd int32) string {
	d, err := proc.Describe(pid, fd)
	if err != nil {
		return ""
	}
	return d.Kind.String()
}

func commOf(pid uint32) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(b), "\n")
}
