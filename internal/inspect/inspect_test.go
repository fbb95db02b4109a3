//go:build linux

package inspect

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/proc"
)

// sleeping makes this test binary a program that does nothing.
const sleeping = "EPWATCH_TEST_SLEEPING"

func TestMain(m *testing.M) {
	if os.Getenv(sleeping) != "" {
		time.Sleep(time.Minute)
		return
	}
	m.Run()
}

const quick = 60 * time.Millisecond

// scene is an epoll instance of this process with descriptors that nobody but the test touches.
type scene struct {
	t    *testing.T
	ep   int
	open map[int]bool
}

func newScene(t *testing.T) *scene {
	t.Helper()
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(ep) })
	return &scene{t, ep, map[int]bool{}}
}

func (s *scene) add(fd int, mask event.Mask) int {
	s.t.Helper()
	if err := unix.EpollCtl(s.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: uint32(mask), Fd: int32(fd)}); err != nil {
		s.t.Fatal(err)
	}
	return fd
}

// wait puts a thread to wait on the instance, as a loop would, until the test ends.
func (s *scene) wait() {
	s.t.Helper()
	stop := s.add(s.keep(unix.Eventfd(0, unix.EFD_CLOEXEC)), event.In)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			events := make([]unix.EpollEvent, 8)
			n, err := unix.EpollWait(s.ep, events, -1)
			if err != nil && err != unix.EINTR || slices.ContainsFunc(events[:max(n, 0)], func(e unix.EpollEvent) bool { return int(e.Fd) == stop }) {
				return
			}
		}
	}()
	s.t.Cleanup(func() { _, _ = unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}); <-over })
}

// keep closes a descriptor with the test, unless close did.
func (s *scene) keep(fd int, err error) int {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	s.open[fd] = true
	s.t.Cleanup(func() { s.close(fd) })
	return fd
}

func (s *scene) close(fd int) {
	if s.open[fd] {
		unix.Close(fd)
	}
	delete(s.open, fd)
}

// look returns the scene's items by descriptor.
func (s *scene) look() (map[int32]Item, Instance) {
	s.t.Helper()
	r, err := Look(context.Background(), Options{PID: uint32(os.Getpid()), Sample: quick})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, in := range r.Instances {
		if in.FD == int32(s.ep) {
			items := map[int32]Item{}
			for _, it := range in.Items {
				items[it.FD] = it
			}
			return items, in
		}
	}
	s.t.Fatalf("instance %d is not in %+v", s.ep, r)
	return nil, Instance{}
}

