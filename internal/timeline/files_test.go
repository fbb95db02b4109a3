package timeline

import (
	"testing"

	"github.com/epwatch/epwatch/internal/event"
)

func TestDescriptorIsReused(t *testing.T) {
	s, first, _ := connected(t, etMask)
	s.close(5, connFile)
	if !first.Ended || first.EndedBy != EndClose {
		t.Fatalf("after its close the file is ended=%v by %v", first.Ended, first.EndedBy)
	}
	second := s.accept(5, 0xf9, 0x59)
	if second == first || second.ID == first.ID || second.FD() != 5 {
		t.Errorf("the second file behind fd 5 is not another one: %+v", second)
	}
}

func TestAddressIsReused(t *testing.T) {
	s, first, _ := connected(t, etMask)
	s.close(5, connFile)
	s.play(event.Event{Kind: event.KindState, FD: event.NoFD, EpFD: event.NoFD, SockAddr: connSock, OldState: event.CloseWait, NewState: event.Closed})
	second := s.accept(5, connFile, connSock)
	if second.ID == first.ID || second.Sock.ID == first.Sock.ID {
		t.Error("a new connection at the old addresses has the old identity")
	}
	if len(second.Interests) != 0 {
		t.Error("a new connection has inherited interests")
	}
}

func TestAddressIsReusedWithoutItsClose(t *testing.T) {
	s, first, i := connected(t, etMask)
	second := s.accept(5, connFile, connSock)
	if second == first || !first.Ended || first.EndedBy != EndReused || !i.Ended {
		t.Errorf("accept showed the address again, and the first file is %+v", first)
	}
}

func TestAddressIsReusedAndNothingElseWasSeen(t *testing.T) {
	s, first, _ := connected(t, etMask)
	s.now += 10
	s.play(event.Event{Kind: event.KindAccept, FD: 3, EpFD: event.NoFD, Start: s.now - 5, FileAddr: listenerFile, NewFileAddr: connFile,
		SockAddr: 0x59, Ret: 6})
	if second := s.tl.Subject().NewFile; second == first || !first.Ended || second.Sock.Addr != 0x59 {
		t.Errorf("accept made %+v of the file that was there before", second)
	}
}

// The kernel frees the number early in close(2); another thread's accept may get it and return first.
func TestCloseReturnsAfterTheNumberWasReused(t *testing.T) {
	s, first, _ := connected(t, etMask)
	start := s.now
	second := s.accept(5, 0xf9, 0x59)
	ev := s.play(event.Event{Kind: event.KindClose, FD: 5, EpFD: event.NoFD, FileAddr: connFile, Start: start, TID: 101})
	if ev.File != first.ID {
		t.Errorf("close named file %d, want %d", ev.File, first.ID)
	}
	if second.Ended || second.FD() != 5 || len(second.FDs) != 1 {
		t.Errorf("the late close hit the new file: %+v", second)
	}
}

func TestReadThatBeganBeforeTheNumberWasReused(t *testing.T) {
	s, first, _ := connected(t, etMask)
	start := s.now
	s.close(5, connFile)
	second := s.accept(5, 0xf9, 0x59)
	s.tl.Add(&event.Event{}) // not played: only the resolution matters here
	s.tl.order = order{}
	if f := s.tl.useFile(pid, 5, connFile, connSock, start); f != first {
		t.Errorf("the read means file %d, want %d", f.ID, first.ID)
	}
	if s.tl.fds[descriptor{pid, 5}].file != second {
		t.Error("the old read has moved the descriptor back")
	}
}

func TestReadThatBeganBeforeTheAddressWasReused(t *testing.T) {
	s, first, _ := connected(t, etMask)
	start := s.now
	s.close(5, connFile)
	s.now += 5000
	second := s.accept(6, connFile, 0x59)
	if f := s.tl.useFile(pid, 5, connFile, 0, start); f != first {
		t.Errorf("the read means file %d, want %d", f.ID, first.ID)
	}
	if f := s.tl.useFile(pid, 6, connFile, 0, s.now); f != second {
		t.Errorf("a read that began later means file %d, want %d", f.ID, second.ID)
	}
}

// A duplicate keeps the file alive while dup2 gives its first number to another file, and a blocked read returns.
func TestReadDoesNotMoveTheNumberBack(t *testing.T) {
	s, f, _ := connected(t, etMask)
	other := s.accept(6, 0xf9, 0x59)
	start := s.now
	s.play(event.Event{Kind: event.KindDup, Call: event.CallDup, FD: 5, EpFD: event.NoFD, FileAddr: connFile, Ret: 9})
	s.play(event.Event{Kind: event.KindDup, Call: event.CallDup2, FD: 6, EpFD: event.NoFD, FileAddr: 0xf9, Ret: 5})
	s.play(event.Event{Kind: event.KindRead, Call: event.CallRead, FD: 5, EpFD: event.NoFD, FileAddr: connFile, Start: start, Ret: -11, TID: 101})
	if got := s.tl.fds[descriptor{pid, 5}].file; got != other || f.Ended || len(f.FDs) != 1 {
		t.Errorf("fd 5 names file %d, want %d; the first file has %v", got.ID, other.ID, f.FDs)
	}
}

func TestCloseReturnsAfterTheNumberBecameAnInstance(t *testing.T) {
	s, _, _ := connected(t, etMask)
	start := s.now
	s.play(event.Event{Kind: event.KindEpollCreate, FD: event.NoFD, EpFD: event.NoFD, Ret: 5, EpollAddr: 0xe5, TID: 101})
	s.play(event.Event{Kind: event.KindClose, FD: 5, EpFD: event.NoFD, FileAddr: connFile, Start: start})
	if ep := s.tl.epolls[0xe5]; ep == nil || ep.Ended {
		t.Error("the late close hit the new instance")
	}
}

