package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
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
}

// Moment is a point of a client's run.
type Moment struct {
	Name string
	Time event.Time
}

// ClientResult is what a client did and saw.
type ClientResult struct {
	Local, Remote netip.AddrPort
	Sent          []Chunk // Time is before the call
	Received      []Chunk // Time is after the call
	Moments       []Moment
	Reset         bool // a call said ECONNRESET or EPIPE
	EOF           bool // the server closed first
}

// Chunk is what one call sent or got.
type Chunk struct {
	Time event.Time
	Text string
}

// Echo returns everything that came back.
func (r ClientResult) Echo() string {
	var s string
	for _, c := range r.Received {
		s += c.Text
	}
	return s
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
	if err := c.connect(ctx); err != nil {
		return c.result, err
	}
	defer c.conn.Close()
	defer context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })()
	c.reached(Connected)
	for _, step := range o.Variant.Script {
		if err := c.do(ctx, step); err != nil {
			return c.result, err
		}
		c.reached(step.Moment)
	}
	return c.result, nil
}

type client struct {
	ClientOptions
	conn   *net.TCPConn
	result ClientResult
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
	c.conn = conn.(*net.TCPConn)
	c.result.Local = unmapped(c.conn.LocalAddr())
	c.result.Remote = unmapped(c.conn.RemoteAddr())
	fmt.Fprintf(c.Out, "connected to %s from %s\n", c.result.Remote, c.result.Local)
	return nil
}

func (c *client) reached(name string) {
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
	case Send:
		return c.send(ctx, s.Text)
	case Wait:
		return c.wait(ctx)
	case Close:
		fmt.Fprintln(c.Out, "closed")
		if err := c.conn.Close(); err != nil {
			return fmt.Errorf("closing: %w", cause(err))
		}
		return nil
	default:
		return c.rest(ctx)
	}
}

func (c *client) send(ctx context.Context, text string) error {
	c.result.Sent = append(c.result.Sent, Chunk{Time: now(), Text: text})
	if _, err := c.conn.Write([]byte(text)); err != nil {
		return c.failed(ctx, "sending", err)
	}
	fmt.Fprintf(c.Out, "sent %d bytes: %s\n", len(text), text)
	return nil
}

// wait takes what comes until nothing has come for the time-out.
func (c *client) wait(ctx context.Context) error {
	var buf [256]byte
	for {
		if err := c.conn.SetReadDeadline(time.Now().Add(c.Timeout)); err != nil {
			return fmt.Errorf("waiting for the echo: %w", cause(err))
		}
		// Only now: a cancellation before that line has just lost its deadline.
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("waiting for the echo: %w", err)
		}
		n, err := c.conn.Read(buf[:])
		if n > 0 {
			c.result.Received = append(c.result.Received, Chunk{Time: now(), Text: string(buf[:n])})
			fmt.Fprintf(c.Out, "received %d bytes: %s\n", n, printable(buf[:n]))
		}
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

func (c *client) rest(ctx context.Context) error {
	t := time.NewTimer(c.Timeout)
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
