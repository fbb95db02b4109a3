//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/epwatch/epwatch/test/vm/plan"
)

// grace is how long a suite's orphans may hold its output open before that counts as a fault.
const grace = 2 * time.Second

// runPlan does what the plan says and writes every output and the marks to the result port.
func runPlan() error {
	raw, err := os.ReadFile(plan.Path)
	if err != nil {
		return fmt.Errorf("reading the plan: %w", err)
	}
	var p plan.Plan
	if err := json.Unmarshal(raw, &p); err != nil {
		return fmt.Errorf("reading the plan: %w", err)
	}
	if err := loadModules(p.Modules); err != nil {
		return err
	}
	if err := raiseLoopback(); err != nil {
		return err
	}
	port, err := openResults()
	if err != nil {
		return err
	}
	out := newSpool(port)
	for _, suite := range p.Suites {
		if err := mark(out, plan.Mark{Step: plan.Start, Suite: suite.Name}); err != nil {
			return err
		}
		if err := mark(out, runSuite(suite, p.Env, out)); err != nil {
			return err
		}
	}
	if err := mark(out, plan.Mark{Step: plan.Done}); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return drain(port)
}

// mark writes m into the stream.
func mark(out io.Writer, m plan.Mark) error {
	line, err := m.Line()
	if err != nil {
		return err
	}
	_, err = out.Write(line)
	return err
}

// runSuite runs one program to its end and returns its Exit mark.
func runSuite(s plan.Suite, env []string, out io.Writer) plan.Mark {
	ctx, cancel := context.WithTimeout(context.Background(), s.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Program, s.Args...)
	cmd.Dir, cmd.Env = s.Dir, env
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = grace
	// A group of its own, so that killing it takes along the children that did not leave it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	begin := time.Now()
	err := cmd.Run()
	if cmd.Process != nil {
		// What it left behind must not disturb the next suite; as a rule there is nothing, and the answer is ESRCH.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	m := plan.Mark{Step: plan.Exit, Suite: s.Name, Took: time.Since(begin)}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		m.Code, m.Problem = -1, fmt.Sprintf("killed after %v", s.Timeout)
	case errors.Is(err, exec.ErrWaitDelay):
		m.Problem = "left a process behind that still holds its output"
	case errors.As(err, &exit):
		m.Code = exit.ExitCode()
		if m.Code < 0 {
			m.Problem = exit.String()
		}
	default:
		m.Code, m.Problem = -1, err.Error()
	}
	return m
}
