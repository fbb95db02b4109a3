//go:build linux

package sockdiag

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

const queued = 12345

// scene is a listener with one connection in its backlog, and one accepted connection whose client sent queued bytes and
// a FIN that nobody read.
type scene struct {
	listener int
	accepted int
	port     uint16
	inode    uint32 // the listener's
	clients  []*net.TCPConn
}

func setScene(t *testing.T, address string) scene {
	t.Helper()
	l := tcpListen(t, address)
	s := scene{listener: l}
	sa, err := unix.Getsockname(l)
	if err != nil {
		t.Fatal(err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		s.port = uint16(sa.Port)
	case *unix.SockaddrInet6:
		s.port = uint16(sa.Port)
	}
	s.inode = inode(t, l)
	for range 2 {
		c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), s.port)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		s.clients = append(s.clients, c)
	}
	if s.accepted, _, err = unix.Accept4(l, unix.SOCK_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.accepted) })
	if _, err := s.clients[0].Write(make([]byte, queued)); err != nil {
		t.Fatal(err)
	}
	if err := s.clients[0].CloseWrite(); err != nil {
		t.Fatal(err)
	}
	return s
}

// tcpListen avoids net.Listen, which may make an MPTCP socket.
func tcpListen(t *testing.T, address string) int {
	t.Helper()
	ip := netip.MustParseAddr(address)
	domain, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: ip.As16()})
	if ip.Is4() {
		domain, sa = unix.AF_INET, &unix.SockaddrInet4{Addr: ip.As4()}
	}
	l, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(l) })
	if err := unix.Bind(l, sa); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(l, 7); err != nil {
		t.Fatal(err)
	}
	return l
}

func inode(t *testing.T, fd int) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return uint32(st.Ino)
}

func needDiag(t *testing.T) {
	t.Helper()
	if _, err := Diag(context.Background(), Filter{Port: 1}); errors.Is(err, ErrNoDiag) {
		t.Skip(err)
	}
}

// own leaves out what other processes do with the same port numbers.
func (s scene) own(socks []Socket) []Socket {
	var mine []Socket
	for _, x := range socks {
		ours := x.State == event.Listen && x.Inode == s.inode
		for _, c := range s.clients {
			local, peer := c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
			ours = ours || x.Local == local && x.Peer == peer || x.Local == peer && x.Peer == local
		}
		if ours {
			mine = append(mine, x)
		}
	}
	return mine
}

// settled lists until the accepted connection has all bytes and the FIN, and its client knows: the last of them may
// still be on its way.
func settled(t *testing.T, list func(Filter) ([]Socket, error), s scene) []Socket {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		socks, err := list(Filter{Port: s.port})
		if err != nil {
			t.Fatal(err)
		}
		mine := s.own(socks)
		there := slices.ContainsFunc(mine, func(x Socket) bool {
			n, fin := x.Unread()
			return x.State == event.CloseWait && n == queued && fin
		})
		if there && slices.ContainsFunc(mine, func(x Socket) bool { return x.State == event.FinWait2 }) {
			return mine
		}
		if time.Now().After(end) {
			t.Fatalf("no connection in CLOSE_WAIT with %d bytes among %+v", queued, socks)
		}
	}
}

func byDiag(f Filter) ([]Socket, error) { return Diag(context.Background(), f) }

