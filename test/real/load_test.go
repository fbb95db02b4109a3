//go:build linux

package real

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// body is what every HTTP server here answers.
const body = "hello, world\n"

func httpAnswer() string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// protocol is one request, and how its answer is read and checked.
type protocol struct {
	prepare string // sent once for the server, with its whole answer
	ready   string
	request string
	answer  func(*bufio.Reader) error
}

func http11() protocol {
	return protocol{request: "GET / HTTP/1.1\r\nHost: real\r\n\r\n", answer: func(r *bufio.Reader) error {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(res.Body)
		if err == nil && (res.StatusCode != http.StatusOK || string(text) != body) {
			err = fmt.Errorf("status %d, body %q", res.StatusCode, text)
		}
		return err
	}}
}

func redis() protocol {
	return protocol{
		prepare: "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n", ready: "+OK\r\n",
		request: "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", answer: exactly("$5\r\nvalue\r\n"),
	}
}

func memcached() protocol {
	return protocol{
		prepare: "set key 0 0 5\r\nvalue\r\n", ready: "STORED\r\n",
		request: "get key\r\n", answer: exactly("VALUE key 0 5\r\nvalue\r\nEND\r\n"),
	}
}

func exactly(want string) func(*bufio.Reader) error {
	return func(r *bufio.Reader) error {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil {
			return err
		}
		if string(got) != want {
			return fmt.Errorf("answered %q, want %q", got, want)
		}
		return nil
	}
}

// conn is a connection of a client.
type conn struct {
	net.Conn
	in     *bufio.Reader
	speaks protocol
}

func dial(address string, speaks protocol) (*conn, error) {
	c, err := net.DialTimeout("tcp", address, deadline)
	if err != nil {
		return nil, err
	}
	return &conn{c, bufio.NewReader(c), speaks}, nil
}

func (c *conn) ask() error {
	if err := c.SetDeadline(time.Now().Add(deadline)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, c.speaks.request); err != nil {
		return err
	}
	return c.speaks.answer(c.in)
}

// prepare brings the server into the state in which its answers are known.
func prepare(t *testing.T, s *target) {
	t.Helper()
	if s.speaks.prepare == "" {
		return
	}
	c, err := dial(s.address, protocol{request: s.speaks.prepare, answer: exactly(s.speaks.ready)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.ask(); err != nil {
		t.Fatal(err)
	}
}

// pattern is what a load is like.
type pattern struct {
	conns int
	pause time.Duration // before each request
	renew int           // requests before a connection is replaced, 0 for never
	// retry asks once more on a new connection when the server has closed the old one before any answer came, as clients
	// do with a server that may end at any time.
	retry bool
}

// load is clients that ask without end.
type load struct {
	asked   atomic.Int64
	failed  atomic.Int64
	retried atomic.Int64

	mu    sync.Mutex
	first error
	stop  func()
}

// run starts clients that ask until the end of the test or until stop is called.
func (p pattern) run(t *testing.T, s *target) *load {
	t.Helper()
	prepare(t, s)
	l := &load{}
	var clients sync.WaitGroup
	done := make(chan struct{})
	for range p.conns {
		clients.Go(func() { p.client(s, l, done) })
	}
	l.stop = sync.OnceFunc(func() { close(done); clients.Wait() })
	t.Cleanup(l.stop)
	return l
}

func (p pattern) client(s *target, l *load, done chan struct{}) {
	var c *conn
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	asked := 0 // over this connection
	for {
		select {
		case <-done:
			return
		case <-time.After(p.pause):
		}
		if c != nil && p.renew > 0 && asked == p.renew {
			c.Close()
			c = nil
		}
		var err error
		for range 2 {
			if c == nil {
				asked = 0
				if c, err = dial(s.address, s.speaks); err != nil {
					c = nil
					break
				}
			}
			if err = c.ask(); err == nil {
				break
			}
			again := p.retry && asked > 0
			c.Close()
			c = nil
			if !again {
				break
			}
			l.retried.Add(1)
		}
		asked++
		l.asked.Add(1)
		if err != nil {
			l.fail(err)
		}
	}
}

func (l *load) fail(err error) {
	l.failed.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first = err
	}
}

// check ends the load and wants every request to have been answered.
func (l *load) check(t *testing.T) {
	t.Helper()
	l.stop()
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed, the first: %v", n, l.asked.Load(), l.first)
	}
	if l.asked.Load() == 0 {
		t.Error("no request was made")
	}
}

// warm waits until the load is in full swing.
func (l *load) warm(t *testing.T) {
	t.Helper()
	if err := until(deadline, func() bool { return l.asked.Load() >= 100 }); err != nil {
		t.Fatalf("waiting for the first 100 requests, %d came: %v (%v)", l.asked.Load(), err, strings.TrimSpace(fmt.Sprint(l.first)))
	}
}
