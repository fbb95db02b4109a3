package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/tracer"
)

// deadline bounds every wait of these tests for something that must come.
const deadline = 60 * time.Second

// inVM reports whether this is one of the test VMs, which emulate a processor and are slow.
func inVM() bool { return os.Getenv("EPWATCH_VM") != "" }

// testTimeout is the client's time-out: half of it is every threshold, which has to be well above what a wakeup takes.
func testTimeout() time.Duration {
	if inVM() {
		return 600 * time.Millisecond
	}
	return 200 * time.Millisecond
}

// needTracing skips where programs cannot be loaded, unless this machine must.
func needTracing(t *testing.T) *tracer.Report {
	t.Helper()
	if testing.Short() {
		t.Skip("traces for real")
	}
	r := probe()
	for _, p := range r.Capabilities {
		if p.Needed && p.Held != tracer.Yes {
			if strings.Contains(os.Getenv("EPWATCH_REQUIRE"), "host") || inVM() {
				t.Fatalf("needs %s", p.Name)
			}
			t.Skipf("needs %s", p.Name)
		}
	}
	return r
}

// probe asks the kernel once for all tests.
var probe = sync.OnceValue(func() *tracer.Report {
	r, err := tracer.Probe()
	if err != nil {
		panic(err)
	}
	return &r
})

