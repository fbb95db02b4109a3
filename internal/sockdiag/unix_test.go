//go:build linux

package sockdiag

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// unixAnswer builds a unix_diag_msg field by field, apart from decodeUnix.
func unixAnswer(state byte, ino uint32) []byte {
	b := binary.NativeEndian.AppendUint32([]byte{1, 1, state, 0}, ino)
	return append(b, make([]byte, 8)...)
}

func with(b []byte, kind uint16, value ...uint32) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+4*len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	for _, v := range value {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

func TestDecodeUnix(t *testing.T) {
	tests := []struct {
		in   []byte
		want UnixQueue
	}{
		{unixAnswer(1, 77), UnixQueue{Inode: 77}},
		{with(with(unixAnswer(1, 77), 2, 78), 4, 20, 768), UnixQueue{Inode: 77, Peer: 78, Received: 20}},
		{with(unixAnswer(10, 79), 4, 3, 128), UnixQueue{Inode: 79, Received: 3, Limit: 128, Listening: true}},
		{append(with(unixAnswer(1, 80), 4, 0, 0), 5, 0, 6, 0, 1, 0, 0, 0), UnixQueue{Inode: 80, ReadShut: true}},
		{append(unixAnswer(1, 81), 5, 0, 6, 0, 2, 0, 0, 0), UnixQueue{Inode: 81}}, // shut for sending
	}
	for _, test := range tests {
		if got, err := decodeUnix(test.in); err != nil || got != test.want {
			t.Errorf("%x: %+v, %v, want %+v", test.in, got, err, test.want)
		}
	}
	other := unixAnswer(1, 77)
	other[0] = 2
	for _, bad := range [][]byte{nil, unixAnswer(1, 77)[:15], other, append(unixAnswer(1, 77), 200, 0, 4, 0)} {
		if got, err := decodeUnix(bad); err == nil {
			t.Errorf("%x decoded as %+v", bad, got)
		}
	}
}

func FuzzDecodeUnix(f *testing.F) {
	f.Add(with(with(unixAnswer(1, 77), 2, 78), 4, 20, 768))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := decodeUnix(b); err == nil && q.Limit != 0 && !q.Listening {
			t.Errorf("%+v from %x", q, b)
		}
	})
}

// The kernel says what was written and not read, of a listener who waits, and that a peer is gone.
func TestUnixQueues(t *testing.T) {
	keep := func(fd int, err error) int {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	pair := func(kind int) (near, far int) {
		t.Helper()
		fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		return keep(fds[0], err), keep(fds[1], err)
	}
	write := func(fd int, text string) {
		t.Helper()
		if _, err := unix.Write(fd, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	stream, streamPeer := pair(unix.SOCK_STREAM)
	datagrams, datagramsPeer := pair(unix.SOCK_DGRAM)
	left, leftPeer := pair(unix.SOCK_STREAM)
	for range 3 {
		write(streamPeer, "1234567")
		write(datagramsPeer, "12345")
	}
	if err := unix.Shutdown(leftPeer, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	listener := keep(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	if err := errors.Join(unix.Bind(listener, &unix.SockaddrUnix{}), unix.Listen(listener, 9)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(listener)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c := keep(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		if err := unix.Connect(c, name); err != nil {
			t.Fatal(err)
		}
	}
	found, err := UnixQueues(context.Background(), Filter{})
	if errors.Is(err, ErrNoDiag) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for fd, want := range map[int]UnixQueue{
		stream:     {Peer: inode(t, streamPeer), Received: 21},
		streamPeer: {Peer: inode(t, stream)},
		datagrams:  {Peer: inode(t, datagramsPeer), Received: 5},
		left:       {Peer: inode(t, leftPeer), ReadShut: true},
		leftPeer:   {Peer: inode(t, left)},
		listener:   {Received: 2, Limit: 9, Listening: true},
	} {
		want.Inode = inode(t, fd)
		if diff := cmp.Diff(want, found[want.Inode]); diff != "" {
			t.Errorf("fd %d (-want +got):\n%s", fd, diff)
		}
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := UnixQueues(canceled, Filter{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// Of UDP both readers say the same: whether there is a datagram, and who is connected.
func TestUDP(t *testing.T) {
	server, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(server)
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(client)
	if err := unix.Bind(server, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(server)
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(sa.(*unix.SockaddrInet4).Port)
	if err := unix.Connect(client, sa); err != nil {
		t.Fatal(err)
	}
	for _, sent := range []bool{false, true} {
		if sent {
			if _, err := unix.Write(client, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		for name, list := range map[string]func(Filter) ([]Socket, error){"sock_diag": byDiag, "/proc": Proc} {
			socks, err := list(Filter{Protocol: UDP, Port: port})
			if errors.Is(err, ErrNoDiag) {
				t.Logf("%s: %v", name, err)
				continue
			}
			if err != nil || len(socks) != 2 {
				t.Fatalf("%s: %+v, %v", name, socks, err)
			}
			for _, s := range socks {
				switch s.Inode {
				case inode(t, server):
					if s.State != event.Closed || s.Local != netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port) || (s.RecvQueue > 0) != sent {
						t.Errorf("%s, sent %v: %+v", name, sent, s)
					}
				case inode(t, client):
					if s.State != event.Established || s.Peer.Port() != port || s.RecvQueue != 0 {
						t.Errorf("%s, sent %v: %+v", name, sent, s)
					}
				default:
					t.Errorf("%s: %+v is nobody's", name, s)
				}
			}
		}
	}
}
