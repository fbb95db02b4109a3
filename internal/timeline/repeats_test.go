package timeline

import (
	"testing"

	"github.com/epwatch/epwatch/internal/event"
)

const ltMask = event.In | event.RdHup

// spinning is a connection whose level-triggered item was handed out twice with nothing in between.
func spinning(t *testing.T) (*script, *File, *Interest) {
	t.Helper()
	s, f, i := connected(t, ltMask)
	s.enter()
	s.wakeup(20, ltMask, 0)
	s.deliver(event.In, 5)
	if i.Idle() {
		t.Error("the first delivery after a wakeup says something new")
	}
	s.enter()
	s.deliver(event.In, 5)
	if !i.Idle() {
		t.Fatal("the second delivery says nothing new")
	}
	return s, f, i
}

func TestRepeatedDelivery(t *testing.T) {
	again := func(s *script) {
		s.enter()
		s.deliver(event.In, 5)
	}
	for what, test := range map[string]struct {
		happens func(*script)
		idle    bool
		stays   bool // since the first delivery
	}{
		"nothing":     {func(s *script) { again(s) }, true, true},
		"EAGAIN":      {func(s *script) { s.read(-11, 0); again(s) }, true, true},
		"a peek":      {func(s *script) { s.recv(4, 20, event.Peek); s.read(0, 0); again(s) }, true, true},
		"a receive":   {func(s *script) { s.recv(4, 16, 0); s.read(4, 0); again(s) }, false, true},
		"a wakeup":    {func(s *script) { s.wakeup(30, ltMask, event.Coalesced); again(s) }, false, true},
		"an ignored":  {func(s *script) { s.wakeup(30, ltMask, event.Filtered); again(s) }, true, true},
		"the same":    {func(s *script) { s.ctl(event.CtlMod, 5, connFile, connSock, ltMask); again(s) }, true, true},
		"other mask":  {func(s *script) { s.ctl(event.CtlMod, 5, connFile, connSock, event.In); again(s) }, false, true},
		"a miss":      {func(s *script) { s.enter(); s.deliver(event.In); again(s) }, false, false},
		"sleep alone": {func(s *script) { s.enter(); s.woken(); s.deliver(event.In, 5) }, true, true},
		"sleep, wakeup": {func(s *script) {
			s.enter()
			s.wakeup(30, ltMask, 0)
			s.woken()
			s.deliver(event.In, 5)
		}, false, false},
	} {
		t.Run(what, func(t *testing.T) {
			s, _, i := spinning(t)
			ready := i.Ready
			test.happens(s)
			if i.Idle() != test.idle || (i.Ready == ready) != test.stays {
				t.Errorf("idle is %v, ready since %v; want %v, and %v of %v", i.Idle(), i.Ready, test.idle, test.stays, ready)
			}
		})
	}
}

func (s *script) woken() {
	s.play(event.Event{Kind: event.KindWoken, TID: tid, FD: event.NoFD, EpFD: event.NoFD, EpollAddr: epollAddr})
}

// What is read after the delivery makes it one that something came of.
func TestAnsweredDeliveryIsNotIdle(t *testing.T) {
	s, f, i := spinning(t)
	s.recv(4, 16, 0)
	if i.Idle() || f.Taken.Seq == 0 {
		t.Errorf("idle %v, taken %v", i.Idle(), f.Taken)
	}
}

// An edge-triggered item is handed out for each wakeup, seen or not; only a MOD makes a socket's item ready without one.
func TestRepeatedEdge(t *testing.T) {
	s, _, i := connected(t, etMask)
	s.wakeup(20, etMask, 0)
	for range 3 {
		s.enter()
		s.deliver(event.In, 5)
	}
	if i.Idle() {
		t.Error("an edge-triggered item repeats")
	}
	s.ctl(event.CtlMod, 5, connFile, connSock, etMask)
	s.enter()
	s.deliver(event.In, 5)
	if !i.Idle() {
		t.Error("a MOD with the same mask is something new")
	}
}

func TestFileTypes(t *testing.T) {
	s := newScript(t)
	s.create()
	if f := s.ctl(event.CtlAdd, 7, 0xf7, 0, event.In).File; f.Type != FileOther {
		t.Errorf("a file without a socket is %v", f.Type)
	}
	if f := s.ctl(event.CtlAdd, 5, connFile, connSock, event.In).File; f.Type != FileSocket {
		t.Errorf("a socket is %v", f.Type)
	}
	s.play(event.Event{Kind: event.KindEpollCtl, Op: event.CtlAdd, EpFD: 4, EpollAddr: epollAddr, FD: 9, FileAddr: 0xf9,
		Flags: event.IsEpoll, Events: event.In, Data: 9})
	if f := s.tl.Subject().File; f.Type != FileEpoll {
		t.Errorf("an epoll instance is %v", f.Type)
	}
}

func TestLastTurn(t *testing.T) {
	s, _, i := connected(t, ltMask)
	s.enter()
	entered := s.now
	s.wakeup(20, ltMask, 0)
	s.woken()
	th := s.tl.threads[tid]
	if th.WokenBy != i {
		t.Errorf("woken by %v", th.WokenBy)
	}
	s.deliver(event.In, 5)
	if want := (Turn{Entered: entered, Items: 1, Slept: true}); th.Last != want {
		t.Errorf("the wait was %+v, want %+v", th.Last, want)
	}
	s.play(event.Event{Kind: event.KindWaitEnter, FD: event.NoFD, EpFD: 4, EpollAddr: epollAddr, MaxEvents: 32})
	entered = s.now
	s.deliver(event.In, 5)
	if want := (Turn{Entered: entered, Items: 1, Polling: true}); th.Last != want {
		t.Errorf("the wait was %+v, want %+v", th.Last, want)
	}
	if th.Asleep.Time >= entered || th.Asleep.Seq == 0 {
		t.Errorf("asked to sleep at %v, before %v", th.Asleep, entered)
	}
	// Another processor's wakeup, or one that is long over, picked nobody here.
	s.play(event.Event{Kind: event.KindWoken, TID: tid, CPU: 1, FD: event.NoFD, EpFD: event.NoFD, EpollAddr: epollAddr})
	if th.WokenBy != nil {
		t.Error("a wakeup of another processor picked the sleeper")
	}
	s.now += event.Time(2 * wakeTime)
	s.woken()
	if th.WokenBy != nil {
		t.Error("a wakeup of long ago picked the sleeper")
	}
}
