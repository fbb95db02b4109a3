package timeline

import (
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

func TestDeliveryFindsItsFile(t *testing.T) {
	s, f, i := connected(t, etMask)
	s.enter()
	s.wakeup(20, etMask, 0)
	s.deliver(event.In, 5)
	ev := s.seen[len(s.seen)-1]
	if ev.File != f.ID || ev.FD != 5 || ev.Sock != f.Sock.ID || ev.Epoll != i.Epoll.ID {
		t.Errorf("the delivery names file %d, fd %d, socket %d", ev.File, ev.FD, ev.Sock)
	}
	if i.LastDelivery.Seq != ev.Seq || i.Delivered != event.In || i.Deliverer == nil {
		t.Errorf("the item does not know its delivery: %+v", i)
	}
}

func TestItemsWithTheSameDataAreNotGuessed(t *testing.T) {
	s, _, i := connected(t, etMask)
	s.accept(6, 0xf9, 0x59)
	s.play(event.Event{Kind: event.KindEpollCtl, Op: event.CtlAdd, EpFD: 4, EpollAddr: epollAddr, FD: 6, FileAddr: 0xf9, Events: etMask, Data: 5})
	s.enter()
	s.deliver(event.In, 5)
	ev := s.seen[len(s.seen)-1]
	if !ev.Has(event.Ambiguous) || ev.File != 0 || ev.FD != event.NoFD {
		t.Errorf("the delivery is %+v, want it ambiguous and without a file", ev)
	}
	if i.Told() || i.Due() != Unknown {
		t.Errorf("told %v, due %v: it is not known which item it was", i.Told(), i.Due())
	}
	// With one of them gone the other is known again.
	s.ctl(event.CtlDel, 6, 0xf9, 0x59, 0)
	s.enter()
	s.deliver(event.In, 5)
	if ev := s.seen[len(s.seen)-1]; ev.Has(event.Ambiguous) || ev.FD != 5 {
		t.Errorf("after the DEL the delivery is %+v", ev)
	}
}

func TestOneShotArms(t *testing.T) {
	mask := etMask | event.OneShot
	s, _, i := connected(t, mask)
	want := func(what string, v Tri) {
		t.Helper()
		if got := i.Armed(); got != v {
			t.Errorf("%s: armed is %v, want %v", what, got, v)
		}
	}
	want("after ADD", Yes)
	s.enter()
	s.wakeup(20, mask, 0)
	s.deliver(event.In, 5)
	want("after the delivery", No)
	s.wakeup(27, event.ET|event.OneShot, event.Disarmed)
	want("after an ignored wakeup", No)
	if i.Due() != No {
		t.Errorf("a wakeup that the kernel ignored has made the item due: %v", i.Due())
	}
	s.ctl(event.CtlMod, 5, connFile, connSock, mask)
	want("after MOD", Yes)
	if i.Due() != Yes {
		t.Errorf("27 bytes are unread at the MOD, due is %v", i.Due())
	}
	if !i.Wants(event.RdHup) {
		t.Errorf("the mask has become %v", i.Mask)
	}
}

func TestItemWithoutOneShotIsAlwaysArmed(t *testing.T) {
	s, _, i := connected(t, etMask)
	s.enter()
	s.wakeup(20, etMask, 0)
	s.deliver(event.In, 5)
	if i.Armed() != Yes {
		t.Errorf("armed is %v, want yes", i.Armed())
	}
}

func TestDisarmedItemFromBeforeTheTrace(t *testing.T) {
	s := newScript(t)
	s.wakeup(7, event.ET|event.OneShot, event.Disarmed)
	i := s.tl.Subject().Interest
	if i == nil || i.Armed() != No || i.Told() || i.Added.Seq != 0 {
		t.Errorf("the item is %+v, want known as disarmed and nothing else", i)
	}
}

func TestDue(t *testing.T) {
	s, _, i := connected(t, etMask)
	want := func(what string, v Tri) {
		t.Helper()
		if got := i.Due(); got != v {
			t.Errorf("%s: due is %v, want %v", what, got, v)
		}
	}
	s.enter()
	s.wakeup(20, etMask, event.Filtered)
	want("after a filtered wakeup", No)
	s.wakeup(20, etMask, 0)
	want("after a wakeup", Yes)
	s.wakeup(24, etMask, event.Coalesced)
	s.deliver(event.In, 5)
	want("after the delivery", No)

	s.wakeup(30, etMask, 0)
	s.enter()
	want("when the wait that will deliver begins", Yes)
	s.wakeup(40, etMask, 0) // the item was harvested between the two, and is on the list again
	s.deliver(event.In, 5)
	want("after a second queueing within the wait", Yes)

	s.enter()
	s.deliver(event.In)
	want("after a wait that came back without it", No)

	s.wakeup(50, etMask, 0)
	want("after a new wakeup", Yes)
	s.enter()
	if got := i.DueAt(s.now.Add(time.Second)); got != No {
		t.Errorf("a wait sleeps for a second: due is %v, want no", got)
	}
	s.deliver(event.In, 5)
}

func TestLevelTriggeredItemStaysDue(t *testing.T) {
	mask := event.In | event.RdHup
	s, _, i := connected(t, mask)
	s.enter()
	s.wakeup(20, mask, 0)
	s.deliver(event.In, 5)
	if i.Due() != Yes {
		t.Errorf("after its delivery a level-triggered item is due: %v, want yes", i.Due())
	}
}

func TestFailedCtlChangesNothing(t *testing.T) {
	s, _, i := connected(t, etMask)
	s.play(event.Event{Kind: event.KindEpollCtl, Op: event.CtlMod, EpFD: 4, EpollAddr: epollAddr, FD: 5, FileAddr: connFile,
		Events: event.Out, Data: 99, Ret: -2})
	if i.Mask != etMask|event.Err|event.Hup || i.Data != 5 {
		t.Errorf("a MOD that failed has made the item %v, data %d", i.Mask, i.Data)
	}
}

// TestDeliveryOfOneThatAskedForIt: of two items with the same data only one may have asked for what was handed out.
func TestDeliveryOfOneThatAskedForIt(t *testing.T) {
	s, _, conn := connected(t, etMask)
	s.play(event.Event{Kind: event.KindEpollCtl, Op: event.CtlAdd, EpFD: 4, EpollAddr: epollAddr, FD: 9, FileAddr: 0xf9, Events: event.In | event.ET, Data: 5})
	s.enter()
	s.deliver(event.In|event.RdHup|event.Hup, 5)
	if s.tl.Subject().Interest != conn || !conn.Told() || conn.File.Told.Seq == 0 {
		t.Errorf("EPOLLRDHUP is taken for somebody else's than the one who asked for it: %+v", s.tl.Subject())
	}
	s.enter()
	s.deliver(event.In, 5)
	if ev := s.seen[len(s.seen)-1]; s.tl.Subject().Interest != nil || !ev.Has(event.Ambiguous) || ev.FD != event.NoFD {
		t.Errorf("EPOLLIN is not ambiguous: %+v", ev)
	}
	// A third one, which is disarmed, cannot have been it.
	once := s.ctl(event.CtlAdd, 10, 0xfa, 0, event.In|event.OneShot)
	s.enter()
	s.deliver(event.In, 10)
	s.play(event.Event{Kind: event.KindEpollCtl, Op: event.CtlAdd, EpFD: 4, EpollAddr: epollAddr, FD: 11, FileAddr: 0xfb, Events: event.In, Data: 10})
	s.enter()
	s.deliver(event.In, 10)
	if i := s.tl.Subject().Interest; i == nil || i == once || i.FD != 11 {
		t.Errorf("the delivery is of %+v", i)
	}
}

// TestInputSinceWhen: the oldest unread byte came when there was nothing before it, and the program is told by a delivery or
// by its own look.
func TestInputSinceWhen(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.enter()
	s.wakeup(4, etMask, 0)
	first := f.Sock.Filled
	s.wakeup(8, etMask, event.Coalesced)
	if first.Seq == 0 || f.Sock.Filled != first || f.Told.Seq != 0 {
		t.Fatalf("filled at %+v, then %+v; told at %+v", first, f.Sock.Filled, f.Told)
	}
	s.deliver(event.In, 5)
	if f.Told.Seq <= first.Seq {
		t.Error("the delivery did not tell")
	}
	s.recv(8, 0, 0)
	s.read(8, 2000)
	told := f.Told
	if told.Seq != s.seen[len(s.seen)-1].Seq {
		t.Error("the read was no look")
	}
	s.wakeup(1, etMask, 0)
	if f.Sock.Filled.Seq <= told.Seq {
		t.Error("input after an empty queue is not new")
	}
	s.write(3)
	if f.LastWrite.Seq != s.seen[len(s.seen)-1].Seq || f.Told != told {
		t.Errorf("written at %+v, told at %+v", f.LastWrite, f.Told)
	}
}

// TestWakeupsOfTheDying: the kernel wakes items for a moment after the program's close or exit was recorded, and that makes
// nothing new.
func TestWakeupsOfTheDying(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.play(event.Event{Kind: event.KindExit, FD: event.NoFD, EpFD: event.NoFD, Flags: event.Last})
	files, epolls := s.tl.stats.Files, s.tl.stats.Epolls
	s.wakeup(7, etMask, 0)
	if n, known := f.Sock.Unread(); s.tl.stats.Files != files || s.tl.stats.Epolls != epolls || s.tl.Subject().File != f || n != 7 || !known {
		t.Errorf("after the exit a wakeup makes %d files and %d instances, and %d bytes unread", s.tl.stats.Files-files, s.tl.stats.Epolls-epolls, n)
	}
	if len(f.Interests) > 0 {
		t.Error("it makes an item")
	}
}

// TestAddressesAreUsedAgain: a call that began after the end means a new file, or a new instance, at the same address.
func TestAddressesAreUsedAgain(t *testing.T) {
	s, f, i := connected(t, etMask)
	s.close(5, connFile)
	again := s.ctl(event.CtlAdd, 5, connFile, connSock, etMask)
	if again == nil || again.File == f || again.File.Ended {
		t.Errorf("a new file at the old address is %+v", again)
	}
	s.close(4, 0)
	if !i.Epoll.Ended {
		t.Fatal("the instance has not ended")
	}
	s.play(event.Event{Kind: event.KindWaitEnter, FD: event.NoFD, EpFD: 4, EpollAddr: epollAddr, Timeout: -1})
	if ep := s.tl.Subject().Epoll; ep == i.Epoll || ep == nil || ep.Ended {
		t.Errorf("a new instance at the old address is %+v", ep)
	}
}