// connect makes a connection on a raw listener, so that neither end is on the Go runtime's poller but the client's.
func (s *scene) connect() (listener, server int, client *net.TCPConn) {
	s.t.Helper()
	l := s.keep(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	if err := errors.Join(unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(l, 5)); err != nil {
		s.t.Fatal(err)
	}
	client = s.dial(l)
	server, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	return l, s.keep(server, err), client
}

func (s *scene) dial(listener int) *net.TCPConn {
	s.t.Helper()
	sa, err := unix.Getsockname(listener)
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := net.DialTCP("tcp4", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sa.(*unix.SockaddrInet4).Port})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

func codes(it Item) []string {
	var out []string
	for _, p := range it.Suspicions {
		out = append(out, p.Check)
	}
	return out
}

func expect(t *testing.T, it Item, want ...string) {
	t.Helper()
	if got := codes(it); !slices.Equal(got, want) {
		t.Errorf("fd %d: %v, want %v; %+v", it.FD, got, want, it)
	}
}

func TestLookAtStuckSockets(t *testing.T) {
	s := newScene(t)
	l, conn, client := s.connect()
	s.add(l, event.In|event.ET)
	s.add(conn, event.In|event.RdHup|event.ET)
	s.wait()
	items, _ := s.look()
	expect(t, items[int32(l)])
	expect(t, items[int32(conn)])

	s.dial(l)
	if _, err := client.Write([]byte("1234567")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * time.Millisecond) // past the kernel's tick
	items, _ = s.look()
	expect(t, items[int32(l)], acceptBacklog)
	expect(t, items[int32(conn)], etUnread)
	if k := items[int32(l)].Sock; k.Unread != 1 || k.Limit != 5 || k.State != event.Listen {
		t.Errorf("listener %+v", k)
	}
	if k := items[int32(conn)].Sock; k.Unread != 7 || k.FIN || k.Peer.String() != client.LocalAddr().String() {
		t.Errorf("connection %+v", k)
	}

	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	items, _ = s.look()
	expect(t, items[int32(conn)], etUnread, closeWait)
	if k := items[int32(conn)].Sock; k.Unread != 7 || !k.FIN || items[int32(conn)].State != "CLOSE_WAIT" {
		t.Errorf("connection %+v", k)
	}
}

// A reset takes the socket out of every table; a disarmed item is not told.
func TestLookAtReset(t *testing.T) {
	s := newScene(t)
	_, conn, client := s.connect()
	s.add(conn, event.In|event.OneShot)
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.EpollWait(s.ep, make([]unix.EpollEvent, 1), 5000); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	_ = client.SetLinger(0)
	client.Close()
	items, _ := s.look()
	it := items[int32(conn)]
	expect(t, it, oneshotDisarmed)
	if it.Armed || it.Kind != kindTCP || it.Sock != nil {
		t.Errorf("%+v", it)
	}
}

// Under steady load the same number of bytes can wait whenever one looks.
func TestLookAtSteadyLoad(t *testing.T) {
	s := newScene(t)
	_, conn, client := s.connect()
	s.add(conn, event.In|event.ET)
	s.wait()
	stop, over := make(chan struct{}), make(chan struct{})
	write := func() { _, _ = client.Write([]byte("12345678")) }
	write()
	go func() {
		defer close(over)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				write() // 16 for an instant, else 8
				_, _ = unix.Read(conn, make([]byte, 8))
			}
		}
	}()
	defer func() { close(stop); <-over }()
	for range 5 {
		items, _ := s.look()
		expect(t, items[int32(conn)])
	}
}

