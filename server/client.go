package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// ClientOptions say how to run a client.
type ClientOptions struct {
	Variant Variant
	Address string        // empty is DefaultAddress
	Port    int           // where the server listens
	Timeout time.Duration // how long a wait lasts with nothing coming; 0 is DefaultTimeout
	Out     io.Writer     // what is sent and comes back, for people; nil is nowhere

	// OnStep is called at each moment of the script, in the client's goroutine: the client goes on when it returns.
	// nil is nothing.
	OnStep func(Moment)
	// AtEnd is called when the script is over and the connections that it left open are open still. nil is nothing.
	AtEnd func()
}

// Moment is a point of a client's run.
type Moment struct {
	Name string
	Time event.Time
}

// ClientResult is what a client did and saw.
type ClientResult struct {
	Local, Remote netip.AddrPort // of the first connection
	Timeout       time.Duration
	Sent          []Chunk // Time is before the call
	Received      []Chunk // Time is after the call
	Moments       []Moment
	Reset         bool // a call said ECONNRESET or EPIPE
	EOF           bool // the server closed first
}

// Chunk is what one call sent or got.
type Chunk struct {
	Conn int // on which connection
	Time event.Time
	Text string
}

// Echo returns everything that came back on the first connection.
func (r ClientResult) Echo() string {
	var s strings.Builder
	for _, c := range r.Received {
		if c.Conn == 0 {
			s.WriteString(c.Text)
		}
	}
	return s.String()
}

// errServerClosed ends a script: no documented server closes first.
var errServerClosed = errors.New("the server closed the connection")

// Client runs the variant's client to the end of its script, until the connection fails, or until ctx ends. The result
// holds what was seen until then.
func Client(ctx context.Context, o ClientOptions) (ClientResult, error) {
	c := client{ClientOptions: o}
	if c.Address == "" {
		c.Address = DefaultAddress
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Out == nil {
		c.Out = io.Discard
	}
	c.result.Timeout = c.Timeout
	defer c.closeAll()
	if err := c.connect(ctx); err != nil {
		return c.result, err
	}
	c.reached(Connected)
	for _, step := range o.Variant.Script {
		if err := c.do(ctx, step); err != nil {
			return c.result, err
		}
		c.reached(step.Moment)
	}
	if c.AtEnd != nil {
		c.AtEnd()
	}
	return c.result, nil
}

type client struct {
	ClientOptions
	conns  []*net.TCPConn // in the order in which they were opened
	undo   []func() bool  // what each needs undone besides being closed
	result ClientResult
}

func (c *client) closeAll() {
	for i, conn := range c.conns {
		c.undo[i]()
		_ = conn.Close()
	}
}

func (c *client) connect(ctx context.Context) error {
	where := net.JoinHostPort(c.Address, strconv.Itoa(c.Port))
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", where)
	switch {
	case ctx.Err() != nil:
		if conn != nil {
			_ = conn.Close()
		}
		return fmt.Errorf("connecting to %s: %w", where, ctx.Err())
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("connecting to %s: %w (is the server running on that port?)", where, unix.ECONNREFUSED)
	case err != nil:
		return fmt.Errorf("connecting to %s: %w", where, cause(err))
	}
	local, remote := unmapped(conn.LocalAddr()), unmapped(conn.RemoteAddr())
	if len(c.conns) == 0 {
		c.result.Local, c.result.Remote = local, remote
	}
	c.conns = append(c.conns, conn.(*net.TCPConn))
	c.undo = append(c.undo, context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }))
	fmt.Fprintf(c.Out, "connected to %s from %s\n", remote, local)
	return nil
}

func (c *client) reached(name string) {
	if name == "" {
		return
	}
	m := Moment{Name: name, Time: now()}
	c.result.Moments = append(c.result.Moments, m)
	if c.OnStep != nil {
		c.OnStep(m)
	}
}

