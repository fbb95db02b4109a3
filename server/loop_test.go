package server

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// bench is a loop with one registered connection, driven by hand.
func bench(t *testing.T, variant string) (*loop, *conn, int) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	v, _ := ByName(variant)
	l := &loop{variant: v, listener: -1, out: output{fd: int(null.Fd())}}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(l.epoll); unix.Close(pair[1]) })
	c := &conn{fd: pair[0]}
	l.conns = make([]*conn, pair[0]+1)
	l.conns[pair[0]] = c
	if err := l.control(unix.EPOLL_CTL_ADD, c.fd, v.Mask); err != nil {
		t.Fatal(err)
	}
	return l, c, pair[1]
}

// fill writes n bytes and takes the echo away in the background, so that the loop never stops in echo.
func fill(t *testing.T, fd, n int) {
	t.Helper()
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	// Its descriptor may be another file's as soon as the test is over.
	over := make(chan struct{})
	t.Cleanup(func() { _ = unix.Shutdown(fd, unix.SHUT_RDWR); <-over })
	go func() {
		defer close(over)
		buf := make([]byte, 1<<16)
		for {
			if n, err := unix.Read(fd, buf); n <= 0 || err != nil {
				return
			}
		}
	}()
}

func unread(t *testing.T, fd int) int {
	t.Helper()
	n, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTurn(t *testing.T) {
	l, c, peer := bench(t, "et-fair")
	fill(t, peer, TurnBytes+40)
	if err := l.handle(c, event.In); err != nil {
		t.Fatal(err)
	}
	if got := unread(t, c.fd); got != 40 || l.timeout() != 0 || len(l.pending) != 1 {
		t.Fatalf("after one turn: %d unread, timeout %d, %d pending", got, l.timeout(), len(l.pending))
	}
	// A second delivery in the meantime must not put it on the list twice.
	fill(t, peer, TurnBytes)
	if err := l.handle(c, event.In); err != nil {
		t.Fatal(err)
	}
	if len(l.pending) != 1 {
		t.Fatalf("%d pending after a second delivery", len(l.pending))
	}
	if err := l.servePending(); err != nil {
		t.Fatal(err)
	}
	if got := unread(t, c.fd); got != 0 || l.timeout() != -1 {
		t.Fatalf("after the pending list: %d unread, timeout %d", got, l.timeout())
	}
	_ = unix.Shutdown(peer, unix.SHUT_RDWR)
}

func TestPendingConnectionCloses(t *testing.T) {
	l, c, peer := bench(t, "et-fair")
	fill(t, peer, TurnBytes)
	if err := l.handle(c, event.In); err != nil {
		t.Fatal(err)
	}
	_ = unix.Shutdown(peer, unix.SHUT_WR)
	// The FIN may take a while to arrive, also on the same machine.
	arrived := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLRDHUP}}
	if n, err := unix.Poll(arrived, int(patience.Milliseconds())); n != 1 {
		t.Fatalf("the FIN did not arrive: %v", err)
	}
	if err := l.servePending(); err != nil {
		t.Fatal(err)
	}
	if !c.closed || l.conns[c.fd] != nil || l.timeout() != -1 {
		t.Errorf("closed %v, timeout %d", c.closed, l.timeout())
	}
	// Closed while it stood on the list: it must not be touched again.
	c.pending, l.pending = true, []*conn{c}
	if err := l.servePending(); err != nil || l.timeout() != -1 {
		t.Errorf("serving a closed connection: %v", err)
	}
}