// UNIX sockets and UDP do not say when input came in: threads that sleep over it prove that it is left behind.
func TestLookAtLocalSockets(t *testing.T) {
	s := newScene(t)
	stream, streamPeer := s.pair(unix.SOCK_STREAM)
	datagrams, datagramsPeer := s.pair(unix.SOCK_DGRAM)
	spent, spentPeer := s.pair(unix.SOCK_SEQPACKET)
	listener := s.keep(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	if err := errors.Join(unix.Bind(listener, &unix.SockaddrUnix{}), unix.Listen(listener, 9)); err != nil {
		t.Fatal(err)
	}
	udp := s.keep(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	if err := unix.Bind(udp, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	all := []int{stream, datagrams, spent, listener, udp}
	for _, fd := range all {
		mask := event.In | event.ET
		if fd == spent {
			mask |= event.OneShot
		}
		s.add(fd, mask)
	}
	s.wait()
	items, _ := s.look()
	for _, fd := range all {
		expect(t, items[int32(fd)])
		if k := items[int32(fd)].Sock; k == nil || k.Unread != 0 {
			t.Skipf("this kernel does not tell of %s: %+v", items[int32(fd)].Kind, k)
		}
	}

	s.connectTo(listener, unix.AF_UNIX, unix.SOCK_STREAM)
	for _, fd := range []int{streamPeer, datagramsPeer, spentPeer, s.connectTo(udp, unix.AF_INET, unix.SOCK_DGRAM)} {
		for range 2 {
			if _, err := unix.Write(fd, []byte("1234567")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := unix.Write(stream, []byte("123")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * time.Millisecond) // the waiter takes the delivery that disarms
	items, _ = s.look()
	for fd, want := range map[int]Socket{
		stream:    {State: event.Established, Unread: 14, SendQueue: 3, HasSent: true},
		datagrams: {State: event.Established, Unread: 7, Datagrams: true},
		spent:     {State: event.Established, Unread: 14, HasSent: true},
		listener:  {State: event.Listen, Unread: 1, Limit: 9},
	} {
		if got := *items[int32(fd)].Sock; got != want {
			t.Errorf("fd %d: %+v, want %+v", fd, got, want)
		}
	}
	expect(t, items[int32(stream)], etUnread)
	expect(t, items[int32(datagrams)], etUnread)
	expect(t, items[int32(spent)], oneshotDisarmed)
	expect(t, items[int32(listener)], acceptBacklog)
	expect(t, items[int32(udp)], etUnread)
	if k := items[int32(udp)].Sock; k.State != event.Closed || !k.Datagrams || k.Unread == 0 || !k.Local.IsValid() {
		t.Errorf("UDP: %+v", k)
	}

	s.close(streamPeer)
	items, _ = s.look()
	if it := items[int32(stream)]; !it.Sock.ReadShut || it.Sock.HasSent || len(it.Notes) != 1 {
		t.Errorf("its peer is gone: %+v, %+v", it, it.Sock)
	}
}

// Where nobody sleeps over it, input on a UNIX socket may be other input every time.
func TestLookAtLocalSocketUnproven(t *testing.T) {
	s := newScene(t)
	near, far := s.pair(unix.SOCK_STREAM)
	s.add(near, event.In|event.OneShot)
	if _, err := unix.Write(far, []byte("1234567")); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.EpollWait(s.ep, make([]unix.EpollEvent, 1), 5000); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	items, _ := s.look()
	it := items[int32(near)]
	if it.Sock == nil {
		t.Skipf("this kernel does not tell of %s", it.Kind)
	}
	expect(t, it)
	wantNote(t, it.Notes, "may be new each time")
}

// pair makes two UNIX sockets that are connected.
func (s *scene) pair(kind int) (near, far int) {
	s.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return s.keep(fds[0], err), s.keep(fds[1], err)
}

func (s *scene) connectTo(fd, family, kind int) int {
	s.t.Helper()
	name, err := unix.Getsockname(fd)
	if err != nil {
		s.t.Fatal(err)
	}
	c := s.keep(unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0))
	if err := unix.Connect(c, name); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// A loop that drains a UNIX socket finds the same number of bytes in it every time.
func TestLookAtSteadyLocalLoad(t *testing.T) {
	s := newScene(t)
	near, far := s.pair(unix.SOCK_STREAM)
	s.add(near, event.In|event.ET)
	stop := s.add(s.keep(unix.Eventfd(0, unix.EFD_CLOEXEC)), event.In)
	over := make(chan struct{}, 2)
	go func() { // the server
		defer func() { over <- struct{}{} }()
		events, b := make([]unix.EpollEvent, 8), make([]byte, 64)
		for {
			n, _ := unix.EpollWait(s.ep, events, -1)
			for _, e := range events[:max(n, 0)] {
				if int(e.Fd) == stop {
					return
				}
				for n := 1; n > 0; n, _ = unix.Read(near, b) {
				}
			}
		}
	}()
	quit := make(chan struct{})
	go func() { // its client
		defer func() { over <- struct{}{} }()
		for {
			select {
			case <-quit:
				return
			default:
				_, _ = unix.Write(far, []byte("12345678"))
				if time.Now().Nanosecond()%16 == 0 {
					time.Sleep(100 * time.Microsecond)
				}
			}
		}
	}()
	for range 5 {
		items, _ := s.look()
		expect(t, items[int32(near)])
	}
	close(quit)
	_, _ = unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-over
	<-over
}

func TestLookAtKinds(t *testing.T) {
	s := newScene(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	for _, fd := range append(pair[:], pipe[:]...) {
		s.keep(fd, nil)
	}
	want := map[int]string{
		s.add(s.keep(unix.Eventfd(0, unix.EFD_CLOEXEC)), event.In|event.ET):                         "eventfd",
		s.add(s.keep(unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)), event.In):         "timerfd",
		s.add(s.keep(unix.InotifyInit1(unix.IN_CLOEXEC)), event.In):                                 "inotify",
		s.add(s.keep(unix.PidfdOpen(os.Getpid(), 0)), event.In):                                     "pidfd",
		s.add(s.keep(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)), event.In):    "udp",
		s.add(s.keep(unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)), event.Out): "tcp",
		s.add(s.keep(unix.EpollCreate1(unix.EPOLL_CLOEXEC)), event.In):                              "epoll",
		s.add(pair[0], event.In): "unix stream",
		s.add(pipe[0], event.In): "pipe",
	}
	again := s.keep(unix.FcntlInt(uintptr(s.ep), unix.F_DUPFD_CLOEXEC, 0))
	items, in := s.look()
	for fd, kind := range want {
		if it := items[int32(fd)]; it.Kind != kind || it.Link == LinkClosed || it.Link == LinkReused {
			t.Errorf("fd %d: %+v, want %s", fd, it, kind)
		}
		expect(t, items[int32(fd)])
	}
	if !slices.Equal(in.Also, []int32{int32(again)}) {
		t.Errorf("further descriptors: %v, want %d", in.Also, again)
	}
}

func TestLookAtGhosts(t *testing.T) {
	s := newScene(t)
	_, conn, _ := s.connect()
	_, other, _ := s.connect()
	_, fine, _ := s.connect()
	event1 := s.keep(unix.Eventfd(0, unix.EFD_CLOEXEC))
	event2 := s.keep(unix.Eventfd(0, unix.EFD_CLOEXEC))
	kept := map[int]int{}
	for _, fd := range []int{conn, other, fine, event1} {
		kept[fd] = s.keep(unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 500))
		s.add(fd, event.In)
	}
	s.close(conn)
	if err := errors.Join(unix.Dup3(fine, other, unix.O_CLOEXEC), unix.Dup3(event2, event1, unix.O_CLOEXEC)); err != nil {
		t.Fatal(err)
	}
	items, _ := s.look()
	expect(t, items[int32(fine)])
	for fd, link := range map[int]Link{conn: LinkClosed, other: LinkReused} {
		it := items[int32(fd)]
		expect(t, it, ghostEvent)
		if it.Link != link || it.Sock == nil || it.Sock.State != event.Established {
			t.Errorf("fd %d: %+v", fd, it)
		}
	}
	self := uint32(os.Getpid())
	if _, err := proc.SameFile(self, int32(s.ep), self, int32(s.ep)); err != nil {
		t.Logf("eventfds cannot be told apart here: %v", err)
		return
	}
	expect(t, items[int32(event1)], ghostEvent)
}

// A child that inherited the instance and not the file has no ghost: its parent has the file.
func TestLookAtSharedInstance(t *testing.T) {
	s := newScene(t)
	fd := s.add(s.keep(unix.Eventfd(0, unix.EFD_CLOEXEC)), event.In)
	lost := s.add(s.keep(unix.Eventfd(0, unix.EFD_CLOEXEC)), event.In)
	s.keep(unix.FcntlInt(uintptr(lost), unix.F_DUPFD_CLOEXEC, 0))
	s.close(lost)
	again, err := unix.FcntlInt(uintptr(s.ep), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	inherited := os.NewFile(uintptr(again), "epoll")
	defer inherited.Close()
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), sleeping+"=yes")
	child.ExtraFiles = make([]*os.File, s.ep-2)
	child.ExtraFiles[s.ep-3] = inherited // under the number that it has here
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	r, err := Look(context.Background(), Options{PID: uint32(child.Process.Pid), Sample: quick})
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(r.Instances, func(in Instance) bool { return in.FD == int32(s.ep) })
	if at < 0 {
		t.Fatalf("instance %d is not in %+v", s.ep, r)
	}
	in := r.Instances[at]
	if !slices.Equal(in.Sharers, []uint32{uint32(os.Getpid())}) {
		t.Skipf("this kernel does not tell who shares an instance: %+v", in)
	}
	for _, it := range in.Items {
		switch int(it.FD) {
		case fd:
			expect(t, it)
			if it.Link != LinkElsewhere || it.holder != uint32(os.Getpid()) {
				t.Errorf("%+v", it)
			}
		case lost:
			expect(t, it, ghostEvent)
		}
	}
}

func TestLookFails(t *testing.T) {
	for pid, want := range map[uint32]error{1 << 30: proc.ErrGone, uint32(os.Getpid()): context.Canceled} {
		ctx, cancel := context.WithCancel(context.Background())
		if errors.Is(want, context.Canceled) {
			newScene(t)
			cancel()
		}
		if r, err := Look(ctx, Options{PID: pid, Sample: quick}); !errors.Is(err, want) || r != nil {
			t.Errorf("process %d: %v, want %v", pid, err, want)
		}
		cancel()
	}
}
