package tracer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/proc"
)

// rounds is how often the workload sends and reads.
const rounds = 23

// runWorkload plays the observed program: it waits for a line on standard input, so that observation has begun, does
// what the name says with raw system calls on one thread, and prints the descriptors that the test asks about.
func runWorkload(name string) error {
	runtime.LockOSThread()
	if pid, ok := strings.CutPrefix(name, continuing); ok {
		return letGoOn(pid)
	}
	var gate [1]byte
	n, err := unix.Read(0, gate[:])
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return fmt.Errorf("waiting for the start: %w", err)
	}
	name, argument, _ := strings.Cut(name, "=")
	switch name {
	case "rounds":
		return playRounds(unix.AF_INET, rounds)
	case "flood":
		n, err := strconv.Atoi(argument)
		if err != nil {
			return err
		}
		return playRounds(unix.AF_INET, n)
	case "tour":
		return playTour()
	case "details":
		return playDetails()
	case "messages":
		return playMessages()
	case "turns":
		return playTurns()
	case "stuck":
		return playStuck()
	case "privileges":
		return playPrivileges()
	default:
		return fmt.Errorf("no workload is called %s", name)
	}
}

// pair is a connection of the process with itself.
type pair struct {
	listener, client, server, epoll int
}

func newPair(family int) (p pair, err error) {
	do := func(what string, e error) {
		if err == nil && e != nil {
			err = fmt.Errorf("%s: %w", what, e)
		}
	}
	var e error
	var address unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if family == unix.AF_INET6 {
		address = &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	}
	p.listener, e = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	do("socket", e)
	do("bind", unix.Bind(p.listener, address))
	do("listen", unix.Listen(p.listener, 16))
	bound, e := unix.Getsockname(p.listener)
	do("getsockname", e)
	p.epoll, e = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	do("epoll_create1", e)
	do("epoll_ctl", unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, p.listener, item(p.listener, unix.EPOLLIN)))
	p.client, e = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	do("socket", e)
	if err != nil {
		return p, err
	}
	do("connect", unix.Connect(p.client, bound))
	do("wait", p.wait())
	p.server, _, e = unix.Accept4(p.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	do("accept4", e)
	do("epoll_ctl", unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, p.server, item(p.server, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLET)))
	return p, err
}

func item(fd int, events uint32) *unix.EpollEvent {
	return &unix.EpollEvent{Events: events, Fd: int32(fd)}
}

func (p pair) wait() error {
	var events [8]unix.EpollEvent
	n, err := unix.EpollWait(p.epoll, events[:], 5000)
	if err == nil && n == 0 {
		err = fmt.Errorf("nothing became ready")
	}
	return err
}

func playRounds(family, n int) error {
	p, err := newPair(family)
	if err != nil {
		return err
	}
	var buffer [64]byte
	for range n {
		if _, err := unix.Write(p.client, []byte("0123456789")); err != nil {
			return err
		}
		if err := p.wait(); err != nil {
			return err
		}
		if _, err := unix.Read(p.server, buffer[:]); err != nil {
			return err
		}
	}
	fmt.Printf("server %d\n", p.server)
	return nil
}

// playTour reaches every program of the hook table once at least.
func playTour() error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		if err := playRounds(family, 1); err != nil {
			return err
		}
		if err := playReset(family); err != nil {
			return err
		}
		if err := playClosedPort(family); err != nil {
			return err
		}
	}
	if err := playSleeper(); err != nil {
		return err
	}
	if err := playSplice(); err != nil {
		return err
	}
	if err := playTurn(func() error { time.Sleep(tourTurn); return nil }); err != nil {
		return err
	}
	if err := playWatchedPipe(); err != nil {
		return err
	}
	// A child, for fork, exec and exit; and a signal that a handler takes.
	child := exec.Command("/proc/self/exe", "-test.run=^$")
	child.Env = []string{} // without the variable that makes it play the workload
	if err := child.Run(); err != nil {
		return err
	}
	return unix.Kill(os.Getpid(), unix.SIGURG)
}

