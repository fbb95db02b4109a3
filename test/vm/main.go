//go:build linux

// Command vm runs this module's tests on the kernels that Debian ships, each in a virtual machine of its own.
//
// It fetches the kernels by apt into .cache/vm without touching the apt state of the system, builds static test binaries, packs them with a small
// init into an initramfs, boots every kernel under qemu's software emulation and reads the results from the second serial port.
// It needs no privileges, shares no file system with the guest, and leaves nothing but .cache/vm behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// errFailed says that everything ran and not everything passed; the report has told the rest.
var errFailed = errors.New("some tests did not pass")

// errNothingRan keeps an empty run from looking like a good one.
var errNothingRan = errors.New("no test ran")

// options are the command line.
type options struct {
	kernels  []string
	packages []string
	run      string
	count    int
	command  []string // run instead of the tests
	jobs     int
	timeout  time.Duration
	machine  machine
	mirrors  mirrors
	verbose  bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	opts, err := parseOptions(os.Args[1:])
	if err == nil {
		err = run(ctx, opts, os.Stdout)
	}
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	var kernels, packages, command string
	set := flag.NewFlagSet("vm", flag.ContinueOnError)
	set.StringVar(&kernels, "kernels", strings.Join(labels(), ","), "kernels to boot, separated by commas")
	set.StringVar(&packages, "packages", "./tracer,./cmd/epwatch,./internal/inspect,./internal/sockdiag,./internal/proc", "packages to test, separated by commas; those that do not exist are left out")
	set.StringVar(&o.run, "run", "", "run only the tests that match this regular `expression` (default all, of cmd/epwatch those that depend on the kernel)")
	set.IntVar(&o.count, "count", 1, "run every test this many times")
	set.StringVar(&command, "exec", "", "run this `command` in the guest instead of the tests, for example \"epwatch doctor\"")
	set.IntVar(&o.jobs, "jobs", 2, "virtual machines side by side")
	set.DurationVar(&o.timeout, "timeout", 25*time.Minute, "longest life of one virtual machine")
	set.StringVar(&o.machine.accel, "accel", "tcg,thread=single", "accelerator for qemu; multi-threaded TCG breaks the code patching of these kernels")
	set.IntVar(&o.machine.cpus, "cpus", 2, "processors of each guest")
	set.IntVar(&o.machine.memory, "memory", 1024, "memory of each guest in MiB")
	set.StringVar(&o.mirrors.main, "mirror", "", "Debian mirror `URL`; empty means the one in /etc/apt")
	set.StringVar(&o.mirrors.security, "security-mirror", "", "Debian security mirror `URL`; empty means the one in /etc/apt")
	set.BoolVar(&o.verbose, "v", false, "print the output of tests that passed, too")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if set.NArg() > 0 {
		return o, fmt.Errorf("reading the command line: unexpected argument %q", set.Arg(0))
	}
	o.kernels = strings.Split(kernels, ",")
	o.packages = strings.Split(packages, ",")
	o.command = strings.Fields(command)
	return o, nil
}

// run does everything and writes the report to out.
func run(ctx context.Context, o options, out io.Writer) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("booting test kernels: this machine is %s (the kernels are for amd64)", runtime.GOARCH)
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	cache := filepath.Join(root, ".cache", "vm")
	releases, err := selectReleases(o.kernels)
	if err != nil {
		return err
	}
	work, err := workFolder(cache)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	payload, err := build(ctx, root, work, o)
	if err != nil {
		return err
	}
	report := newReport(out, o.verbose)
	slots := make(chan struct{}, max(o.jobs, 1))
	var wg sync.WaitGroup
	// The newest kernels allow the most hooks, so their tests take longest: first, and the lanes end together.
	for _, rel := range slices.Backward(releases) {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			res, err := bootAndTest(ctx, rel, filepath.Join(cache, rel.label), work, payload, o, report)
			if err != nil {
				res = result{problem: err.Error()}
			}
			report.add(rel.label, res)
		})
	}
	wg.Wait()
	return report.close()
}

// workFolder makes a folder for what only this run needs, so that runs side by side do not mix.
func workFolder(cache string) (string, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("preparing the cache: %w", err)
	}
	// A run that was killed could not clean up; no run lives for a day.
	old, err := filepath.Glob(filepath.Join(cache, "run-*"))
	if err != nil {
		return "", fmt.Errorf("preparing the cache: %w", err)
	}
	for _, folder := range old {
		if info, err := os.Stat(folder); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			_ = os.RemoveAll(folder) // at worst it stays
		}
	}
	work, err := os.MkdirTemp(cache, "run-")
	if err != nil {
		return "", fmt.Errorf("preparing the cache: %w", err)
	}
	return work, nil
}

// bootAndTest takes one kernel from its package to its results. Its folder holds the logs of one run, so runs take turns in it.
func bootAndTest(ctx context.Context, rel release, dir, work string, p payload, o options, report *report) (result, error) {
	unlock, err := lock(ctx, dir, func() { report.note(rel.label, "waiting for another run to end") })
	if err != nil {
		return result{}, err
	}
	defer unlock()
	k, err := fetchKernel(ctx, rel, dir, o.mirrors, report)
	if err != nil {
		return result{}, err
	}
	logs := filepath.Join(dir, "logs")
	if err := os.RemoveAll(logs); err != nil {
		return result{}, fmt.Errorf("clearing the logs: %w", err)
	}
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return result{}, fmt.Errorf("clearing the logs: %w", err)
	}
	initrd := filepath.Join(work, rel.label+".cpio")
	if err := writeInitramfs(initrd, rel.label, k, p); err != nil {
		return result{}, err
	}
	report.note(rel.label, fmt.Sprintf("booting %s (Debian %s)", k.Release, k.Version))
	return boot(ctx, o.machine, o.timeout, k.file(k.Image), initrd, logs, p)
}
