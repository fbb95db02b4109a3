package main

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/epwatch/epwatch/server"
)

// TestTraceInterrupted ends a run at many moments, from its first breath on: in order, with status 0 and a summary.
func TestTraceInterrupted(t *testing.T) {
	usableFamilies(t)
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}
	if inVM() {
		signals = signals[:1] // attaching takes seconds there
	}
	const atTheEnd = "at the client's end" // where the run may be complete when the signal comes
	at := map[string]func(*running){
		"at once":           func(*running) {},
		"when listening":    func(r *running) { r.await(`"type":"line"`, "listen on port") },
		"in the first wait": func(r *running) { r.await(`"kind":"read"`) },
		"after the rescue":  func(r *running) { r.await(`"outcome":"rescued"`) },
		atTheEnd:            func(r *running) { r.await(`"type":"line"`, "closed") },
	}
	for name, reach := range at {
		for _, sig := range signals {
			t.Run(name+"/"+sig.String(), func(t *testing.T) {
				r := begin(t, "et-partial", "--client-timeout", testTimeout().String())
				reach(r)
				if err := r.cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				got := r.rest()
				if got.status != exitDone || got.stderr != "" {
					t.Errorf("status %d: %s", got.status, got.stderr)
				}
				rec := parse(t, `{"type":"meta"}`+"\n"+got.stdout)
				s := rec.summary()
				if s.Ended != errInterrupted.Error() && (name != atTheEnd || s.Ended != "") || len(s.Departures) > 0 {
					t.Errorf("summary: %+v", s)
				}
				for _, c := range rec.of("claim") {
					if c.Answer == "not shown" {
						t.Errorf("claim %v: %s: %s", c.ID, c.Answer, c.Why)
					}
				}
				gone(t, r.meta.PIDs[0])
			})
		}
	}
}

// stopped begins a trace whose server then cannot end, because it is stopped.
func stopped(t *testing.T) *running {
	t.Helper()
	usableFamilies(t)
	r := begin(t, "et-partial", "--client-timeout", "1h")
	r.await(`"kind":"read"`)
	if err := syscall.Kill(int(r.meta.PIDs[0]), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestTraceSecondSignal: whoever interrupts twice does not want to wait for the order of things.
func TestTraceSecondSignal(t *testing.T) {
	r := stopped(t)
	ended := make(chan struct{})
	go func() { _ = r.cmd.Wait(); close(ended) }()
	begun := time.Now()
	for waiting := true; waiting; {
		_ = r.cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-ended:
			waiting = false
		case <-time.After(20 * time.Millisecond):
		}
	}
	ws := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if took := time.Since(begun); !ws.Signaled() || ws.Signal() != syscall.SIGINT || took > childPatience/2 {
		t.Errorf("%v after %v", r.cmd.ProcessState, took)
	}
	gone(t, r.meta.PIDs[0])
}

// TestTraceServerThatWillNotEnd is killed after a while, and the run ends in order.
func TestTraceServerThatWillNotEnd(t *testing.T) {
	r := stopped(t)
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	got := r.rest()
	if got.status != exitDone || got.stderr != "" || !strings.Contains(got.stdout, `"type":"summary"`) {
		t.Errorf("status %d: %s", got.status, got.stderr)
	}
	gone(t, r.meta.PIDs[0])
}

func TestTraceDuration(t *testing.T) {
	family := usableFamilies(t)[0]
	v, _ := server.ByName("et-drain")
	got := runProgram(t, traceArgs(v, family, "--client-timeout", "1h", "--duration", "300ms")...)
	if got.status != exitDone || got.stderr != "" {
		t.Fatalf("status %d: %s", got.status, got.stderr)
	}
	if ended := parse(t, got.stdout).summary().Ended; ended != errTimeUp.Error() {
		t.Errorf("ended: %q", ended)
	}
}

// TestTraceServerKilled: the server dies in mid-run, and the run says so and ends.
func TestTraceServerKilled(t *testing.T) {
	usableFamilies(t)
	r := begin(t, "et-partial", "--client-timeout", "1h")
	r.await(`"kind":"read"`)
	if err := syscall.Kill(int(r.meta.PIDs[0]), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	got := r.rest()
	if want := "epwatch: running et-partial: server ended early: signal: killed\n"; got.status != exitFailed || got.stderr != want {
		t.Errorf("status %d: %s", got.status, got.stderr)
	}
	if !strings.Contains(got.stdout, `"type":"summary"`) {
		t.Error("no summary")
	}
}

// TestTraceKilled kills epwatch itself: the server goes, although it is stopped, and so do the programs in the kernel.
func TestTraceKilled(t *testing.T) {
	needTracing(t)
	before := bpfPrograms(t)
	r := stopped(t)
	loaded := bpfPrograms(t)
	maps.DeleteFunc(loaded, func(id uint32, _ bool) bool { return before[id] })
	if len(loaded) == 0 {
		t.Error("nothing is loaded during a trace")
	}
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = r.cmd.Wait()
	gone(t, r.meta.PIDs[0])
	for end := time.Now().Add(deadline); len(loaded) > 0; time.Sleep(10 * time.Millisecond) { // freed after a grace period
		left := bpfPrograms(t)
		maps.DeleteFunc(loaded, func(id uint32, _ bool) bool { return !left[id] })
		if time.Now().After(end) {
			t.Fatalf("%d programs were left in the kernel", len(loaded))
		}
	}
}

// TestTraceClosedPipe closes standard output in mid-run, when there is nothing to write: the run ends without a word.
func TestTraceClosedPipe(t *testing.T) {
	usableFamilies(t)
	r := begin(t, "et-partial", "--client-timeout", "1h")
	r.drain()
	r.pipe.Close()
	_ = r.cmd.Wait()
	if status := r.cmd.ProcessState.ExitCode(); status != exitFailed || r.stderr.Len() > 0 {
		t.Errorf("status %d (%v): %s", status, r.cmd.ProcessState, r.stderr.String())
	}
	gone(t, r.meta.PIDs[0])
}

func TestTracePortInUse(t *testing.T) {
	needTracing(t)
	first := begin(t, "et-partial", "--client-timeout", "1h")
	first.await(`"kind":"read"`)
	var port int
	for pid := first.meta.PIDs[0]; port == 0; {
		port = listeningPort(t, pid)
	}
	got := runProgram(t, "trace", "lt", "--port", strconv.Itoa(port))
	want := fmt.Sprintf("epwatch: running lt: listening on 127.0.0.1:%d: address already in use (another process listens there; choose a port with --port)\n", port)
	if got.status != exitFailed || got.stderr != want {
		t.Errorf("status %d: %s", got.status, got.stderr)
	}
}
