package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// goTarget is a server with Go's own poller, as a role of the helper command.
func goTarget() {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("listen on port %d\n", l.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })))
}

// cTarget returns the program of testdata/target/httpd.c. In a VM it lies beside its source.
func cTarget(t *testing.T) string {
	t.Helper()
	const source = "testdata/target/httpd.c"
	if inVM() {
		return source[:len(source)-len(".c")]
	}
	to := filepath.Join(t.TempDir(), "httpd")
	out, err := exec.Command("gcc", "-O2", "-Wall", "-Werror", "-static", "-pthread", "-o", to, source).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("EPWATCH_REQUIRE") == "" {
		t.Skip("needs gcc")
	}
	if err != nil {
		t.Fatalf("compiling %s: %v\n%s", source, err, out)
	}
	return to
}

// browser is a client of an HTTP server that counts what went over its connections.
type browser struct {
	address        string
	requests       atomic.Int64
	sent, received atomic.Int64
}

const getRequest = "GET / HTTP/1.1\r\nHost: epwatch\r\n\r\n"

// counted adds up what is read from a connection.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// visit asks so many times on one connection, and hangs up.
func (b *browser) visit(times int, pause time.Duration) error {
	c, err := net.DialTimeout("tcp", b.address, deadline)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(deadline))
	in := bufio.NewReader(counted{c, &b.received})
	for range times {
		n, err := io.WriteString(c, getRequest)
		b.sent.Add(int64(n))
		if err != nil {
			return err
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "ok" {
			return fmt.Errorf("the answer is %q: %w", body, err)
		}
		b.requests.Add(1)
		time.Sleep(pause)
	}
	return nil
}

// load keeps visitors coming until it is stopped, which returns the first error.
func (b *browser) load(visitors int) (stop func() error) {
	var wg sync.WaitGroup
	var over atomic.Bool
	failed := make(chan error, visitors)
	for range visitors {
		wg.Go(func() {
			for !over.Load() {
				if err := b.visit(20, time.Millisecond); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	return sync.OnceValue(func() error {
		over.Store(true)
		wg.Wait()
		close(failed)
		return <-failed
	})
}

// TestStatic attaches to programs that know nothing of epwatch and need no file of the system, so that it runs in the VMs as
// well: one in C with a thread for each processor, and one in Go. The families are told apart by the tests of trace.
func TestStatic(t *testing.T) {
	needTracing(t)
	commands := map[string]func(*testing.T) *exec.Cmd{
		"c":  func(t *testing.T) *exec.Cmd { return exec.Command(cTarget(t)) },
		"go": func(t *testing.T) *exec.Cmd { return exec.Command(helper(t), "http") },
	}
	for name, command := range commands {
		t.Run(name, func(t *testing.T) {
			s := startNamed(t, command(t))
			t.Run("counts", func(t *testing.T) { countVisits(t, s) })
			t.Run("mid-load", func(t *testing.T) { attachInMidLoad(t, s) })
		})
	}
}

// countVisits holds what is recorded against what the client knows that it did.
func countVisits(t *testing.T, s *target) {
	visits, times := 5, 10
	if inVM() {
		visits, times = 2, 5
	}
	b := &browser{address: s.address()}
	r := beginCommand(t, "attach", "--format", "json", s.arg())
	for range visits {
		if err := b.visit(times, 0); err != nil {
			t.Fatal(err)
		}
	}
	out := r.first
	for range visits {
		out += r.await(`"kind":"close"`)
	}
	out, rec := r.interrupt(out)
	count, bytes := map[event.Kind]int64{}, map[event.Kind]int64{}
	for _, ev := range rec.events {
		if ev.Ret < 0 {
			continue
		}
		count[ev.Kind]++
		bytes[ev.Kind] += ev.Ret
	}
	for _, want := range []struct {
		what      string
		got, want int64
	}{
		{"accepts", count[event.KindAccept], int64(visits)},
		{"closes", count[event.KindClose], int64(visits)},
		{"bytes received", bytes[event.KindRecv], b.sent.Load()},
		{"bytes written", bytes[event.KindWrite], b.received.Load()},
	} {
		if want.got != want.want {
			t.Errorf("%s: %d, want %d", want.what, want.got, want.want)
		}
	}
	healthy(t, rec, 0)
	if rec.summary().Matched == 0 {
		t.Error("nothing was matched")
	}
	if t.Failed() {
		t.Log(out)
	}
}

// attachInMidLoad comes and goes while requests are being answered.
func attachInMidLoad(t *testing.T, s *target) {
	visitors, requests := 4, int64(200)
	if inVM() {
		visitors, requests = 2, 40
	}
	b := &browser{address: s.address()}
	stop := b.load(visitors)
	t.Cleanup(func() { _ = stop() })
	r := beginCommand(t, "attach", "--format", "json", "--quiet", s.arg())
	before := b.requests.Load()
	for end := time.Now().Add(deadline); b.requests.Load() < before+requests && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	asked := b.requests.Load() - before
	_, rec := r.interrupt(r.first)
	if err := stop(); err != nil {
		t.Errorf("a request was not answered: %v", err)
	}
	healthy(t, rec, 2*processors)
	if n := int64(rec.summary().Matched); n < asked {
		t.Errorf("%d requests were answered meanwhile, and %d receives matched", asked, n)
	}
}

// processors is how many calls can be under way at once without sleeping, in these tests and their VMs.
const processors = 2

// healthy wants nothing lost, nobody accused, and nothing unmatched but calls that the ends cut off, and what the kernel says
// that it kept from epwatch: since 6.13 it may preempt a thread inside a program, and others then pass without being seen.
func healthy(t *testing.T, rec *recording, cutOff uint64) {
	t.Helper()
	sum := rec.summary()
	if sum.Lost > 0 {
		t.Errorf("%d records were lost", sum.Lost)
	}
	for _, f := range rec.findings() {
		t.Errorf("a healthy server is accused: %s: %s", f.Check, f.Message)
	}
	for _, u := range sum.Unmatched {
		allowed := sum.Missed
		if u.Reason == "call under way when the observation began or ended" {
			allowed += cutOff
		}
		if u.Count > allowed {
			t.Errorf("unmatched: %d: %s; the kernel skipped %d program runs", u.Count, u.Reason, sum.Missed)
		}
	}
}

// interrupt ends the observation and returns everything it wrote. so far is what was read already.
func (r *running) interrupt(soFar string) (string, *recording) {
	r.t.Helper()
	done := make(chan result, 1)
	go func() { done <- r.rest() }()
	_ = r.cmd.Process.Signal(syscall.SIGINT)
	got := <-done
	if got.status != exitDone || got.stderr != "" {
		r.t.Fatalf("status %d: %s", got.status, got.stderr)
	}
	return soFar + got.stdout, parse(r.t, soFar+got.stdout)
}