// playReset leaves four bytes unread and closes.
func playReset(family int) error {
	p, err := newPair(family)
	if err != nil {
		return err
	}
	if _, err := unix.Write(p.client, []byte("0123456789")); err != nil {
		return err
	}
	if err := p.wait(); err != nil {
		return err
	}
	var buffer [6]byte
	if _, err := unix.Read(p.server, buffer[:]); err != nil {
		return err
	}
	if err := unix.Close(p.server); err != nil {
		return err
	}
	// The reset is an error that waits on the client's socket.
	if _, err := unix.Read(p.client, buffer[:]); !errors.Is(err, unix.ECONNRESET) {
		return fmt.Errorf("reading a connection that was reset: %w", err)
	}
	return nil
}

// playClosedPort is answered by tcp_v4_send_reset or its sister, while an epoll instance watches.
func playClosedPort(family int) error {
	p, err := newPair(family)
	if err != nil {
		return err
	}
	bound, err := unix.Getsockname(p.listener)
	if err != nil {
		return err
	}
	unix.Close(p.listener)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, item(fd, unix.EPOLLOUT)); err != nil {
		return err
	}
	if err := unix.Connect(fd, bound); !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("connecting to a closed port: %w", err)
	}
	return unix.Close(fd)
}

// playSleeper has a thread asleep in epoll_wait when input comes.
func playSleeper() error {
	p, err := newPair(unix.AF_INET)
	if err != nil {
		return err
	}
	tid := make(chan int)
	woke := make(chan error)
	go func() {
		runtime.LockOSThread()
		tid <- unix.Gettid()
		woke <- p.wait()
	}()
	if err := awaitSleep(<-tid); err != nil {
		return err
	}
	if _, err := unix.Write(p.client, []byte("x")); err != nil {
		return err
	}
	if err := <-woke; err != nil {
		return err
	}
	var buffer [1]byte
	_, err = unix.Read(p.server, buffer[:])
	return err
}