// usableFamilies returns the families that have every required event here. There has to be one.
func usableFamilies(t *testing.T) []tracer.Family {
	t.Helper()
	r := needTracing(t)
	var out []tracer.Family
	for _, f := range tracer.Families() {
		usable := true
		for _, row := range r.Rows {
			if row.Family == f && row.Required && row.Answer != tracer.Yes {
				t.Logf("no %s here: %s: %s", f, row.Event, row.Detail)
				usable = false
				break
			}
		}
		if usable {
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		t.Fatal("this kernel allows no family")
	}
	return out
}

// program returns a command that runs epwatch: the built program where one is given, else this test binary.
func program(args ...string) *exec.Cmd {
	path := os.Getenv("EPWATCH_BINARY")
	if path == "" {
		path = os.Args[0]
	}
	cmd := exec.Command(path, args...)
	cmd.Args[0] = "epwatch"
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	return cmd
}

// result is a finished run.
type result struct {
	stdout, stderr string
	status         int
}

func runProgram(t *testing.T, args ...string) result {
	t.Helper()
	return runFor(t, deadline, args...)
}

// selftestDeadline bounds a whole self-test.
const selftestDeadline = 10 * time.Minute

func runFor(t *testing.T, deadline time.Duration, args ...string) result {
	t.Helper()
	cmd := program(args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(deadline, func() { _ = cmd.Process.Kill() }).Stop()
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// recording is the JSON of one run.
type recording struct {
	lines  []line
	events []event.Event
}

// line has the fields of all types that these tests look at.
type line struct {
	Type      string
	Time      event.Time `json:"ts"`
	Clock     struct{ Monotonic event.Time }
	PIDs      []uint32
	PID       uint32
	FD        int32
	Snapshot  bool
	Root      string
	Message   string
	Events    json.RawMessage
	Checks    []struct{ Check, Result, Reason string }
	CPU       int64
	Source    string
	Text      string
	ID        any
	Answer    string
	Why       string
	Check     string
	Severity  string
	Outcome   string
	Unread    uint32
	Evidence  []uint64
	Entries   int
	Receives  int
	Reads     int
	Matched   int
	Lost      int
	Missed    uint64
	Unmatched []struct {
		Reason string
		Count  uint64
	}
	Unknown    []any
	Departures []string
	Accepted   any
	Stale      []string
	Groups     []struct {
		Check string
		Count int
		Worst []int
	}
	Ended   string
	Moment  string
	Sockets []struct {
		State     string
		RecvQueue uint32 `json:"recv_queue"`
		Unread    uint32
		FIN       bool
		PID       uint32
	}
}

// parse wants every line to be JSON, the first to be meta and the last the summary.
func parse(t *testing.T, out string) *recording {
	t.Helper()
	r, err := parseRecording(out)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parseRecording(out string) (*recording, error) {
	r := &recording{}
	for raw := range strings.Lines(out) {
		var l line
		if err := json.Unmarshal([]byte(raw), &l); err != nil {
			return nil, fmt.Errorf("line %d: %w\n%s", len(r.lines)+1, err, raw)
		}
		if l.Type == "event" {
			e, err := event.ParseJSON([]byte(raw))
			if err != nil {
				return nil, fmt.Errorf("line %d: %w\n%s", len(r.lines)+1, err, raw)
			}
			r.events = append(r.events, e)
		}
		r.lines = append(r.lines, l)
	}
	if n := len(r.lines); n < 2 || r.lines[0].Type != "meta" || r.lines[n-1].Type != "summary" || !strings.HasSuffix(out, "\n") {
		return nil, fmt.Errorf("not a whole recording:\n%s", out)
	}
	return r, nil
}

func (r *recording) summary() line { return r.lines[len(r.lines)-1] }

func (r *recording) of(kind string) []line {
	var out []line
	for _, l := range r.lines {
		if l.Type == kind {
			out = append(out, l)
		}
	}
	return out
}

// findings returns the last word on each finding, without the withdrawn ones.
func (r *recording) findings() []line {
	last := map[any]int{}
	var out []line
	for _, l := range r.of("finding") {
		if i, again := last[l.ID]; again {
			out[i] = l
			continue
		}
		last[l.ID] = len(out)
		out = append(out, l)
	}
	var accusing []line
	for _, l := range out {
		if l.Severity != "info" {
			accusing = append(accusing, l)
		}
	}
	return accusing
}

// running is an observation under way.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Reader
	pipe   io.Closer
	stderr bytes.Buffer
	first  string // the first line
	meta   line
}

// begin starts a trace with JSON output and waits for its first line: the server is attached then, and not yet let go
// or just so.
func begin(t *testing.T, args ...string) *running {
	t.Helper()
	r := beginCommand(t, append([]string{"trace", "--format", "json"}, args...)...)
	if len(r.meta.PIDs) != 1 {
		t.Fatalf("first line: %+v", r.meta)
	}
	return r
}

// beginCommand starts an observation with JSON output and waits for its first line: everything is attached then.
func beginCommand(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{t: t, cmd: program(args...)}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.pipe, r.stdout = out, bufio.NewReader(out)
	r.cmd.Stderr = &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(deadline, func() { _ = r.cmd.Process.Kill() })
	t.Cleanup(func() { watchdog.Stop(); _ = r.cmd.Process.Kill(); _ = r.cmd.Wait() })
	raw, err := r.stdout.ReadBytes('\n')
	if err != nil {
		_ = r.cmd.Wait()
		t.Fatalf("no first line: %v; %s", err, r.stderr.String())
	}
	if err := json.Unmarshal(raw, &r.meta); err != nil || r.meta.Type != "meta" {
		t.Fatalf("first line: %v\n%s", err, raw)
	}
	r.first = string(raw)
	return r
}

// await reads lines up to the first one that holds all words, and returns what it read.
func (r *running) await(words ...string) (read string) {
	r.t.Helper()
next:
	for {
		raw, err := r.stdout.ReadString('\n')
		if err != nil {
			r.t.Fatalf("waiting for %q: %v; %s\n%s", words, err, r.stderr.String(), read)
		}
		read += raw
		for _, w := range words {
			if !strings.Contains(raw, w) {
				continue next
			}
		}
		return read
	}
}

// drain reads what is written until nothing has come for a while. When that is too early, the test that follows is weaker
// and not wrong.
func (r *running) drain() {
	r.t.Helper()
	lines := make(chan error)
	go func() {
		defer close(lines)
		for {
			_, err := r.stdout.ReadString('\n')
			lines <- err
			if err != nil {
				return
			}
		}
	}()
	for {
		select {
		case err := <-lines:
			if err != nil {
				r.t.Fatalf("reading the output: %v; %s", err, r.stderr.String())
			}
		case <-time.After(500 * time.Millisecond):
			go func() {
				for range lines { // let the reader end with its pipe
				}
			}()
			return
		}
	}
}

// rest reads everything that is still written and returns it with the exit status.
func (r *running) rest() result {
	r.t.Helper()
	out, err := io.ReadAll(r.stdout)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = r.cmd.Wait()
	return result{string(out), r.stderr.String(), r.cmd.ProcessState.ExitCode()}
}

// gone waits until the server of a trace is no more than a zombie that its reaper will find.
func gone(t *testing.T, pid uint32) {
	t.Helper()
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if dead(pid) {
			return
		}
	}
	t.Errorf("process %d was left behind", pid)
}

func dead(pid uint32) bool {
	if syscall.Kill(int(pid), 0) == syscall.ESRCH {
		return true
	}
	stat, err := os.ReadFile("/proc/" + uitoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, after, _ := bytes.Cut(stat, []byte(") "))
	return bytes.HasPrefix(after, []byte("Z")) || bytes.HasPrefix(after, []byte("X"))
}
