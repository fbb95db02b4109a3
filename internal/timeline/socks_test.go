package timeline

import (
	"net/netip"
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

func TestUnreadFollowsTheKernel(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.wakeup(20, etMask, 0)
	s.recv(16, 4, 0)
	s.read(16, 5)
	if n, known := f.Sock.Unread(); n != 4 || !known {
		t.Errorf("unread is %d (known %v), want 4", n, known)
	}
	s.recv(-11, 4, 0)
	s.read(-11, 5)
	if n, _ := f.Sock.Unread(); n != 4 {
		t.Errorf("the kernel said 4 bytes inside a failed read, unread is %d", n)
	}
}

func TestUnreadWithoutTheKernelsWord(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.wakeup(20, etMask, 0)
	s.play(event.Event{Kind: event.KindRecv, FD: event.NoFD, EpFD: event.NoFD, SockAddr: connSock, Ret: 16})
	s.read(16, 5)
	if n, known := f.Sock.Unread(); n != 4 || !known {
		t.Errorf("20 came, 16 were received, and unread is %d (known %v)", n, known)
	}
	s.read(-11, 1)
	if n, known := f.Sock.Unread(); n != 0 || !known {
		t.Errorf("a read found nothing, and unread is %d (known %v)", n, known)
	}
	s.wakeup(9, etMask, 0)
	s.read(-11, 5000)
	if n, _ := f.Sock.Unread(); n != 9 {
		t.Errorf("input came inside a read that found nothing before, and unread is %d, want 9", n)
	}
	s.read(9, 1)
	if _, known := f.Sock.Unread(); known {
		t.Error("a read without its receive was seen, and unread passes for known")
	}
}

func TestPeekConsumesNothing(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.wakeup(20, etMask, 0)
	s.recv(16, 20, event.Peek)
	s.read(16, 5)
	if n, _ := f.Sock.Unread(); n != 20 {
		t.Errorf("after a peek unread is %d, want 20", n)
	}
	if n, _ := f.Sock.Unseen(); n != 4 {
		t.Errorf("after a peek at 16 of 20 unseen is %d, want 4", n)
	}
	s.recv(10, 10, 0)
	s.read(10, 5)
	if n, _ := f.Sock.Unseen(); n != 4 {
		t.Errorf("10 of the 16 bytes peeked at are read, unseen is %d, want 4", n)
	}
}

func TestEndOfStream(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.wakeup(0, etMask, event.FIN|event.FINUnread)
	if !f.Sock.FINUnread() || !f.Sock.EndUnseen() {
		t.Fatal("a FIN has come and is not seen as unread")
	}
	s.recv(0, 0, event.FIN)
	s.read(0, 5)
	if f.Sock.FINUnread() || f.Sock.EndUnseen() || f.Sock.FINRead.Seq == 0 {
		t.Error("a read has returned 0, and the FIN passes for unread")
	}
}

// The last bytes and the FIN in one segment: the queue is empty after the read, and the program does not know yet.
func TestFINTakenAlongWithTheLastBytes(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.wakeup(20, etMask, event.FIN|event.FINUnread)
	s.recv(20, 0, event.FIN)
	s.read(20, 5)
	if f.Sock.FINUnread() || !f.Sock.EndUnseen() {
		t.Errorf("FIN in the queue: %v, want false; end unseen: %v, want true", f.Sock.FINUnread(), f.Sock.EndUnseen())
	}
}

func TestSocketAddressIsReused(t *testing.T) {
	s := newScript(t)
	local := netip.MustParseAddrPort("127.0.0.1:80")
	state := func(peer string, old, now event.State) *Sock {
		s.play(event.Event{Kind: event.KindState, FD: event.NoFD, EpFD: event.NoFD, SockAddr: connSock, OldState: old, NewState: now,
			Local: local, Peer: netip.MustParseAddrPort(peer)})
		return s.tl.Subject().Sock
	}
	first := state("127.0.0.1:1000", event.SynRecv, event.Established)
	if again := state("127.0.0.1:1000", event.Established, event.CloseWait); again != first {
		t.Error("one connection has become two")
	}
	if other := state("127.0.0.1:1001", event.SynRecv, event.Established); other == first {
		t.Error("another peer is taken for the same connection")
	}
	last := state("127.0.0.1:1001", event.Established, event.Closed)
	if other := state("127.0.0.1:1001", event.SynRecv, event.Established); other == last {
		t.Error("a connection has come back from CLOSE")
	}
}

// The kernel sets the state to CLOSE before it sends the reset.
func TestResetAfterClose(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.wakeup(8, etMask, 0)
	s.play(event.Event{Kind: event.KindRelease, FD: event.NoFD, EpFD: event.NoFD, SockAddr: connSock, Unread: 8, Flags: event.HasUnread})
	s.play(event.Event{Kind: event.KindState, FD: event.NoFD, EpFD: event.NoFD, SockAddr: connSock, OldState: event.Established, NewState: event.Closed})
	ev := s.play(event.Event{Kind: event.KindReset, FD: event.NoFD, EpFD: event.NoFD, SockAddr: connSock})
	if ev.Sock != f.Sock.ID || ev.File != f.ID || f.Sock.ResetSeq != ev.Seq {
		t.Errorf("the reset names socket %d of file %d, want %d of %d", ev.Sock, ev.File, f.Sock.ID, f.ID)
	}
}

func TestReleaseSaysWhatWasLeft(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.play(event.Event{Kind: event.KindRelease, FD: event.NoFD, EpFD: event.NoFD, SockAddr: connSock, Unread: 8, Flags: event.HasUnread})
	if n, known := f.Sock.Unread(); n != 8 || !known {
		t.Errorf("the kernel released the file with 8 bytes unread, and unread is %d (known %v)", n, known)
	}
}

func TestOrphansAreForgotten(t *testing.T) {
	s := newScript(t)
	s.play(event.Event{Kind: event.KindState, FD: event.NoFD, EpFD: event.NoFD, SockAddr: connSock, OldState: event.SynRecv, NewState: event.Established})
	s.now = s.now.Add(orphanAge + 2*time.Minute)
	s.play(event.Event{Kind: event.KindSignal, FD: event.NoFD, EpFD: event.NoFD})
	if n := s.tl.Stats().Open.Socks; n != 0 {
		t.Errorf("%d sockets are held that nothing was heard of for 22 minutes", n)
	}
}
