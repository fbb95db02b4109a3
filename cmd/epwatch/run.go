package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/render"
)

func newRun() *cobra.Command {
	var f narrowFlags
	cmd := &cobra.Command{
		Use:   "run [flags] -- CMD [ARG...]",
		Short: "Run a program under observation",
		Long: prose(`Start a program and observe it from its first instruction to its end. It gets epwatch's own environment,
folder, standard input, output and error untouched, and the signals that epwatch is sent. What epwatch has
to say goes to standard error, or to the file of --output.

It ends when the program ends, also with --follow while children of the program live on. --duration ends
the observation only: epwatch then waits for the program. Needs root, or CAP_BPF and CAP_PERFMON; the
program runs with the same privileges.

Exit status: 3 a finding named by --fail-on was made; 1 the program could not be run or observed; else the
program's own, and 128 and the signal's number when a signal ended it.`),
		Example: `  sudo epwatch run -- ./server --port 8080
  sudo epwatch run --quiet --fail-on any -- make integration-test
  sudo epwatch run --fail-on any --baseline known.json --report junit=epwatch.xml -- ./server-tests
  sudo epwatch run --follow --format json --output out.jsonl -- nginx -g 'daemon off;'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("a command is missing")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return runCommand(args, &f)
		},
	}
	// Flags behind the command's name are the command's.
	cmd.Flags().SetInterspersed(false)
	f.add(cmd, "observe the program's children as well", "end the observation after this time, and wait for the program")
	f.to = os.Stderr
	cmd.Flags().Lookup("output").Usage = "write to this `FILE` instead of standard error"
	return cmd
}

// errCommandEnded is the way an observation of a command is meant to end.
var errCommandEnded = errors.New("the command has ended")

func runCommand(words []string, f *narrowFlags) error {
	running := func(err error) error { return doing("running "+words[0], err) }
	path, err := findCommand(words[0])
	if err != nil {
		return running(err)
	}
	out, err := f.open()
	if err != nil {
		return err
	}
	defer out.close()
	if err := clearReady(f.ready); err != nil {
		return err
	}
	// Before the process exists: what comes from now on is the command's.
	forward := catchSignals()
	defer forward.stop()
	c := &command{words: words, gate: -1, report: -1}
	if err := c.start(path); err != nil {
		return running(err)
	}
	r := &commandRun{command: c, flags: f, out: out, ended: make(chan struct{})}
	observed, err := r.observe(forward)
	if err != nil {
		r.giveUp()
		return running(err)
	}
	broken := out.finish()
	<-r.ended
	return r.judge(observed, broken)
}

// commandRun is a command under observation.
type commandRun struct {
	command *command
	flags   *narrowFlags
	out     *output

	begun  bool
	ended  chan struct{} // closed when the command is gone; then status holds
	status syscall.WaitStatus
}

// observe attaches, lets the command begin, and observes it to its end.
func (r *commandRun) observe(forward *forwarder) (*render.Conclusion, error) {
	t := newTargets(r.flags.follow, false)
	defer t.close()
	pid := uint32(r.command.pid)
	if err := t.add(pid); err != nil {
		return nil, err
	}
	t.names[pid] = "" // it is epwatch still
	options := r.flags.tracerOptions()
	options.PIDs = t.pids()
	tr, err := r.flags.attach(options, nil)
	if err != nil {
		return nil, err
	}
	defer tr.Close()

	if err := r.command.begin(); err != nil {
		return nil, err
	}
	r.begun = true
	forward.to(r.command.pid)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		r.status, _ = r.command.wait() // it is our child and is waited for once
		close(r.ended)
		cancel(errCommandEnded)
	}()
	defer endAfter(r.flags.duration, cancel)()
	t.names[pid] = commOf(pid)
	o := r.flags.observe("run "+strings.Join(r.command.words, " "), tr, r.out, t)
	o.admit = fromExec(pid)
	o.print.Meta(o.meta)
	return o.run(ctx)
}

// fromExec admits what happens from the moment on at which the process became the command.
func fromExec(pid uint32) func(*event.Event) bool {
	var since event.Time
	return func(ev *event.Event) bool {
		if since == 0 && ev.Kind == event.KindExec && ev.PID == pid {
			since = ev.Time
		}
		return since != 0 && ev.Time >= since
	}
}

// giveUp ends the launcher, or waits for a command that runs already: it is not epwatch's to end.
func (r *commandRun) giveUp() {
	r.command.abandon()
	if r.begun {
		<-r.ended
		return
	}
	_ = syscall.Kill(r.command.pid, syscall.SIGKILL)
	_, _ = r.command.wait()
}

// judge makes the exit status. A reader of epwatch's output that went away is no matter of the command's.
func (r *commandRun) judge(c *render.Conclusion, broken error) error {
	if silent := (*statusError)(nil); broken != nil && !errors.As(broken, &silent) {
		return broken
	}
	if found := r.flags.offence(c.Summary); found != "" {
		return &statusError{exitFinding, fmt.Errorf("checking %s: found %s (--fail-on)", r.command.words[0], found)}
	}
	if status := statusOf(r.status); status != 0 {
		return &statusError{status: status}
	}
	return nil
}