// awaitSleep returns when the kernel says that the thread sleeps in epoll_wait.
func awaitSleep(tid int) error {
	for range 2000 {
		call, blocked, err := proc.CurrentCall(uint32(os.Getpid()), uint32(tid))
		if err != nil {
			return err
		}
		if _, waits := waitCalls()[call.Number]; blocked && waits {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("the thread never slept")
}

func playSplice() error {
	p, err := newPair(unix.AF_INET)
	if err != nil {
		return err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	if _, err := unix.Write(p.client, []byte("0123456789")); err != nil {
		return err
	}
	if err := p.wait(); err != nil {
		return err
	}
	n, err := unix.Splice(p.server, nil, pipe[1], nil, 10, 0)
	if err == nil && n != 10 {
		err = fmt.Errorf("splice moved %d bytes", n)
	}
	return err
}

func playWatchedPipe() error {
	p, err := newPair(unix.AF_INET)
	if err != nil {
		return err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, pipe[0], item(pipe[0], unix.EPOLLIN)); err != nil {
		return err
	}
	return unix.Close(pipe[0])
}

// playStuck is in trouble before anybody looks: four bytes unread, a spent ONESHOT item with input, a connection that the
// peer has closed; and its loop sleeps in epoll_wait. At the second line on standard input, more input comes.
func playStuck() error {
	p, err := newPair(unix.AF_INET)
	if err != nil {
		return err
	}
	if _, err := unix.Write(p.client, []byte("0123456789")); err != nil {
		return err
	}
	if err := p.wait(); err != nil {
		return err
	}
	var buffer [6]byte
	if _, err := unix.Read(p.server, buffer[:]); err != nil {
		return err
	}
	tid := make(chan int)
	woke := make(chan error)
	go func() {
		runtime.LockOSThread()
		tid <- unix.Gettid()
		var events [8]unix.EpollEvent
		n, err := unix.EpollWait(p.epoll, events[:], -1)
		if err == nil && n != 1 {
			err = fmt.Errorf("%d items were ready", n)
		}
		woke <- err
	}()
	sleeper := <-tid
	if err := awaitSleep(sleeper); err != nil {
		return err
	}
	fmt.Printf("stuck %d %d %d %d\n", p.epoll, p.server, sleeper, unix.Gettid())
	var gate [1]byte
	if _, err := unix.Read(0, gate[:]); err != nil {
		return err
	}
	// Another item for the connection, on a second instance: its descriptor is known already.
	second, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.EpollCtl(second, unix.EPOLL_CTL_ADD, p.server, item(p.server, unix.EPOLLOUT|unix.EPOLLET)); err != nil {
		return err
	}
	if _, err := unix.Write(p.client, []byte("x")); err != nil {
		return err
	}
	return <-woke
}

// playDetails does each thing once that a flag or a figure of an event tells of, and names the descriptors.
func playDetails() error {
	p, err := newPair(unix.AF_INET)
	if err != nil {
		return err
	}
	send := func(text string) {
		if err == nil {
			_, err = unix.Write(p.client, []byte(text))
		}
	}
	ctl := func(op int, events uint32) {
		if err == nil {
			err = unix.EpollCtl(p.epoll, op, p.server, item(p.server, events))
		}
	}
	var buffer [64]byte
	receive := func(flags, want int) {
		if err != nil {
			return
		}
		var n int
		n, _, err = unix.Recvfrom(p.server, buffer[:], flags)
		if err == nil && n != want {
			err = fmt.Errorf("received %d bytes, want %d", n, want)
		}
	}
	// 3 bytes, then 4 more before anybody waits: the second wakeup merges into the first.
	send("abc")
	send("defg")
	receive(unix.MSG_PEEK, 7)
	receive(0, 7)
	// An item that wants output only ignores input.
	ctl(unix.EPOLL_CTL_MOD, unix.EPOLLOUT|unix.EPOLLET)
	send("h")
	receive(0, 1)
	// A ONESHOT item is deaf once it was delivered.
	ctl(unix.EPOLL_CTL_MOD, unix.EPOLLIN|unix.EPOLLONESHOT)
	send("i")
	if err == nil {
		err = p.wait()
	}
	send("j")
	receive(0, 2)
	// A second connection waits to be accepted, and a third.
	bound, e := unix.Getsockname(p.listener)
	if err == nil {
		err = e
	}
	for range 2 {
		fd, e := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = e
		}
		if err == nil {
			err = unix.Connect(fd, bound)
		}
		// connect returns before the last ACK is seen on the other side.
		if err == nil {
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(p.listener), Events: unix.POLLIN}}, 5000)
		}
	}
	// A wait of 1.5 seconds that returns at once, because the listener is ready.
	if err == nil {
		var events [8]unix.EpollEvent
		_, err = unix.EpollWait(p.epoll, events[:], 1500)
	}
	// The peer's FIN behind 5 bytes.
	send("klmno")
	if err == nil {
		err = unix.Close(p.client)
	}
	if err == nil {
		err = unix.Shutdown(p.server, unix.SHUT_WR)
	}
	duplicate, e := unix.FcntlInt(uintptr(p.server), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = e
	}
	// A pipe that is watched, and one that is not.
	var watched, other [2]int
	if err == nil {
		err = errors.Join(unix.Pipe2(watched[:], unix.O_CLOEXEC), unix.Pipe2(other[:], unix.O_CLOEXEC),
			unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, watched[0], item(watched[0], unix.EPOLLIN)))
	}
	for _, pipe := range [][2]int{watched, other} {
		if err == nil {
			_, err = unix.Write(pipe[1], []byte("123"))
		}
		if err == nil {
			_, err = unix.Read(pipe[0], buffer[:])
		}
	}
	fmt.Printf("details %d %d %d %d %d %d\n", p.epoll, p.listener, p.server, duplicate, watched[0], other[0])
	return err
}
