package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/server"
	"github.com/epwatch/epwatch/tracer"
)

// traceFlags are the flags of trace.
type traceFlags struct {
	experimentFlags
	outputFlags
	backend  choice
	checks   []string
	failOn   []string
	ready    string
	buffer   int
	packets  bool
	duration time.Duration
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
			v, _ := server.ByName(args[0])
			if err := f.check(cmd, 0); err != nil {
				return err
			}
			if f.duration < 0 {
				return usagef("invalid duration %v", f.duration)
			}
			if !cmd.Flags().Changed("packets") {
				f.packets = v.Name == "oneshot"
			}
			return runTrace(cmd, v, &f)
		},
	}
	f.addEndpoint(cmd, 0, "`PORT` of the server, 0 for a free one")
	f.addTimeout(cmd)
	f.add(cmd)
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
	fl.BoolVar(&f.packets, "packets", false, "show the segments on the wire (default true for oneshot)")
	fl.DurationVar(&f.duration, "duration", 0, "end the observation after this time (default when the client is done)")
	complete(cmd, "backend", families)
	complete(cmd, "check", checkCodes())
	complete(cmd, "fail-on", append(checkCodes(), anyCheck))
	return cmd
}

// errInterrupted and errTimeUp end an observation in order.
var (
	errInterrupted = errors.New("interrupted")
	errTimeUp      = errors.New("the duration is over")
)

func runTrace(cmd *cobra.Command, v server.Variant, f *traceFlags) error {
	running := func(err error) error { return fmt.Errorf("running %s: %w", v.Name, err) }
	out, err := f.open()
	if err != nil {
		return err
	}
	defer out.close()
	if err := clearReady(f.ready); err != nil {
		return err
	}
	ctx, stop := endBySignal(cmd.Context(), f.duration)
	defer stop()

	kid, err := startChild(v, &f.experimentFlags)
	if err != nil {
		return running(err)
	}
	defer kid.end(syscall.SIGKILL)
	tr, err := tracer.Open(tracer.Options{
		PIDs: []uint32{kid.pid()}, Backend: tracer.Family(f.backend), Buffer: f.buffer, Packets: f.packets,
	})
	if err != nil {
		return running(err)
	}
	defer tr.Close()
	if err := writeReady(f.ready); err != nil {
		return err
	}
	// A binary that links C code cannot, and runs on with what it has.
	if err := tracer.DropPrivileges(); err != nil && !errors.Is(err, syscall.ENOTSUP) {
		return running(err)
	}
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
	if found := failsOn(f.failOn, c.Findings); found != nil {
		return &statusError{exitFinding, fmt.Errorf("checking %s: found %s (--fail-on)", v.Name, found.Check)}
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

// thresholds are half of the client's time-out: what lasts that long while the client waits is no accident of scheduling.
func thresholds(timeout time.Duration) diagnose.Thresholds {
	half := timeout / 2
	return diagnose.Thresholds{ETUnread: half, OneshotDisarmed: half, CloseWait: half}
}

// metaOf describes the run.
func metaOf(v server.Variant, kid *child, hooks []tracer.Hook, only []string) *render.Meta {
	m := &render.Meta{
		Version: version(), Kernel: kernelRelease(), Command: "trace " + v.Name,
		Processes: []render.Process{{PID: kid.pid(), Comm: commOf(kid.pid())}},
		Start:     tracer.Now(), Wall: time.Now(),
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

func commOf(pid uint32) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(b), "\n")
}
