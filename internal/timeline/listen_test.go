package timeline

import (
	"testing"

	"github.com/epwatch/epwatch/internal/event"
)

// listening is a script with a listener, fd 3, in the interest list.
func listening(t *testing.T, mask event.Mask) (*script, *Sock, *Interest) {
	t.Helper()
	s := newScript(t)
	s.create()
	s.play(event.Event{Kind: event.KindState, FD: event.NoFD, EpFD: event.NoFD, SockAddr: listenerSock, OldState: event.Closed, NewState: event.Listen})
	i := s.ctl(event.CtlAdd, 3, listenerFile, listenerSock, mask)
	return s, i.File.Sock, i
}

// arrive queues a connection: n are in the queue then.
func (s *script) arrive(n uint32) {
	s.play(event.Event{Kind: event.KindQueued, FD: event.NoFD, EpFD: event.NoFD, SockAddr: listenerSock, Unread: n,
		Flags: event.HasUnread | event.Listener})
}

// take is an accept that began so long ago; with a negative result nothing came of it.
func (s *script) take(ret int64, ago event.Time) {
	ev := event.Event{Kind: event.KindAccept, FD: 3, EpFD: event.NoFD, Start: s.now + 1000 - ago, FileAddr: listenerFile, SockAddr: listenerSock, Ret: ret}
	if ret >= 0 {
		ev.NewFileAddr, ev.SockAddr = event.Addr(0x1000+ret), event.Addr(0x2000+ret)
	}
	s.play(ev)
}

func wantBacklog(t *testing.T, s *Sock, want uint32) {
	t.Helper()
	if n, known := s.Backlog(); n != want || !known {
		t.Errorf("%d connections wait (known %v), want %d", n, known, want)
	}
}

func TestBacklogFollowsTheKernel(t *testing.T) {
	s, l, _ := listening(t, event.In|event.ET)
	wantBacklog(t, l, 0)
	s.arrive(1)
	s.arrive(2)
	s.take(7, 10)
	wantBacklog(t, l, 1)
	s.take(-24, 10)
	wantBacklog(t, l, 1)
	s.take(-103, 10)
	wantBacklog(t, l, 0)
	if l.LastAccept.Seq == 0 || l.AcceptResult != -103 {
		t.Errorf("the last accept is %+v with %d", l.LastAccept, l.AcceptResult)
	}
	s.arrive(3)
	s.take(-11, 10)
	wantBacklog(t, l, 0)
	if l.BacklogSeq() != uint64(len(s.seen)) {
		t.Errorf("event %d gave the queue's length, want the last, %d", l.BacklogSeq(), len(s.seen))
	}
}

// What the kernel said while the accept ran may have been before it took its connection or after.
func TestBacklogIsAtLeast(t *testing.T) {
	s, l, _ := listening(t, event.In|event.ET)
	s.arrive(1)
	s.arrive(2)
	s.take(7, 5000)
	wantBacklog(t, l, 1)
	// One that came while an accept found nothing is still there.
	s.take(8, 10)
	s.arrive(1)
	s.take(-11, 5000)
	wantBacklog(t, l, 1)
}

func TestBacklogAcrossAGap(t *testing.T) {
	s, l, _ := listening(t, event.In|event.ET)
	s.arrive(2)
	s.play(event.Event{Kind: event.KindSignal, FD: event.NoFD, EpFD: event.NoFD, Lost: 1})
	if n, known := l.Backlog(); known {
		t.Errorf("across a gap %d connections wait for certain", n)
	}
	s.take(7, 10)
	if _, known := l.Backlog(); known {
		t.Error("an accept makes the queue's length known")
	}
	s.arrive(5)
	wantBacklog(t, l, 5)
}

func TestBacklogFromTheSnapshot(t *testing.T) {
	s := newScript(t)
	s.play(event.Event{Kind: event.KindSnapshot, FD: 3, EpFD: event.NoFD, FileAddr: listenerFile, SockAddr: listenerSock, NewState: event.Listen,
		Unread: 4, Flags: event.HasUnread | event.Listener})
	wantBacklog(t, s.tl.Subject().Sock, 4)
}

// The kernel reports the change to CLOSE just before it makes it, so that its word on the queue is a listener's still.
func TestClosedListenerListensNoMore(t *testing.T) {
	s, l, _ := listening(t, event.In|event.ET)
	s.arrive(2)
	s.play(event.Event{Kind: event.KindState, FD: event.NoFD, EpFD: event.NoFD, SockAddr: listenerSock, OldState: event.Listen, NewState: event.Closed,
		Unread: 2, Flags: event.HasUnread | event.Listener})
	if l.Listening {
		t.Error("it listens after its change to CLOSE")
	}
	wantBacklog(t, l, 2)
}

// EPOLL_CTL_MOD polls the listener: with connections in its queue the item is on the ready list at once.
func TestListenerIsDueAfterMod(t *testing.T) {
	s, _, i := listening(t, event.In|event.Out|event.ET)
	if i.Due() != No {
		t.Errorf("without connections it is due: %v", i.Due())
	}
	s.arrive(1)
	s.ctl(event.CtlMod, 3, listenerFile, listenerSock, event.In|event.Out|event.ET)
	if i.Due() != Yes {
		t.Errorf("with a connection it is due: %v", i.Due())
	}
}
