package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/proc"
)

// policies returns the scheduling policies that a process's threads have.
func policies(t *testing.T, pid int) map[uint32]int {
	t.Helper()
	threads, err := proc.Threads(uint32(pid))
	if err != nil {
		t.Fatal(err)
	}
	found := map[uint32]int{}
	for _, tid := range threads {
		if attr, err := unix.SchedGetAttr(int(tid), 0); err == nil {
			found[attr.Policy]++
		}
	}
	return found
}

// TestGivesWay: epwatch's threads wake without taking a processor from anybody, and nobody else's policy is touched.
func TestGivesWay(t *testing.T) {
	usableFamilies(t)
	s := startTarget(t, "lt")
	r := beginCommand(t, attachArgs(s.arg())...)
	for end := time.Now().Add(10 * time.Second); policies(t, r.cmd.Process.Pid)[unix.SCHED_NORMAL] > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("epwatch: threads by policy %v", policies(t, r.cmd.Process.Pid))
		}
	}
	if p := policies(t, r.cmd.Process.Pid); p[unix.SCHED_BATCH] < 2 {
		t.Errorf("epwatch: threads by policy %v", p)
	}
	if p := policies(t, int(s.pid())); len(p) != 1 || p[unix.SCHED_NORMAL] == 0 {
		t.Errorf("the target: threads by policy %v", p)
	}
	_ = r.cmd.Process.Signal(syscall.SIGINT)
	if got := r.rest(); got.status != exitDone || got.stderr != "" {
		t.Errorf("status %d: %s", got.status, got.stderr)
	}
}

// TestRunGivesNoPolicy: a command that is run has the policy that it would have without epwatch.
func TestRunGivesNoPolicy(t *testing.T) {
	usableFamilies(t)
	const policy = 41 // its place in /proc/PID/stat
	got := runProgram(t, "run", "--output", os.DevNull, "--", "cat", "/proc/self/stat")
	words := strings.Fields(got.stdout)
	if got.status != exitDone || len(words) <= policy || words[policy-1] != strconv.Itoa(unix.SCHED_NORMAL) {
		t.Errorf("status %d: %q, %s", got.status, words, got.stderr)
	}
}