func TestDuplicateKeepsTheFileOpen(t *testing.T) {
	s, f, i := connected(t, etMask)
	s.play(event.Event{Kind: event.KindDup, Call: event.CallDup, FD: 5, EpFD: event.NoFD, FileAddr: connFile, Ret: 9})
	s.close(5, connFile)
	if f.Ended || i.Ended || len(f.FDs) != 1 || f.FD() != 9 {
		t.Fatalf("one of two descriptors was closed, and the file is %+v", f)
	}
	s.close(9, connFile)
	if !f.Ended || !i.Ended {
		t.Error("both descriptors are closed, and the file lives")
	}
}

func TestDup2ClosesWhatTheNumberNamed(t *testing.T) {
	s, f, _ := connected(t, etMask)
	other := s.accept(6, 0xf9, 0x59)
	s.play(event.Event{Kind: event.KindDup, Call: event.CallDup2, FD: 6, EpFD: event.NoFD, FileAddr: 0xf9, Ret: 5})
	if !f.Ended || len(other.FDs) != 2 {
		t.Errorf("dup2(6, 5): file behind 5 ended=%v, file behind 6 has %v", f.Ended, other.FDs)
	}
}

func TestForkedFileOutlivesTheParent(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.play(event.Event{Kind: event.KindFork, FD: event.NoFD, EpFD: event.NoFD, Ret: 200})
	s.close(5, connFile)
	if f.Ended {
		t.Fatal("the child still holds the file")
	}
	s.play(event.Event{Kind: event.KindRelease, FD: event.NoFD, EpFD: event.NoFD, SockAddr: connSock, Flags: event.Last})
	if !f.Ended || f.EndedBy != EndRelease {
		t.Error("the kernel released the file, and it lives")
	}
}

func TestFailedCloseOfABadDescriptorClosesNothing(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.play(event.Event{Kind: event.KindClose, FD: 5, EpFD: event.NoFD, Ret: badFD})
	if f.Ended {
		t.Error("EBADF has closed a file")
	}
	s.play(event.Event{Kind: event.KindClose, FD: 5, EpFD: event.NoFD, Ret: -5})
	if !f.Ended {
		t.Error("after EIO the descriptor is gone all the same")
	}
}

func TestExitEndsWhatTheProcessHeld(t *testing.T) {
	s, f, i := connected(t, etMask)
	s.play(event.Event{Kind: event.KindSignal, FD: event.NoFD, EpFD: event.NoFD, Signal: 15})
	s.play(event.Event{Kind: event.KindExit, FD: event.NoFD, EpFD: event.NoFD, TID: 101})
	if f.Ended {
		t.Fatal("one thread of several ended, and with it a file")
	}
	s.play(event.Event{Kind: event.KindExit, FD: event.NoFD, EpFD: event.NoFD, Ret: 15, Flags: event.Last})
	if !f.Ended || f.EndedBy != EndExit || !i.Ended || !i.Epoll.Ended {
		t.Errorf("the process is gone: file %v by %v, item %v, instance %v", f.Ended, f.EndedBy, i.Ended, i.Epoll.Ended)
	}
	// The kernel's last words come after the exit and still name the file and its descriptor.
	ev := s.play(event.Event{Kind: event.KindReset, FD: event.NoFD, EpFD: event.NoFD, SockAddr: connSock, Unread: 7,
		Flags: event.HasUnread | event.Dead})
	if ev.File != f.ID || ev.FD != 5 {
		t.Errorf("the reset at exit names file %d, fd %d; want %d, 5", ev.File, ev.FD, f.ID)
	}
	if p := s.tl.Subject().Process; p == nil || p.KilledBy() != 15 || p.Signal != 15 {
		t.Errorf("the process is %+v, want killed by 15", p)
	}
}

func TestCloseRange(t *testing.T) {
	s, f, _ := connected(t, etMask)
	g := s.accept(9, 0xf9, 0x59)
	s.play(event.Event{Kind: event.KindClose, Call: event.CallCloseRange, FD: 4, EpFD: event.NoFD, Data: 8})
	if !f.Ended || g.Ended {
		t.Errorf("close_range(4, 8): fd 5 ended=%v, fd 9 ended=%v", f.Ended, g.Ended)
	}
}

// Memory follows what is alive, not what has ever been.
func TestMemoryIsBounded(t *testing.T) {
	s := newScript(t)
	s.create()
	for n := range 20_000 {
		addr := event.Addr(0x1000 + n)
		s.accept(5, addr, addr+0x100000)
		s.ctl(event.CtlAdd, 5, addr, addr+0x100000, etMask)
		s.close(5, addr)
		s.play(event.Event{Kind: event.KindState, FD: event.NoFD, EpFD: event.NoFD, SockAddr: addr + 0x100000, OldState: event.LastAck, NewState: event.Closed})
		s.now += 1_000_000
		s.seen = s.seen[:0]
	}
	open := s.tl.Stats().Open
	limit := int(grace.Milliseconds()) + 100 // one connection a millisecond
	if open.Files > limit || open.Socks > limit || len(s.tl.fds) > 10 || len(s.tl.ended.queue) > 8*limit {
		t.Errorf("after 20000 connections: %+v, %d descriptors, %d graves", open, len(s.tl.fds), len(s.tl.ended.queue))
	}
	for _, ep := range s.tl.epolls {
		if len(ep.interests) != 0 || len(ep.byData) != 0 {
			t.Errorf("%d items and %d data are left", len(ep.interests), len(ep.byData))
		}
	}
}
