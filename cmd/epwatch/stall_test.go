package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// TestLoopStall has a server whose output nobody reads, until its only thread is blocked in writing a line. Its other client
// then waits. It is told of while it lasts, with the place where the thread is, and again when it is over.
func TestLoopStall(t *testing.T) {
	usableFamilies(t)
	s := startTarget(t, "lt")
	busy, other := s.dial(), s.dial()
	other.send("0")
	other.echo(1)
	r := beginCommand(t, "attach", s.arg(), "--format", "json", "--check", "loop-stall", "--loop-stall", threshold.String(), "--stacks", "--quiet")
	fillOutput(t, s, busy)
	other.send("1")
	begun := time.Now()
	out := r.first + r.await(`"check":"loop-stall"`, `"outcome":"ongoing"`)
	if took := time.Since(begun); took > threshold+2*time.Second {
		t.Errorf("it was told of after %v", took)
	}
	found := findingOf(t, lastLine(out))
	if found.Severity != "warning" || found.PID != s.pid() || found.TID == 0 || !strings.Contains(found.Message, "blocked in write") {
		t.Errorf("found %+v", found)
	}
	writing := func(name string) bool {
		return strings.Contains(name, "server.writeAll") || strings.Contains(name, "Write")
	}
	if found.Stack == nil || !slices.ContainsFunc(found.Stack.User, writing) || len(found.Stack.Kernel) == 0 {
		t.Errorf("the stack is %+v", found.Stack)
	}
	s.swallow()
	out += r.await(`"check":"loop-stall"`, `"outcome":"over"`)
	if over := findingOf(t, lastLine(out)); over.Severity != "warning" || over.End <= over.Start {
		t.Errorf("in the end: %+v", over)
	}
	s.kill()
	got := r.rest()
	out += got.stdout
	if got.status != exitDone || got.stderr != "" {
		t.Errorf("status %d: %s", got.status, got.stderr)
	}
	checkSchema(t, out, "finding", "summary")
}

// fillOutput has a server print until nobody takes it any more: then it answers no longer.
func fillOutput(t *testing.T, s *target, p *peer) {
	t.Helper()
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		if _, err := p.conn.Write([]byte("0123456789")); err != nil {
			t.Fatal(err)
		}
		_ = p.conn.SetReadDeadline(time.Now().Add(2 * threshold))
		var answer [64]byte
		if _, err := p.conn.Read(answer[:]); err != nil {
			return
		}
	}
	t.Fatalf("the server of process %d prints into nowhere", s.pid())
}

// stallFinding is what this test looks at.
type stallFinding struct {
	Severity   string
	PID, TID   uint32
	Message    string
	Start, End event.Time
	Stack      *struct{ User, Kernel []string }
}

func findingOf(t *testing.T, line string) stallFinding {
	t.Helper()
	var f stallFinding
	if err := json.Unmarshal([]byte(line), &f); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return f
}

// TestStacksNeedTheCheck: asking for stacks without the check that tells of them is a mistake.
func TestStacksNeedTheCheck(t *testing.T) {
	got := runProgram(t, "attach", "1", "--stacks", "--check", "et-unread")
	if got.status != exitUsage || !strings.Contains(got.stderr, "--stacks needs the check loop-stall") {
		t.Errorf("status %d: %s", got.status, got.stderr)
	}
}
