package timeline

import (
	"testing"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline/timelinetest"
)

// script plays events one by one, a microsecond apart, and keeps what was observed. Every script is validated.
type script struct {
	t       *testing.T
	tl      *Timeline
	now     event.Time
	seen    []event.Event
	matches []Match
	during  func(*event.Event) // called while an event is observed
	valid   timelinetest.Validator
}

func newScript(t *testing.T) *script {
	t.Helper()
	s := &script{t: t, now: 1_000_000_000}
	s.tl = New(Options{
		Observe: func(ev *event.Event) {
			s.valid.Observe(ev)
			s.seen = append(s.seen, *ev)
			if s.during != nil {
				s.during(ev)
			}
		},
		Matched: func(m Match) {
			s.valid.Matched(m.Read, m.Recv, m.Bytes)
			s.matches = append(s.matches, m)
		},
	})
	t.Cleanup(func() {
		s.tl.Close(0)
		s.valid.Finish()
		if err := s.valid.Err(); err != nil {
			t.Errorf("no kernel produces this history: %v", err)
		}
	})
	return s
}

const (
	pid = 100
	tid = 100
)

// play adds one event, completes what is left out, releases it and returns it as it was observed.
func (s *script) play(ev event.Event) event.Event {
	s.t.Helper()
	if ev.Time == 0 {
		s.now += 1000
		ev.Time = s.now
	}
	s.now = max(s.now, ev.Time)
	if ev.PID == 0 {
		ev.PID = pid
	}
	if ev.TID == 0 && !ev.Kind.Kernel() || ev.Kind == event.KindRecv && ev.TID == 0 {
		ev.TID = tid
	}
	n := len(s.seen)
	s.tl.Add(&ev)
	s.tl.release(s.now + 1)
	if len(s.seen) != n+1 {
		s.t.Fatalf("playing %v: %d events were observed, want 1", ev.Kind, len(s.seen)-n)
	}
	return s.seen[n]
}

// Addresses of the usual connection.
const (
	epollAddr    = 0xe1
	listenerFile = 0xf1
	listenerSock = 0x51
	connFile     = 0xf2
	connSock     = 0x52
)

func (s *script) create() {
	s.play(event.Event{Kind: event.KindEpollCreate, FD: event.NoFD, EpFD: event.NoFD, Ret: 4, EpollAddr: epollAddr})
}

func (s *script) accept(fd int32, file, sock event.Addr) *File {
	s.play(event.Event{Kind: event.KindState, FD: event.NoFD, EpFD: event.NoFD, SockAddr: sock, OldState: event.SynRecv, NewState: event.Established})
	start := s.now + 1
	s.now += 10
	s.play(event.Event{Kind: event.KindAccept, FD: 3, EpFD: event.NoFD, Start: start, FileAddr: listenerFile, NewFileAddr: file,
		SockAddr: sock, Ret: int64(fd)})
	return s.tl.Subject().NewFile
}

func (s *script) ctl(op uint8, fd int32, file, sock event.Addr, mask event.Mask) *Interest {
	ev := event.Event{Kind: event.KindEpollCtl, Op: op, EpFD: 4, EpollAddr: epollAddr, FD: fd, FileAddr: file, SockAddr: sock,
		Events: mask, Data: uint64(fd)}
	if op == event.CtlAdd {
		ev.Flags = event.HasUnread // nothing has come yet
	}
	s.play(ev)
	return s.tl.Subject().Interest
}

func (s *script) wakeup(unread uint32, mask event.Mask, flags event.Flags) {
	s.play(event.Event{Kind: event.KindWakeup, EpFD: 4, EpollAddr: epollAddr, FD: 5, FileAddr: connFile, SockAddr: connSock, Events: mask,
		Key: event.In | event.RdNorm, Data: 5, Unread: unread, Flags: flags | event.HasUnread})
}

func (s *script) enter() {
	s.play(event.Event{Kind: event.KindWaitEnter, FD: event.NoFD, EpFD: 4, EpollAddr: epollAddr, Timeout: -1, MaxEvents: 32})
}

// deliver returns from a wait that began at the last wait-enter, with these items.
func (s *script) deliver(mask event.Mask, data ...uint64) {
	start := s.now
	if th := s.tl.threads[tid]; th != nil && th.Entered.Seq != 0 {
		start = th.Entered.Time
	}
	s.play(event.Event{Kind: event.KindWaitReturn, FD: event.NoFD, EpFD: 4, EpollAddr: epollAddr, Start: start, Ret: int64(len(data))})
	for _, d := range data {
		s.play(event.Event{Kind: event.KindDeliver, FD: event.NoFD, EpFD: 4, EpollAddr: epollAddr, Events: mask, Data: d})
	}
}

func (s *script) recv(n int64, unread uint32, flags event.Flags) {
	s.play(event.Event{Kind: event.KindRecv, FD: event.NoFD, EpFD: event.NoFD, SockAddr: connSock, Ret: n, Unread: unread,
		Flags: flags | event.HasUnread})
}

func (s *script) read(n int64, within event.Time) event.Event {
	return s.play(event.Event{Kind: event.KindRead, Call: event.CallRead, FD: 5, EpFD: event.NoFD, FileAddr: connFile, SockAddr: connSock,
		Start: s.now - within, Ret: n})
}

func (s *script) close(fd int32, file event.Addr) {
	s.play(event.Event{Kind: event.KindClose, Call: event.CallClose, FD: fd, EpFD: event.NoFD, FileAddr: file, Start: s.now})
}

const etMask = event.In | event.RdHup | event.ET

// connected is a script with an instance and one connection, fd 5, in its interest list.
func connected(t *testing.T, mask event.Mask) (*script, *File, *Interest) {
	t.Helper()
	s := newScript(t)
	s.create()
	f := s.accept(5, connFile, connSock)
	i := s.ctl(event.CtlAdd, 5, connFile, connSock, mask)
	return s, f, i
}
