package timeline

import (
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

func (s *script) dup(from, to int32, call event.Call) {
	s.play(event.Event{Kind: event.KindDup, Call: call, FD: from, EpFD: event.NoFD, FileAddr: connFile, SockAddr: connSock, Ret: int64(to)})
}

func TestClosedBy(t *testing.T) {
	s, f, i := connected(t, event.In)
	s.dup(5, 6, event.CallDup)
	if _, closed := i.ClosedBy(pid); closed {
		t.Error("nothing was closed")
	}
	s.close(5, connFile)
	at, closed := i.ClosedBy(pid)
	if !closed || at.Seq != uint64(len(s.seen)) || f.Ended || i.Ended {
		t.Errorf("closed %v at event %d; file ended %v, item %v", closed, at.Seq, f.Ended, i.Ended)
	}
	if _, closed := i.ClosedBy(pid + 1); closed {
		t.Error("another process has not closed it")
	}
	s.dup(6, 5, event.CallDup2)
	if _, closed := i.ClosedBy(pid); closed {
		t.Error("the file is back under its number")
	}
}

// TestBadDescriptorNamesNothing: a call that failed with EBADF shows that the number is free, not that something has it.
func TestBadDescriptorNamesNothing(t *testing.T) {
	for name, ev := range map[string]event.Event{
		"epoll_ctl": {Kind: event.KindEpollCtl, Call: event.CallEpollCtl, Op: event.CtlDel, EpFD: 4, EpollAddr: epollAddr},
		"read":      {Kind: event.KindRead, Call: event.CallRead, EpFD: event.NoFD},
		"accept":    {Kind: event.KindAccept, Call: event.CallAccept4, EpFD: event.NoFD},
		"dup":       {Kind: event.KindDup, Call: event.CallDup, EpFD: event.NoFD},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := connected(t, etMask)
			s.dup(5, 6, event.CallDup)
			s.close(5, connFile)
			ev.FD, ev.Ret, ev.Start = 5, badFD, s.now
			s.play(ev)
			if s.tl.Names(Descriptor{pid, 5}) {
				t.Error("a descriptor that the kernel refused is taken to name a file")
			}
		})
	}
}

func TestClosedByIsUnknownAcrossAGap(t *testing.T) {
	s, _, i := connected(t, event.In)
	s.dup(5, 6, event.CallDup)
	s.close(5, connFile)
	s.play(event.Event{Kind: event.KindSignal, FD: event.NoFD, EpFD: event.NoFD, Lost: 1})
	if _, closed := i.ClosedBy(pid); closed {
		t.Error("records were lost, and dup2 may have been among them")
	}
}

// Nothing known holds the file, but its item is handed out: the file lives.
func TestEventOfAFileTakenForClosed(t *testing.T) {
	s, f, i := connected(t, event.In)
	s.close(5, connFile)
	if !f.Ended || !i.Ended {
		t.Fatal("the last known descriptor was closed, and the file lives")
	}
	s.enter()
	s.now = s.now.Add(100 * time.Millisecond)
	s.deliver(event.In, 5)
	again := s.tl.Subject().Interest
	if again == nil || again == i || again.File == f || again.File.Sock != f.Sock || again.Mask != i.Mask {
		t.Fatalf("the event is of %+v", again)
	}
	if _, closed := again.ClosedBy(pid); !closed {
		t.Error("that its descriptor was closed is forgotten")
	}
	s.enter()
	s.deliver(event.In, 5)
	if s.tl.Subject().Interest != again {
		t.Error("the next event is of another item")
	}
}

func TestEventOfAClosedFileMayBeStale(t *testing.T) {
	for name, play := range map[string]func(*script){
		"the wait had begun before the close": func(s *script) {
			s.enter()
			s.close(5, connFile)
			s.now = s.now.Add(100 * time.Millisecond)
		},
		"the kernel is just putting it down": func(s *script) {
			s.close(5, connFile)
			s.enter()
		},
		"it was the last reference": func(s *script) {
			s.play(event.Event{Kind: event.KindClose, Call: event.CallClose, FD: 5, EpFD: event.NoFD, FileAddr: connFile, Start: s.now, Flags: event.Last})
			s.enter()
			s.now = s.now.Add(100 * time.Millisecond)
		},
		"its address is another file's": func(s *script) {
			s.close(5, connFile)
			s.accept(7, connFile, 0x53)
			s.enter()
			s.now = s.now.Add(100 * time.Millisecond)
		},
		"it was long ago": func(s *script) {
			s.close(5, connFile)
			s.now = s.now.Add(2 * time.Second)
			s.enter()
			s.now = s.now.Add(100 * time.Millisecond)
		},
	} {
		s, _, _ := connected(t, event.In)
		play(s)
		s.deliver(event.In, 5)
		if i := s.tl.Subject().Interest; i != nil {
			t.Errorf("%s: the event is of %+v", name, i)
		}
	}
}

// The kernel closes the connection inside the close, so a child that was forked does not hold it.
func TestCloseThatSendsTheFIN(t *testing.T) {
	s, f, _ := connected(t, event.In)
	s.play(event.Event{Kind: event.KindFork, FD: event.NoFD, EpFD: event.NoFD, Ret: 200})
	if !f.Shared {
		t.Fatal("the child may hold it")
	}
	start := s.now
	s.play(event.Event{Kind: event.KindState, FD: event.NoFD, EpFD: event.NoFD, TID: tid, SockAddr: connSock, OldState: event.Established, NewState: event.FinWait1})
	s.play(event.Event{Kind: event.KindClose, Call: event.CallClose, FD: 5, EpFD: event.NoFD, FileAddr: connFile, Start: start})
	if !f.Ended || f.EndedBy != EndClose {
		t.Errorf("ended %v by %v", f.Ended, f.EndedBy)
	}
}

func TestFormerThread(t *testing.T) {
	s, _, i := connected(t, event.In)
	thread := func(tid uint32) {
		s.play(event.Event{Kind: event.KindWaitReturn, TID: tid, FD: event.NoFD, EpFD: 4, EpollAddr: epollAddr, Start: s.now, Ret: 1})
		s.play(event.Event{Kind: event.KindDeliver, TID: tid, FD: event.NoFD, EpFD: 4, EpollAddr: epollAddr, Events: event.In, Data: 5})
	}
	thread(101)
	if i.Former != nil {
		t.Error("nobody had it before")
	}
	first := i.LastDelivery
	thread(102)
	thread(102)
	if i.Former == nil || i.Former.TID != 101 || i.FormerDelivery != first || i.Deliverer.TID != 102 {
		t.Errorf("before thread 102 thread %+v had it", i.Former)
	}
}