func (c *client) do(ctx context.Context, s Step) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("running the client: %w", err)
	}
	switch s.Action {
	case Send, SendEnd:
		return c.send(ctx, s)
	case Wait:
		return c.wait(ctx, s.Conn)
	case Close:
		fmt.Fprintln(c.Out, "closed")
		if err := c.conns[s.Conn].Close(); err != nil {
			return fmt.Errorf("closing: %w", cause(err))
		}
		return nil
	case Open:
		return c.connect(ctx)
	case Finish:
		return c.finish(ctx, s.Conn)
	case Take, TakeEnd:
		return c.take(ctx, s)
	default:
		return c.rest(ctx, max(c.Timeout, s.Least))
	}
}

func (c *client) send(ctx context.Context, s Step) error {
	conn := c.conns[s.Conn]
	c.result.Sent = append(c.result.Sent, Chunk{Conn: s.Conn, Time: now(), Text: s.Text})
	if s.Action == SendEnd {
		// Corked, the text waits for what follows, and that is the FIN: both leave in one segment.
		if err := cork(conn); err != nil {
			return c.failed(ctx, "sending", err)
		}
	}
	if _, err := conn.Write([]byte(s.Text)); err != nil {
		return c.failed(ctx, "sending", err)
	}
	fmt.Fprintf(c.Out, "sent %d bytes: %s\n", len(s.Text), s.Text)
	if s.Action == SendEnd {
		return c.finish(ctx, s.Conn)
	}
	return nil
}

func cork(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, 1) })
	return cmp.Or(err, set)
}

func (c *client) finish(ctx context.Context, conn int) error {
	if err := c.conns[conn].CloseWrite(); err != nil {
		return c.failed(ctx, "ending the stream", err)
	}
	fmt.Fprintln(c.Out, "ended the stream")
	return nil
}

// wait takes what comes until nothing has come for the time-out.
func (c *client) wait(ctx context.Context, conn int) error {
	for {
		_, err := c.receive(ctx, conn, c.Timeout)
		var timeout net.Error
		switch {
		case err == nil:
		case ctx.Err() == nil && errors.As(err, &timeout) && timeout.Timeout():
			fmt.Fprintf(c.Out, "nothing for %v\n", c.Timeout)
			return nil
		default:
			return c.failed(ctx, "waiting for the echo", err)
		}
	}
}

// takePatience bounds the wait for something that must come, over what the script's own waits may take.
const takePatience = 10 * time.Second

// take takes so many bytes, or everything up to the end.
func (c *client) take(ctx context.Context, s Step) error {
	for left := s.Bytes; left > 0 || s.Action == TakeEnd; {
		n, err := c.receive(ctx, s.Conn, c.Timeout+takePatience)
		left -= n
		if err == nil {
			continue
		}
		err = c.failed(ctx, "waiting for the answer", err)
		if s.Action == TakeEnd && ctx.Err() == nil && (c.result.Reset || c.result.EOF) {
			fmt.Fprintln(c.Out, "ended:", errors.Unwrap(err))
			return nil
		}
		return err
	}
	return nil
}

// receive takes what one call gives.
func (c *client) receive(ctx context.Context, conn int, patience time.Duration) (int, error) {
	if err := c.conns[conn].SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, cause(err)
	}
	// Only now: a cancellation before that line has just lost its deadline.
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var buf [16 << 10]byte
	n, err := c.conns[conn].Read(buf[:])
	if n > 0 {
		c.result.Received = append(c.result.Received, Chunk{Conn: conn, Time: now(), Text: string(buf[:n])})
		fmt.Fprintf(c.Out, "received %d bytes: %s\n", n, shortened(buf[:n]))
	}
	return n, err
}

// shortened shows the beginning of what came.
func shortened(b []byte) string {
	const most = 256
	if len(b) > most {
		return printable(b[:most]) + "..."
	}
	return printable(b)
}

func (c *client) rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("resting: %w", ctx.Err())
	}
}

// failed notes how the connection ended and says it.
func (c *client) failed(ctx context.Context, doing string, err error) error {
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, io.EOF):
		c.result.EOF = true
		err = errServerClosed
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		c.result.Reset = true
		err = cause(err)
	default:
		err = cause(err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// cause takes the errno out of package net's wrapping, which would repeat addresses.
func cause(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

func unmapped(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
