package timeline

import (
	"net/netip"
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

func (s *script) write(n int64) {
	s.play(event.Event{Kind: event.KindWrite, Call: event.CallWrite, FD: 5, EpFD: event.NoFD, FileAddr: connFile, SockAddr: connSock, Start: s.now, Ret: n})
}

func TestWriteBlocks(t *testing.T) {
	s, f, _ := connected(t, etMask)
	for _, step := range []struct {
		ret  int64
		want bool
	}{{100, false}, {-11, true}, {-4, true}, {50, false}} {
		s.write(step.ret)
		if f.WriteBlocked() != step.want {
			t.Errorf("after a write that returned %d: blocked %v, want %v", step.ret, f.WriteBlocked(), step.want)
		}
	}
}

func TestWhatCountsAsUse(t *testing.T) {
	s, f, _ := connected(t, etMask)
	used := func(what string, want bool) {
		t.Helper()
		if got := f.LastUse.Seq == uint64(len(s.seen)); got != want {
			t.Errorf("%s: counts as use %v, want %v", what, got, want)
		}
	}
	s.write(10)
	used("a write", true)
	s.read(-11, 1)
	used("a read that finds nothing yet", true)
	s.wakeup(0, etMask, event.FIN|event.FINUnread)
	used("a wakeup", false)
	s.recv(0, 0, event.FIN)
	s.read(0, 5)
	used("a read of the end", false)
	if f.LastCall.Seq != uint64(len(s.seen)) {
		t.Error("a read of the end is no call at all")
	}
	s.write(-32)
	used("a write that fails with EPIPE", false)
	s.ctl(event.CtlMod, 5, connFile, connSock, etMask)
	used("a MOD", true)
	s.play(event.Event{Kind: event.KindShutdown, Call: event.CallShutdown, FD: 5, EpFD: event.NoFD, FileAddr: connFile, Op: 1, Start: s.now})
	used("a shutdown", true)
	if f.ShutRead {
		t.Error("SHUT_WR has shut the reading side down")
	}
	s.play(event.Event{Kind: event.KindShutdown, Call: event.CallShutdown, FD: 5, EpFD: event.NoFD, FileAddr: connFile, Op: 2, Start: s.now})
	if !f.ShutRead {
		t.Error("SHUT_RDWR has not shut the reading side down")
	}
}

func TestAcceptedFile(t *testing.T) {
	s := newScript(t)
	start := s.now
	s.play(event.Event{Kind: event.KindSnapshot, FD: 5, EpFD: event.NoFD, FileAddr: connFile, SockAddr: connSock, NewState: event.Established,
		Local: netip.MustParseAddrPort("127.0.0.1:80"), Peer: netip.MustParseAddrPort("127.0.0.1:999")})
	shown := s.tl.Subject().File
	s.play(event.Event{Kind: event.KindAccept, FD: 3, EpFD: event.NoFD, Start: start, FileAddr: listenerFile, NewFileAddr: connFile, SockAddr: connSock, Ret: 5})
	sub := s.tl.Subject()
	if sub.NewFile != shown || !shown.Accepted || sub.File == shown || sub.File.FD() != 3 {
		t.Errorf("accept made another file of the one that a snapshot showed inside it")
	}
	if k := shown.Sock; !k.TCP || k.State != event.Established || k.Peer.Port() != 999 || k.File != shown {
		t.Errorf("its socket is %+v", k)
	}
	ev := s.seen[len(s.seen)-1]
	if ev.File != sub.File.ID || ev.NewFile != shown.ID || ev.Sock != shown.Sock.ID {
		t.Errorf("the accept names file %d, new file %d, socket %d", ev.File, ev.NewFile, ev.Sock)
	}
}

func TestItemFromASnapshot(t *testing.T) {
	s := newScript(t)
	s.play(event.Event{Kind: event.KindSnapshot, EpFD: 4, EpollAddr: epollAddr, FD: 5, FileAddr: connFile, SockAddr: connSock, Events: etMask, Data: 77})
	i := s.tl.Subject().Interest
	if i == nil || i.Armed() != Yes || !i.Edge() || i.Told() || !i.FromBefore() || i.Due() != Yes || i.Epoll.Created.Seq != 0 {
		t.Fatalf("the item is %+v", i)
	}
	s.play(event.Event{Kind: event.KindSnapshot, EpFD: 4, EpollAddr: epollAddr, FD: 6, FileAddr: 0xf9, Events: event.OneShot | event.ET, Data: 78})
	if j := s.tl.Subject().Interest; j == nil || j.Armed() != No {
		t.Errorf("an item with private bits only is %+v, want disarmed", j)
	}
	s.deliver(event.In, 77)
	if ev := s.seen[len(s.seen)-1]; ev.FD != 5 {
		t.Errorf("its delivery names fd %d, want 5", ev.FD)
	}
	if i.FromBefore() || i.Due() != No {
		t.Errorf("after its delivery the item is %+v", i)
	}
}

// TestItemFromASnapshotIsNotDue: it may have been ready when it was found, until a wait sleeps in spite of it.
func TestItemFromASnapshotIsNotDue(t *testing.T) {
	s := newScript(t)
	s.play(event.Event{Kind: event.KindSnapshot, EpFD: 4, EpollAddr: epollAddr, FD: 5, FileAddr: connFile, SockAddr: connSock, Events: etMask, Data: 77})
	i := s.tl.Subject().Interest
	if at := s.now + event.Time(time.Hour); i.DueAt(at) != Yes {
		t.Errorf("with nobody waiting, the item is due: %v, want yes", i.DueAt(at))
	}
	s.enter()
	if at := s.now + event.Time(time.Second); i.DueAt(at) != No {
		t.Errorf("with a thread asleep in a wait, the item is due: %v, want no", i.DueAt(at))
	}
	s.wakeup(4, etMask, 0)
	if i.Due() != Yes || !i.FromBefore() {
		t.Errorf("after a wakeup the item is %+v", i)
	}
}
