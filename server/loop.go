package server

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

const (
	readBytes = 16 // one read's buffer, as documented
	maxEvents = 32 // one wait's events, as documented
)

// loop is the event loop that all variants share. It belongs to one thread.
type loop struct {
	variant  Variant
	epoll    int
	listener int
	conns    []*conn // by descriptor
	pending  []*conn // read for a whole turn and not empty yet
	out      output
	journal  journal
	buf      [readBytes]byte
	events   [maxEvents]unix.EpollEvent
}

type conn struct {
	fd      int
	pending bool // on the loop's pending list
	closed  bool
}

// progress says how a connection's turn ended.
type progress uint8

const (
	more  progress = iota // something may be left
	empty                 // a read said EAGAIN
	ended                 // a read said end of stream, or failed
)

func newLoop(o Options) (*loop, error) {
	l := &loop{variant: o.Variant, out: output{fd: o.Out}, journal: journal{fd: o.Journal}}
	if l.out.fd == 0 {
		l.out.fd = 1
	}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("creating an epoll instance: %w", err)
	}
	var port int
	if l.listener, port, err = listen(o.Address, o.Port); err != nil {
		return nil, err
	}
	if err := l.control(unix.EPOLL_CTL_ADD, l.listener, event.In|event.Out|event.ET); err != nil {
		return nil, err
	}
	if err := l.out.print("listen on port %d", port); err != nil {
		return nil, err
	}
	return l, l.journal.listen(l.listener, port)
}

func (l *loop) run() error {
	for {
		n, err := unix.EpollWait(l.epoll, l.events[:], l.timeout())
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for events: %w", err)
		}
		for _, ev := range l.events[:n] {
			if err := l.dispatch(int(ev.Fd), event.Mask(ev.Events)); err != nil {
				return err
			}
		}
		if err := l.servePending(); err != nil {
			return err
		}
	}
}

// timeout lets a wait block only when no connection is pending.
func (l *loop) timeout() int {
	if len(l.pending) > 0 {
		return 0
	}
	return -1
}

func (l *loop) dispatch(fd int, mask event.Mask) error {
	if fd == l.listener {
		return l.accept()
	}
	return l.handle(l.conns[fd], mask)
}

// accept takes one connection, as documented. The line comes after the registration, so that whoever has read it
// knows that input will call the item's callback.
func (l *loop) accept() error {
	fd, peer, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err == unix.EAGAIN || err == unix.ECONNABORTED || err == unix.EINTR {
		return nil
	}
	if err != nil {
		return fmt.Errorf("accepting a connection: %w", err)
	}
	for len(l.conns) <= fd {
		l.conns = append(l.conns, nil)
	}
	l.conns[fd] = &conn{fd: fd}
	if err := l.control(unix.EPOLL_CTL_ADD, fd, l.variant.Mask); err != nil {
		return err
	}
	return l.out.print("[+] accept client %s", addrPort(peer))
}

// handle serves one delivered connection.
func (l *loop) handle(c *conn, mask event.Mask) error {
	hungUp := mask&(event.RdHup|event.Hup) != 0
	if hungUp && l.variant.HangUp == BeforeInput {
		return l.close(c)
	}
	at := ended // nothing to read: an error or a hang-up alone
	if mask&event.In != 0 {
		err := l.out.print("client socket events: %#x", uint32(mask))
		if err != nil {
			return err
		}
		if at, err = l.input(c); err != nil {
			return err
		}
	}
	switch {
	case at == ended, hungUp && l.variant.HangUp == AfterInput:
		return l.close(c)
	case l.variant.Rearm:
		return l.control(unix.EPOLL_CTL_MOD, c.fd, l.variant.Mask)
	default:
		return nil
	}
}

// input reads as the variant does.
func (l *loop) input(c *conn) (progress, error) {
	switch l.variant.Reading {
	case OneRead:
		_, at, err := l.read(c)
		return at, err
	case UntilEmpty:
		for {
			if _, at, err := l.read(c); at != more || err != nil {
				return at, err
			}
		}
	default:
		return l.turn(c)
	}
}

// turn reads at most TurnBytes; a connection that has more is put on the pending list.
func (l *loop) turn(c *conn) (progress, error) {
	for taken := 0; taken < TurnBytes; {
		n, at, err := l.read(c)
		if at != more || err != nil {
			return at, err
		}
		taken += n
	}
	if !c.pending {
		c.pending = true
		l.pending = append(l.pending, c)
	}
	return more, nil
}

// servePending gives every pending connection one turn.
func (l *loop) servePending() error {
	waiting := l.pending
	l.pending = nil
	for _, c := range waiting {
		c.pending = false
		if c.closed {
			continue
		}
		at, err := l.turn(c)
		if err != nil {
			return err
		}
		if at == ended {
			if err := l.close(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// read does one read, tells the journal, prints and echoes.
func (l *loop) read(c *conn) (int, progress, error) {
	n, err := unix.Read(c.fd, l.buf[:])
	if err := l.journal.read(c.fd, n, err); err != nil {
		return 0, ended, err
	}
	switch {
	case err == unix.EAGAIN:
		return 0, empty, nil
	case err == unix.EINTR:
		return 0, more, nil
	case err != nil, n == 0:
		return 0, ended, nil
	}
	if err := l.out.print("[+] data: %s", printable(l.buf[:n])); err != nil {
		return n, ended, err
	}
	return n, l.echo(c, l.buf[:n]), nil
}

// echo sends b back. A client that does not read its echo stops the loop here, for the documented servers have no
// send queue of their own; the experiments never fill the kernel's.
func (l *loop) echo(c *conn, b []byte) progress {
	for len(b) > 0 {
		n, err := unix.Write(c.fd, b)
		switch err {
		case nil:
			b = b[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}, -1)
		default:
			return ended
		}
	}
	return more
}

func (l *loop) close(c *conn) error {
	if err := l.control(unix.EPOLL_CTL_DEL, c.fd, 0); err != nil {
		return err
	}
	c.closed = true
	l.conns[c.fd] = nil
	if err := unix.Close(c.fd); err != nil {
		return fmt.Errorf("closing a connection: %w", err)
	}
	return l.out.print("[+] connection closed")
}

func (l *loop) control(op, fd int, mask event.Mask) error {
	ev := unix.EpollEvent{Events: uint32(mask), Fd: int32(fd)}
	if err := unix.EpollCtl(l.epoll, op, fd, &ev); err != nil {
		return fmt.Errorf("changing the interest list: %w", err)
	}
	return nil
}
