//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine is what every guest gets.
type machine struct {
	accel  string
	cpus   int
	memory int // MiB
}

// result is how one kernel did.
type result struct {
	suites  []suiteResult
	problem string // why the results are not complete; empty if they are
	console string // tail of the console, where it explains the problem
	notes   []string
	took    time.Duration
}

// boot runs one guest until it powers off and returns what it reported. Only what went wrong on this side
// is an error; a guest that died is a result with a problem.
func boot(ctx context.Context, m machine, timeout time.Duration, image, initrd, logs string, p payload) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	console, stream := filepath.Join(logs, "console.log"), filepath.Join(logs, "tests.log")
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", m.accel, "-smp", strconv.Itoa(m.cpus), "-m", strconv.Itoa(m.memory), "-cpu", "max,la57=off",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "file:"+console, "-serial", "file:"+stream,
		"-kernel", image, "-initrd", initrd,
		// A panic or an oops ends the machine at once. The rest makes a quiet and quick boot.
		"-append", "console=ttyS0 panic=-1 oops=panic loglevel=5 random.trust_cpu=on")
	// qemu must not outlive this process, however that ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	begin := time.Now()
	err := lockedRun(cmd)
	took := time.Since(begin)
	if errors.Is(err, exec.ErrNotFound) {
		return result{}, fmt.Errorf("booting: %w (Debian package qemu-system-x86)", err)
	}
	raw, readErr := os.ReadFile(stream)
	if readErr != nil && err == nil {
		return result{}, fmt.Errorf("reading the results: %w", readErr)
	}
	r, parseErr := readStream(ctx, raw, logs, p.suites)
	if parseErr != nil && ctx.Err() == nil {
		return r, parseErr
	}
	r.took = took
	text, _ := os.ReadFile(console) // a machine that never came up has none
	r.notes = warnings(text)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		r.problem = fmt.Sprintf("the guest did not end within %v", timeout)
	case ctx.Err() != nil:
		return r, fmt.Errorf("booting: %w", ctx.Err())
	case err != nil:
		r.problem = fmt.Sprintf("qemu: %v: %s", err, lastLine(stderr.Bytes()))
	}
	if r.problem != "" {
		r.console = tail(text, 60)
	}
	return r, nil
}

// lockedRun runs cmd on one thread: Pdeathsig means the death of the thread that started the child.
func lockedRun(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return cmd.Run()
}

// warnings returns the lines by which the kernel says that something is wrong with it.
func warnings(console []byte) []string {
	var found []string
	for line := range strings.Lines(string(console)) {
		for _, sign := range []string{"WARNING: ", "BUG: ", "Oops", "rcu: INFO", "Kernel panic"} {
			if strings.Contains(line, sign) {
				found = append(found, strings.TrimSpace(line))
				break
			}
		}
	}
	return found
}

func tail(text []byte, lines int) string {
	all := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(text), "\r", "")), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
