package server

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// Facts is what one observed run of a variant gave.
type Facts struct {
	// Events are all events of the server's process in the timeline's order, waits included, and the kernel's for its
	// sockets, with their IDs.
	Events      []event.Event
	ServerLines []string
	Client      ClientResult
	Tables      []MomentTable
}

// MomentTable is the socket table at one moment of the client's script.
type MomentTable struct {
	Moment  string
	Sockets []SocketRow
}

// SocketRow is one TCP socket as the kernel lists it.
type SocketRow struct {
	State       event.State
	Local, Peer netip.AddrPort
	RecvQueue   uint32 // as netstat shows it: the bytes, and one for an unread FIN
	Unread      uint32 // the bytes alone
	FIN         bool   // the FIN is unread
}

// lost returns how many records are missing.
func (f *Facts) lost() uint64 {
	var n uint64
	for i := range f.Events {
		n += uint64(f.Events[i].Lost)
	}
	return n
}

// row finds the server's end of the connection in the table of a moment.
func (f *Facts) row(moment string) (SocketRow, bool) {
	for _, t := range f.Tables {
		if t.Moment != moment {
			continue
		}
		for _, s := range t.Sockets {
			if s.Local == f.Client.Remote && s.Peer == f.Client.Local {
				return s, true
			}
		}
	}
	return SocketRow{}, false
}

// story is the life of the client's connection in the server, from its accept on.
type story struct {
	*Facts
	accept event.Event
	fd     int32
	file   event.FileID
	sock   event.SockID
	events []event.Event // of the connection, and its thread's waits
	turns  []turn
	stray  []event.Event // reads that no delivery led to
}

// turn is one delivery of the connection and what the thread did with it until its next wait or delivery.
type turn struct {
	deliver event.Event
	reads   []event.Event
	ctls    []event.Event
}

// results returns what the turn's reads returned.
func (t turn) results() []int64 {
	r := make([]int64, len(t.reads))
	for i, e := range t.reads {
		r[i] = e.Ret
	}
	return r
}

// tell finds the connection's story. It reports false when the server accepted nothing.
func tell(f *Facts) (*story, bool) {
	at := -1
	for i := range f.Events {
		if e := &f.Events[i]; e.Kind == event.KindAccept && e.Ret >= 0 && f.couldBe(e) {
			at = i
			break
		}
	}
	if at < 0 {
		return nil, false
	}
	a := f.Events[at]
	s := &story{Facts: f, accept: a, fd: int32(a.Ret), file: a.NewFile, sock: a.Sock}
	s.collect(f.Events[at+1:])
	s.split()
	return s, true
}

// couldBe tells another client's accept apart, where the accept knows its peer.
func (f *Facts) couldBe(accept *event.Event) bool {
	return !accept.Peer.IsValid() || !f.Client.Local.IsValid() || accept.Peer == f.Client.Local
}

func (s *story) collect(rest []event.Event) {
	for _, e := range rest {
		wait := (e.Kind == event.KindWaitEnter || e.Kind == event.KindWaitReturn) && e.TID == s.accept.TID
		if wait || e.Kind == event.KindSignal || e.Kind == event.KindExit || s.owns(&e) {
			s.events = append(s.events, e)
		}
	}
}

// owns reports whether e is about the connection: by its file, its socket or its addresses, and by descriptor only where
// the event knows none of them. It learns the file and the socket from the first event that has them.
func (s *story) owns(e *event.Event) bool {
	mine := false
	switch {
	case e.File != 0 && s.file != 0:
		mine = e.File == s.file
	case e.Sock != 0 && s.sock != 0:
		mine = e.Sock == s.sock
	case e.Peer.IsValid() && e.Local.IsValid() && s.Client.Local.IsValid():
		mine = e.Peer == s.Client.Local && e.Local == s.Client.Remote
	case !e.Kind.Kernel(), e.Kind == event.KindWakeup && !e.Has(event.Listener):
		mine = e.FD == s.fd
	}
	if mine && s.file == 0 {
		s.file = e.File
	}
	if mine && s.sock == 0 {
		s.sock = e.Sock
	}
	return mine
}

func (s *story) split() {
	open := false
	for _, e := range s.events {
		switch e.Kind {
		case event.KindDeliver:
			s.turns = append(s.turns, turn{deliver: e})
			open = true
		case event.KindWaitEnter:
			open = false
		case event.KindRead:
			if !open {
				s.stray = append(s.stray, e)
				continue
			}
			t := &s.turns[len(s.turns)-1]
			t.reads = append(t.reads, e)
		case event.KindEpollCtl:
			if open {
				t := &s.turns[len(s.turns)-1]
				t.ctls = append(t.ctls, e)
			}
		}
	}
}

// all returns the connection's events of one kind that keep says yes to.
func (s *story) all(kind event.Kind, keep func(*event.Event) bool) []event.Event {
	var es []event.Event
	for i := range s.events {
		if e := &s.events[i]; e.Kind == kind && (keep == nil || keep(e)) {
			es = append(es, *e)
		}
	}
	return es
}

// arrivals are the wakeups by input that the kernel did not ignore. The FIN's are not among them: their number differs
// between kernels and between the ways to see them.
func (s *story) arrivals() []event.Event {
	return s.beforeFIN(func(e *event.Event) bool {
		return !e.Has(event.Disarmed) && !e.Has(event.Filtered)
	})
}

func (s *story) beforeFIN(keep func(*event.Event) bool) []event.Event {
	fin := s.finTime()
	return s.all(event.KindWakeup, func(e *event.Event) bool {
		return !e.Has(event.FIN) && (fin == 0 || e.Time < fin) && keep(e)
	})
}

// finTime returns when the client's FIN came, 0 when it was not seen.
func (s *story) finTime() event.Time {
	if e, ok := s.closeWait(); ok {
		return e.Time
	}
	return 0
}

// closeWait returns the change to CLOSE_WAIT.
func (s *story) closeWait() (event.Event, bool) { return s.entered(event.CloseWait) }

func (s *story) entered(state event.State) (event.Event, bool) {
	es := s.all(event.KindState, func(e *event.Event) bool { return e.NewState == state })
	if len(es) == 0 {
		return event.Event{}, false
	}
	return es[0], true
}

// inputTurns are the deliveries before the hang-up.
func (s *story) inputTurns() []turn {
	var ts []turn
	for _, t := range s.turns {
		if t.deliver.Events&(event.RdHup|event.Hup) == 0 {
			ts = append(ts, t)
		}
	}
	return ts
}

// hangUpTurn returns the delivery that told of the hang-up, if there was exactly one.
func (s *story) hangUpTurn() (turn, bool) {
	var ts []turn
	for _, t := range s.turns {
		if t.deliver.Events&(event.RdHup|event.Hup) != 0 {
			ts = append(ts, t)
		}
	}
	if len(ts) != 1 {
		return turn{}, false
	}
	return ts[0], true
}

// closing returns the server's close of the connection.
func (s *story) closing() (event.Event, bool) {
	es := s.all(event.KindClose, func(e *event.Event) bool { return e.Ret == 0 })
	if len(es) == 0 {
		return event.Event{}, false
	}
	return es[0], true
}

// again is what a read of an empty non-blocking socket returns.
const again = -int64(unix.EAGAIN)

func seqs(groups ...[]event.Event) []uint64 {
	var n []uint64
	for _, g := range groups {
		for _, e := range g {
			n = append(n, e.Seq)
		}
	}
	return n
}