func TestReadersAgree(t *testing.T) {
	needDiag(t)
	for _, address := range []string{"127.0.0.1", "::1"} {
		t.Run(address, func(t *testing.T) {
			s := setScene(t, address)
			diag, proc := settled(t, byDiag, s), settled(t, Proc, s)
			if len(diag) != 5 {
				t.Errorf("%d sockets", len(diag))
			}
			for i := range diag {
				if diag[i].Cookie == 0 {
					t.Errorf("%+v has no cookie", diag[i])
				}
				diag[i].Cookie = 0
				if diag[i].State == event.Listen {
					if diag[i].RecvQueue != 1 || diag[i].SendQueue != 7 {
						t.Errorf("the listener's backlog: %d of %d", diag[i].RecvQueue, diag[i].SendQueue)
					}
					diag[i].SendQueue = 0
				}
			}
			if diff := cmp.Diff(diag, proc, compareAddrs()); diff != "" {
				t.Errorf("sock_diag and /proc differ (-diag +proc):\n%s", diff)
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	s := setScene(t, "127.0.0.1")
	held := inode(t, s.accepted)
	socks, err := List(context.Background(), Filter{Port: s.port})
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(socks, func(x Socket) bool { return x.Inode == held })
	if at < 0 {
		t.Fatalf("no socket with inode %d among %+v", held, socks)
	}
	got := socks[at]
	cookie, err := unix.GetsockoptUint64(s.accepted, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		t.Fatal(err)
	}
	if got.Cookie != 0 && got.Cookie != cookie || got.UID != uint32(os.Getuid()) || got.Family != IPv4 ||
		got.Local.String() != s.clients[0].RemoteAddr().String() || got.Peer.String() != s.clients[0].LocalAddr().String() {
		t.Errorf("got %+v, cookie %d", got, cookie)
	}
	self := uint32(os.Getpid())
	for _, pids := range [][]uint32{{self}, {1 << 30, self}, nil} {
		owners, err := Owners(pids...)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(owners[held], Owner{PID: self, FD: int32(s.accepted)}) {
			t.Errorf("of %v: inode %d is held by %v", pids, held, owners[held])
		}
	}
}

// TestFilterEnds: the port may be at either end, and other sockets stay out.
func TestFilterEnds(t *testing.T) {
	s, other := setScene(t, "127.0.0.1"), setScene(t, "127.0.0.1")
	client := s.clients[0].LocalAddr().(*net.TCPAddr).AddrPort().Port()
	for port, want := range map[uint16]int{s.port: 5, client: 2} {
		for name, list := range map[string]func(Filter) ([]Socket, error){"List": func(f Filter) ([]Socket, error) {
			return List(context.Background(), f)
		}, "Proc": Proc} {
			socks, err := list(Filter{Port: port})
			if got := len(s.own(socks)); err != nil || got != want {
				t.Errorf("%s of port %d: %d sockets instead of %d, %v", name, port, got, want, err)
			}
			if slices.ContainsFunc(socks, func(x Socket) bool { return x.Local.Port() != port && x.Peer.Port() != port }) {
				t.Errorf("%s of port %d has others too: %+v", name, port, socks)
			}
		}
	}
	all, err := List(context.Background(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []uint16{s.port, other.port} {
		if !slices.ContainsFunc(all, func(x Socket) bool { return x.Local.Port() == port && x.State == event.Listen }) {
			t.Errorf("the list of all lacks the listener on port %d", port)
		}
	}
}

func TestNetNS(t *testing.T) {
	type made struct {
		ns   int
		port uint16
		err  error
	}
	ready, done := make(chan made), make(chan struct{})
	defer close(done)
	go func() { // its thread ends with it, in the other namespace
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			ready <- made{err: err}
			return
		}
		ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		fd, _ := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		err = errors.Join(err, unix.Listen(fd, 1))
		sa, _ := unix.Getsockname(fd)
		m := made{ns: ns, err: err}
		if in4, ok := sa.(*unix.SockaddrInet4); ok {
			m.port = uint16(in4.Port)
		}
		ready <- m
		<-done
		unix.Close(fd)
	}()
	m := <-ready
	if errors.Is(m.err, unix.EPERM) {
		t.Skip("making a network namespace needs CAP_SYS_ADMIN")
	}
	if m.err != nil {
		t.Fatal(m.err)
	}
	defer unix.Close(m.ns)
	for name, list := range map[string]func(Filter) ([]Socket, error){"Diag": byDiag, "Proc": Proc} {
		socks, err := list(Filter{NetNS: m.ns})
		if errors.Is(err, ErrNoDiag) {
			continue
		}
		if err != nil || len(socks) != 1 || socks[0].Local.Port() != m.port || socks[0].State != event.Listen {
			t.Errorf("%s there: %+v, %v", name, socks, err)
		}
		here, err := list(Filter{})
		if err != nil || slices.ContainsFunc(here, func(x Socket) bool { return x.Inode == socks[0].Inode }) {
			t.Errorf("%s here: %v", name, err)
		}
	}
}

func TestNotANetNS(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, list := range []func(Filter) ([]Socket, error){byDiag, Proc} {
		if _, err := list(Filter{NetNS: int(null.Fd())}); err == nil || errors.Is(err, ErrNoDiag) {
			t.Errorf("got %v", err)
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := List(ctx, Filter{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestExplain(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOENT, unix.EPROTONOSUPPORT} {
		err := explain(context.Background(), errno)
		if !errors.Is(err, ErrNoDiag) || !strings.Contains(err.Error(), "tcp_diag") {
			t.Errorf("%v: got %v", errno, err)
		}
	}
	if err := explain(context.Background(), unix.EPERM); !errors.Is(err, unix.EPERM) {
		t.Errorf("got %v", err)
	}
}

func TestOwnersOfATree(t *testing.T) {
	proc := t.TempDir()
	for link, to := range map[string]string{
		"7/fd/3": "socket:[11]", "7/fd/4": "socket:[11]", "7/fd/5": "pipe:[12]", "7/fd/6": "socket:[x]",
		"9/fd/10": "socket:[11]", "9/fd/2": "socket:[13]", "self/fd/1": "socket:[14]",
	} {
		path := filepath.Join(proc, link)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := owners(proc, nil)
	want := map[uint32][]Owner{11: {{7, 3}, {7, 4}, {9, 10}}, 13: {{9, 2}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	got, err = owners(proc, []uint32{9, 8})
	want = map[uint32][]Owner{11: {{9, 10}}, 13: {{9, 2}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}
