//go:build linux

package real

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that ends with the test, whatever happens.
type process struct {
	pid    int
	cmd    *exec.Cmd
	output *lockedBuffer
	ended  chan struct{}
	err    error // holds once ended is closed
}

// start runs a program. Its output is shown when the test fails.
func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	path, err := find(name)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(path, args...), output: &lockedBuffer{}, ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	// A process group of its own, so that what the program starts ends with it. Its grandchildren may outlive a test that is
	// killed; its children do not.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.cmd.WaitDelay = deadline
	started := make(chan error)
	go func() {
		// The signal comes at the end of the thread that started the program, so this thread must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	p.pid = p.cmd.Process.Pid
	t.Cleanup(func() {
		p.kill()
		if t.Failed() && p.output.Len() > 0 {
			t.Logf("%s said:\n%s", name, p.output)
		}
	})
	return p
}

// kill ends the process and what it started.
func (p *process) kill() {
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	<-p.ended
}

// interrupt asks the process to end and waits for it.
func (p *process) interrupt(t *testing.T) error {
	t.Helper()
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.ended:
		return p.err
	case <-time.After(deadline):
		return errTimeout
	}
}

// running reports whether the process has not ended.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// lockedBuffer keeps what a program writes while the test looks at it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const maxOutput = 64 << 10

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len() < maxOutput {
		b.buf.Write(p)
	}
	return len(p), nil
}

func (b *lockedBuffer) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Len()
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// freePort finds a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// listening waits until somebody takes connections there.
func listening(t *testing.T, p *process, address string) {
	t.Helper()
	err := until(deadline, func() bool {
		if !p.running() {
			return true
		}
		c, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
	if err != nil || !p.running() {
		t.Fatalf("nobody listens on %s: %v, %v\n%s", address, err, p.err, p.output)
	}
}

// children returns the processes that pid started.
func children(pid int) []int {
	var out []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for word := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(word); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

// descriptors counts what a process holds open.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// memory returns a size in KiB of /proc/PID/status.
func memory(t *testing.T, pid int, field string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s of process %d", field, pid)
	return 0
}

// connected reports whether this side of a connection still has a socket that is not through.
func connected(t *testing.T, port int, peer string) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	host, peerPort, err := net.SplitHostPort(peer)
	n, bad := strconv.Atoi(peerPort)
	if err != nil || bad != nil || host != "127.0.0.1" {
		t.Fatalf("not an address of this machine: %s", peer)
	}
	ours, theirs := fmt.Sprintf("0100007F:%04X", port), fmt.Sprintf("0100007F:%04X", n)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == ours && f[2] == theirs {
			return true
		}
	}
	return false
}
