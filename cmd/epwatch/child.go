package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/epwatch/epwatch/server"
)

// child is the observed server in a process of its own. It waits at its gate until it is opened.
type child struct {
	cmd     *exec.Cmd
	gate    *os.File
	journal *os.File
	stdout  *os.File
	stderr  bytes.Buffer

	ended chan struct{} // closed when the process is gone; then state holds
	state error
	pipes sync.WaitGroup
}

// childPatience is how long a server may take to end after a signal before it is killed.
const childPatience = 5 * time.Second

// startChild starts "epwatch serve" on a thread that lives as long as the server does: the kernel sends the parent-death
// signal when the thread that made the child ends, not when the process does.
func startChild(v server.Variant, f *experimentFlags) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the epwatch program: %w", err)
	}
	c := &child{ended: make(chan struct{})}
	c.cmd = &exec.Cmd{
		Path: exe,
		Args: []string{
			"epwatch", "serve", v.Name, "--address", f.address, fmt.Sprintf("--port=%d", f.port), "--gate-fd=3", "--journal-fd=4",
			"--pace=" + f.clientTimeout(v).String(),
		},
		Stderr: &c.stderr,
		// A process group of its own: Ctrl-C is for epwatch, which then ends the server at the right moment.
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true},
	}
	theirs, err := c.connect()
	defer closeAll(theirs)
	if err != nil {
		c.closeOwn()
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.state = c.cmd.Wait()
			close(c.ended)
		}
	}()
	if err := <-started; err != nil {
		c.closeOwn()
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	return c, nil
}

// connect makes the pipes and returns the child's ends.
func (c *child) connect() (theirs []*os.File, err error) {
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	gate, ownGate := pipe()
	ownJournal, journal := pipe()
	ownStdout, stdout := pipe()
	c.gate, c.journal, c.stdout = ownGate, ownJournal, ownStdout
	c.cmd.Stdout = stdout
	c.cmd.ExtraFiles = []*os.File{gate, journal}
	return []*os.File{gate, journal, stdout}, err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

func (c *child) closeOwn() { closeAll([]*os.File{c.gate, c.journal, c.stdout}) }

func (c *child) pid() uint32 { return uint32(c.cmd.Process.Pid) }

// open lets the server begin.
func (c *child) open() error {
	if _, err := c.gate.Write([]byte{1}); err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	return nil
}

// listen reads what the server prints and writes down, until it ends. Both functions are called in goroutines of
// their own.
func (c *child) listen(line func(string), record func(server.Record), broken func(error)) {
	c.pipes.Go(func() {
		s := bufio.NewScanner(c.stdout)
		for s.Scan() {
			line(s.Text())
		}
		if err := s.Err(); err != nil {
			broken(fmt.Errorf("reading the server's output: %w", err))
			_, _ = io.Copy(io.Discard, c.stdout) // or the server would block on a full pipe
		}
	})
	c.pipes.Go(func() {
		for r, err := range server.ReadJournal(c.journal) {
			if err != nil {
				broken(err)
				return
			}
			record(r)
		}
	})
}

// end sends the server a signal and waits until it is gone, its last words read.
func (c *child) end(sig os.Signal) {
	_ = c.cmd.Process.Signal(sig)
	select {
	case <-c.ended:
	case <-time.After(childPatience):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
	c.pipes.Wait()
	c.closeOwn()
}

// early says why the server ended before it was told to. It holds when ended is closed.
func (c *child) early(v server.Variant) error {
	words, _, _ := strings.Cut(strings.TrimSpace(c.stderr.String()), "\n")
	words = strings.TrimPrefix(strings.TrimPrefix(words, "epwatch: "), "running "+v.Name+": ")
	if words != "" {
		return errors.New(words)
	}
	if c.state == nil {
		return errors.New("server ended early")
	}
	return fmt.Errorf("server ended early: %w", c.state)
}
