package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/internal/sockdiag"
	"github.com/epwatch/epwatch/server"
	"github.com/epwatch/epwatch/tracer"
)

// outcome is what the conductor hands over.
type outcome struct {
	client   server.ClientResult
	tables   []render.Table
	complete bool   // the script was played to its end
	ended    string // who ended it before that, empty when nobody asked
	failed   error  // why it could not go on
}

const (
	// patience bounds each wait for the server; all that it does takes milliseconds.
	patience = 10 * time.Second
	// settling is waited on top of a threshold, for the timers and the order of events.
	settling = 100 * time.Millisecond

	// grace is how long the news of a process's death may take.
	grace = 500 * time.Millisecond

	afterInterrupt = "after the interrupt"
)

// conduct plays the script, interrupts the server, and looks at the sockets a last time.
func (e *experiment) conduct(ctx context.Context) outcome {
	var o outcome
	e.kid.listen(e.serverLine, e.journalRecord, e.heardBroken)
	err := e.play(ctx, &o)
	cause := context.Cause(ctx)
	switch {
	case err == nil:
		o.complete = true
	case errors.Is(cause, errInterrupted), errors.Is(cause, errTimeUp):
		o.ended = cause.Error()
	case cause != nil: // the pump's own failure or a broken output, which is told there
		o.ended = cause.Error()
	default:
		o.failed = err
	}
	e.kid.end(syscall.SIGINT)
	if e.port() != 0 {
		e.look(&o, afterInterrupt)
	}
	return o
}

// play lets the server begin and the client run, up to the moment of the interrupt.
func (e *experiment) play(ctx context.Context, o *outcome) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-e.kid.ended:
			e.kid.pipes.Wait()
			cancel(e.kid.early(e.variant))
		case <-ctx.Done():
		}
	}()
	if err := e.kid.open(); err != nil {
		return err
	}
	if err := e.inbox.await(ctx, patience, "the server to listen", func() bool { return e.portLocked() != 0 }); err != nil {
		return err
	}
	var err, settled error
	o.client, err = server.Client(ctx, server.ClientOptions{
		Variant: e.variant, Address: e.address, Port: e.port(), Timeout: e.timeout, Out: lineWriter(e.clientLine),
		OnStep: func(m server.Moment) { e.reached(ctx, o, m.Name) },
		AtEnd:  func() { settled = e.settle(ctx) },
	})
	if err != nil {
		return e.blame(ctx, err)
	}
	return settled
}

// settle lets what the script left grow old enough to be judged, and interrupts the server while the connections that are still
// open are open: their closing would be one more event of the story.
func (e *experiment) settle(ctx context.Context) error {
	if err := e.inbox.await(ctx, patience, "the server's last line", e.saidAll); err != nil && context.Cause(ctx) != nil {
		return err // a line that does not come is for the claims to tell
	}
	select {
	case <-time.After(e.timeout/2 + settling):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	e.kid.end(syscall.SIGINT)
	return nil
}

// blame finds out why the client failed: because it was told to end, because the server is gone, or by itself. The client
// hears of a dead server's sockets before anybody hears of its death.
func (e *experiment) blame(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(grace):
		return err
	}
}

// reached is called at each moment of the client's script; the client waits meanwhile.
func (e *experiment) reached(ctx context.Context, o *outcome, moment string) {
	switch moment {
	case server.Connected:
		// Input that comes before the registration wakes nobody, and the story would be another one.
		_ = e.inbox.await(ctx, patience, "the server to accept", func() bool { return e.said("[+] accept client") })
	case server.AfterFirstWait, server.AfterSecondWait, server.BeforeInterrupt:
		e.look(o, moment)
	}
}

// look takes the socket table. What cannot be listed is left out: the claims that need it will say so.
func (e *experiment) look(o *outcome, moment string) {
	port, at := e.port(), tracer.Now()
	socks, err := sockdiag.List(context.Background(), sockdiag.Filter{Port: uint16(port)})
	if err != nil {
		e.inbox.put(func() {
			e.inbox.lines = append(e.inbox.lines, render.Line{Time: at, Source: "epwatch", Text: err.Error()})
		})
		return
	}
	self := uint32(os.Getpid())
	owners, _ := sockdiag.Owners(e.kid.pid(), self)
	t := render.Table{Moment: moment, Time: at}
	for _, s := range socks {
		row := render.Socket{
			Local: s.Local, Peer: s.Peer, State: s.State, RecvQueue: s.RecvQueue, SendQueue: s.SendQueue, FD: event.NoFD,
		}
		row.Unread, row.FIN = s.Unread()
		if holders := owners[s.Inode]; s.Inode != 0 && len(holders) > 0 {
			row.PID, row.FD, row.Comm = holders[0].PID, holders[0].FD, commOf(holders[0].PID)
		}
		t.Sockets = append(t.Sockets, row)
	}
	o.tables = append(o.tables, t)
}

func (e *experiment) serverLine(s string) {
	l := render.Line{Time: tracer.Now(), Source: "server", PID: e.kid.pid(), Text: s}
	e.inbox.put(func() {
		e.inbox.lines = append(e.inbox.lines, l)
		e.inbox.server = append(e.inbox.server, s)
	})
}

func (e *experiment) clientLine(s string) {
	l := render.Line{Time: tracer.Now(), Source: "client", Text: s}
	e.inbox.put(func() { e.inbox.lines = append(e.inbox.lines, l) })
}

func (e *experiment) journalRecord(r server.Record) {
	e.inbox.put(func() { e.inbox.records = append(e.inbox.records, r) })
}

func (e *experiment) heardBroken(err error) {
	e.inbox.put(func() { e.inbox.broken = err })
}

// port returns where the server listens, 0 while that is not known.
func (e *experiment) port() int {
	e.inbox.mu.Lock()
	defer e.inbox.mu.Unlock()
	return e.portLocked()
}

func (e *experiment) portLocked() int {
	for _, r := range e.inbox.records {
		if r.Kind == server.Listening {
			return int(r.Result)
		}
	}
	return 0
}

func (e *experiment) said(prefix string) bool {
	for _, l := range e.inbox.server {
		if strings.HasPrefix(l, prefix) {
			return true
		}
	}
	return false
}

func (e *experiment) saidAll() bool { return len(e.inbox.server) >= len(e.variant.Lines) }

// lineWriter hands each whole line that is written to a function. The client writes whole lines.
type lineWriter func(string)

func (w lineWriter) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		w(strings.TrimSuffix(string(line), "\n"))
	}
	return len(b), nil
}
