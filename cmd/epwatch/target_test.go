package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// target is a server that runs on its own, as an attach finds it.
type target struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Reader
	port  int
}

func startTarget(t *testing.T, variant string) *target {
	t.Helper()
	return startNamed(t, program("serve", variant, "--port", "0"))
}

func startNamed(t *testing.T, cmd *exec.Cmd) *target {
	t.Helper()
	s := &target{t: t, cmd: cmd}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errOut bytes.Buffer
	s.cmd.Stderr = &errOut
	s.lines = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	first := s.said("listen on port ")
	if s.port, err = strconv.Atoi(first); err != nil {
		t.Fatalf("first line: %q; %s", first, errOut.String())
	}
	return s
}

func (s *target) pid() uint32 { return uint32(s.cmd.Process.Pid) }

func (s *target) arg() string { return uitoa(s.pid()) }

func (s *target) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// said waits for the server's next line and returns what follows the prefix.
func (s *target) said(prefix string) string {
	s.t.Helper()
	watchdog := time.AfterFunc(deadline, func() { _ = s.cmd.Process.Kill() })
	defer watchdog.Stop()
	for {
		l, err := s.lines.ReadString('\n')
		if err != nil {
			s.t.Fatalf("waiting for %q of the server: %v", prefix, err)
		}
		if rest, ok := strings.CutPrefix(strings.TrimSuffix(l, "\n"), prefix); ok {
			return rest
		}
	}
}

// swallow reads on, so that a chatty server is not held up by its pipe.
func (s *target) swallow() {
	go func() { _, _ = io.Copy(io.Discard, s.lines) }()
}

// dial connects, and waits until the server has accepted: only then input is sure to be told of.
func (s *target) dial() *peer {
	s.t.Helper()
	c, err := net.DialTimeout("tcp", s.address(), deadline)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	s.said("[+] accept client")
	return &peer{s.t, c.(*net.TCPConn)}
}

func (s *target) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// peer is the other end of a connection.
type peer struct {
	t    *testing.T
	conn *net.TCPConn
}

func (p *peer) send(text string) {
	p.t.Helper()
	if _, err := p.conn.Write([]byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

// echo waits for so many bytes.
func (p *peer) echo(n int) {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(deadline))
	if _, err := io.ReadFull(p.conn, make([]byte, n)); err != nil {
		p.t.Fatalf("waiting for %d bytes: %v", n, err)
	}
}

// load sends and checks answers on several connections until it is stopped.
type load struct {
	connecting sync.Mutex // the documented servers accept once for each time they are told
	stop       chan struct{}
	answered   chan int
	failed     chan error
	n          int
}

const loaders = 4

func startLoad(address string) *load {
	l := &load{stop: make(chan struct{}), answered: make(chan int, loaders), failed: make(chan error, loaders), n: loaders}
	for i := range l.n {
		go func() {
			n, err := l.ask(address, fmt.Sprintf("%d-0123456789012345678", i))
			l.answered <- n
			l.failed <- err
		}()
	}
	return l
}

// ask takes a new connection now and then.
func (l *load) ask(address, text string) (n int, err error) {
	var c net.Conn
	defer func() {
		if c != nil {
			_ = c.Close()
		}
	}()
	for ; ; n++ {
		select {
		case <-l.stop:
			return n, nil
		default:
		}
		if n%200 == 0 {
			if c != nil {
				_ = c.Close()
			}
			if c, err = l.connect(address, text); err != nil {
				return n, err
			}
			continue
		}
		if err = exchange(c, text); err != nil {
			return n, err
		}
	}
}

// connect lets one connection come up at a time, until it was answered.
func (l *load) connect(address, text string) (net.Conn, error) {
	l.connecting.Lock()
	defer l.connecting.Unlock()
	c, err := net.DialTimeout("tcp", address, deadline)
	if err != nil {
		return nil, err
	}
	return c, exchange(c, text)
}

func exchange(c net.Conn, text string) error {
	_ = c.SetDeadline(time.Now().Add(deadline))
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("the answer to %q is %q", text, got)
	}
	return nil
}

// end stops the load and returns how many requests were answered, and the first that was not.
func (l *load) end() (answered int, err error) {
	close(l.stop)
	for range l.n {
		answered += <-l.answered
		if e := <-l.failed; err == nil {
			err = e
		}
	}
	return answered, err
}
