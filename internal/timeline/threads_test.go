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
	s.tl.Add(&event.Event{Kind: event.KindWakeup, Time: s.now + 1, PID: pid, TID: 7777, FD: 5, EpFD: event.NoFD, EpollAddr: epollAddr,
		FileAddr: connFile, SockAddr: connSock, Events: etMask, Data: 5})
	s.tl.release(maxTime)
	if s.tl.Subject().Thread != nil || s.tl.threads[7777] != nil {
		t.Error("a wakeup was put down to the thread it interrupted")
	}
}

// following is a script in which children are observed too.
func following(t *testing.T) (*script, *File, *Epoll) {
	t.Helper()
	s, f, i := connected(t, etMask)
	s.tl.opt.Follow = true
	return s, f, i.Epoll
}

func (s *script) as(pid uint32, ev event.Event) {
	ev.PID, ev.TID = pid, pid
	s.play(ev)
}

// TestForkSharesFilesAndInstances: what a fork gives to an observed child lives until its last holder lets it go.
func TestForkSharesFilesAndInstances(t *testing.T) {
	s, f, ep := following(t)
	s.play(event.Event{Kind: event.KindFork, FD: event.NoFD, EpFD: event.NoFD, Ret: 200})
	if len(f.FDs) != 2 || f.Shared || len(ep.FDs) != 2 {
		t.Fatalf("after the fork the file has %v, shared %t, and the instance %v", f.FDs, f.Shared, ep.FDs)
	}
	s.as(200, event.Event{Kind: event.KindWaitEnter, FD: event.NoFD, EpFD: 4, Timeout: -1})
	if s.tl.Subject().Epoll != ep {
		t.Error("the child's wait is not on its parent's instance")
	}
	s.close(5, connFile)
	if f.Ended {
		t.Error("the parent's close ended what the child holds")
	}
	s.as(200, event.Event{Kind: event.KindRead, Call: event.CallRead, FD: 5, EpFD: event.NoFD, Start: s.now, Ret: -11})
	if s.tl.Subject().File != f {
		t.Error("the child's descriptor names another file")
	}
	s.close(4, 0)
	if ep.Ended {
		t.Error("the parent's close ended the child's instance")
	}
	s.as(200, event.Event{Kind: event.KindExit, FD: event.NoFD, EpFD: event.NoFD, Flags: event.Last})
	if !f.Ended || f.EndedBy != EndExit || !ep.Ended {
		t.Errorf("after the last holder's exit: file ended %t by %d, instance ended %t", f.Ended, f.EndedBy, ep.Ended)
	}
}

// TestForkOfAnUnobservedChild: what an unobserved child may hold is not said to have ended.
func TestForkOfAnUnobservedChild(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.play(event.Event{Kind: event.KindFork, FD: event.NoFD, EpFD: event.NoFD, Ret: 200})
	s.close(5, connFile)
	if !f.Shared || f.Ended || s.tl.procs[200] != nil {
		t.Errorf("shared %t, ended %t, the child is known: %t", f.Shared, f.Ended, s.tl.procs[200] != nil)
	}
}

// TestExecForgetsDescriptors: some were closed on exec and some were not, so none is believed until it is used.
func TestExecForgetsDescriptors(t *testing.T) {
	s, f, ep := following(t)
	s.as(100, event.Event{Kind: event.KindWaitEnter, FD: event.NoFD, EpFD: 4, EpollAddr: epollAddr, Timeout: -1})
	s.play(event.Event{Kind: event.KindRead, TID: 101, Call: event.CallRead, FD: 5, EpFD: event.NoFD, FileAddr: connFile, Ret: -11})
	s.play(event.Event{Kind: event.KindExec, TID: 101, FD: event.NoFD, EpFD: event.NoFD})
	if len(f.FDs) > 0 || f.Ended || !ep.Ended || ep.Waiting != 0 {
		t.Errorf("the file has %v, ended %t; the instance ended %t with %d waiting", f.FDs, f.Ended, ep.Ended, ep.Waiting)
	}
	if s.tl.threads[100] != nil || s.tl.threads[101] == nil {
		t.Error("the other threads do not end with an exec, or its own does")
	}
	s.play(event.Event{Kind: event.KindRead, TID: 100, Call: event.CallRead, FD: 5, EpFD: event.NoFD, FileAddr: connFile, Ret: -11})
	if s.tl.Subject().File != f || f.FD() != 5 {
		t.Errorf("what survived the exec is not found again: fd %d", f.FD())
	}
	s.close(5, connFile)
	if f.Ended {
		t.Error("a close ends it, although other descriptors may have survived as well")
	}
	s.play(event.Event{Kind: event.KindRelease, FD: event.NoFD, EpFD: event.NoFD, FileAddr: connFile, SockAddr: connSock})
	if !f.Ended {
		t.Error("its release does not end it")
	}
}
