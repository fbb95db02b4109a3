package timeline

import (
	"testing"

	"github.com/epwatch/epwatch/internal/event"
)

func TestThreadMovesOn(t *testing.T) {
	s, _, i := connected(t, etMask)
	s.enter()
	th := s.tl.threads[tid]
	if th.Wait != Waiting || th.InWait != i.Epoll || i.Epoll.Waiting != 1 {
		t.Fatalf("in its wait the thread is %+v, and %d wait", th, i.Epoll.Waiting)
	}
	s.wakeup(20, etMask, 0)
	s.deliver(event.In, 5)
	if th.Wait != Running || i.Epoll.Waiting != 0 || len(th.Handling) != 1 || th.MovedOn(i.LastDelivery) {
		t.Fatalf("handling its delivery the thread is %+v", th)
	}
	s.enter()
	if !th.MovedOn(i.LastDelivery) || len(th.Handling) != 1 || th.FreeSince() != s.now {
		t.Errorf("back in its wait the thread is %+v", th)
	}
	s.deliver(event.In)
	if len(th.Handling) != 0 {
		t.Errorf("the thread handles %d items of the wait before", len(th.Handling))
	}
}

func TestEndedThreadHasMovedOn(t *testing.T) {
	s, _, i := connected(t, etMask)
	s.enter()
	s.wakeup(20, etMask, 0)
	s.deliver(event.In, 5)
	s.play(event.Event{Kind: event.KindExit, FD: event.NoFD, EpFD: event.NoFD})
	if !i.Deliverer.Ended || !i.Deliverer.MovedOn(i.LastDelivery) {
		t.Error("a thread that has ended still handles its delivery")
	}
	if s.tl.Stats().Open.Threads != 0 {
		t.Error("a thread that has ended is still held")
	}
}

func TestPollingWaitDoesNotSleep(t *testing.T) {
	s, _, i := connected(t, etMask)
	s.play(event.Event{Kind: event.KindWaitEnter, FD: event.NoFD, EpFD: 4, EpollAddr: epollAddr, MaxEvents: 32})
	if i.Epoll.Waiting != 0 {
		t.Error("a wait with a zero time-out counts as sleeping")
	}
	s.deliver(event.In)
	if i.Epoll.Waiting != 0 {
		t.Errorf("%d threads wait, want none", i.Epoll.Waiting)
	}
}

// Wakeups, states and resets carry whoever was interrupted.
func TestInterruptedThreadIsNotTheActor(t *testing.T) {
	s, _, _ := connected(t, etMask)
	s.tl.Add(event.Event{Kind: event.KindWakeup, Time: s.now + 1, PID: pid, TID: 7777, FD: 5, EpFD: event.NoFD, EpollAddr: epollAddr,
		FileAddr: connFile, SockAddr: connSock, Events: etMask, Data: 5})
	s.tl.release(maxTime)
	if s.tl.Subject().Thread != nil || s.tl.threads[7777] != nil {
		t.Error("a wakeup was put down to the thread it interrupted")
	}
}
