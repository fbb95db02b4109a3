package server

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The test binary run with serveEnv set is a server: TestMain becomes Serve before the testing package does anything
// that could start a timer.
const (
	serveEnv   = "EPWATCH_TEST_SERVE" // variant
	addressEnv = "EPWATCH_TEST_ADDRESS"
)

func TestMain(m *testing.M) {
	name := os.Getenv(serveEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	v, _ := ByName(name)
	err := Serve(Options{Variant: v, Address: os.Getenv(addressEnv), Journal: 3, Gate: 4, Pace: shortTimeout})
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// patience bounds every wait for something that must come: tests wait for signals, never for time. It is long enough
// for an emulated processor.
const patience = 60 * time.Second

// child is a server in a process of its own.
type child struct {
	cmd     *exec.Cmd
	gate    *os.File // write end
	journal *os.File // read end
	port    int
	stderr  strings.Builder

	mu      sync.Mutex
	lines   []string
	records []Record
	changed chan struct{} // closed and replaced at each line or record
	done    sync.WaitGroup
}

// spawn starts the process, which stands at its gate.
func spawn(t *testing.T, variant, address string) *child {
	t.Helper()
	c := &child{changed: make(chan struct{})}
	journal, journalW := pipe(t)
	gateR, gate := pipe(t)
	stdout, stdoutW := pipe(t)
	c.journal, c.gate = journal, gate

	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env = append(os.Environ(), serveEnv+"="+variant, addressEnv+"="+address)
	c.cmd.Stdout, c.cmd.Stderr = stdoutW, &c.stderr
	c.cmd.ExtraFiles = []*os.File{journalW, gateR}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill(); _ = c.cmd.Wait() })
	for _, f := range []*os.File{journalW, gateR, stdoutW} {
		f.Close()
	}
	c.done.Add(2)
	go c.readLines(stdout)
	go c.readJournal(t)
	return c
}

// start spawns a server and lets it through its gate, until it listens.
func start(t *testing.T, variant, address string) *child {
	t.Helper()
	c := spawn(t, variant, address)
	c.open(t)
	c.await(t, "the port", func() bool { return len(c.records) > 0 && len(c.lines) > 0 })
	c.port = int(c.records[0].Result)
	return c
}

func (c *child) open(t *testing.T) {
	t.Helper()
	if _, err := c.gate.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
}

func (c *child) readLines(r *os.File) {
	defer c.done.Done()
	for s := bufio.NewScanner(r); s.Scan(); {
		c.note(func() { c.lines = append(c.lines, s.Text()) })
	}
}

func (c *child) readJournal(t *testing.T) {
	defer c.done.Done()
	for rec, err := range ReadJournal(c.journal) {
		if err != nil {
			if !strings.Contains(err.Error(), "closed") {
				t.Error(err)
			}
			return
		}
		c.note(func() { c.records = append(c.records, rec) })
	}
}

func (c *child) note(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits until ready says yes, which is asked with the lock held after each line and record.
func (c *child) await(t *testing.T, what string, ready func() bool) {
	t.Helper()
	late := time.After(patience)
	for {
		c.mu.Lock()
		ok, changed := ready(), c.changed
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%s did not come; printed %q", what, c.lines)
		}
	}
}

func (c *child) awaitLine(t *testing.T, prefix string, count int) {
	t.Helper()
	c.await(t, fmt.Sprintf("line %q", prefix), func() bool {
		n := 0
		for _, l := range c.lines {
			if strings.HasPrefix(l, prefix) {
				n++
			}
		}
		return n >= count
	})
}

// end signals the process and waits for its death and for all it wrote.
func (c *child) end(t *testing.T, sig syscall.Signal) syscall.WaitStatus {
	t.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	return c.wait(t)
}

func (c *child) wait(t *testing.T) syscall.WaitStatus {
	t.Helper()
	_ = c.cmd.Wait()
	c.done.Wait()
	return c.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// epolls counts the epoll instances among the process's descriptors.
func (c *child) epolls(t *testing.T) int {
	t.Helper()
	dir := "/proc/" + strconv.Itoa(c.cmd.Process.Pid) + "/fd/"
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, fd := range fds {
		if to, err := os.Readlink(dir + fd.Name()); err == nil && to == "anon_inode:[eventpoll]" {
			n++
		}
	}
	return n
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}
