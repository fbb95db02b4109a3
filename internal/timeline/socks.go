package timeline

import (
	"net/netip"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// Sock is one socket. Pointers to it are stable and stay readable after its end.
type Sock struct {
	ID          event.SockID
	Addr        event.Addr
	Local, Peer netip.AddrPort
	// State is the TCP state, 0 when not known; StateAt is the event that gave it.
	State   event.State
	StateAt Mark
	// StateFound: the state was met in a snapshot, and since when it lasts is not known.
	StateFound bool
	Listening  bool
	// TCP: the kernel reported something of it that it reports for TCP only.
	TCP  bool
	File *File // nil while nothing has accepted or named it; stays after the file's end
	// Ended: it is in state CLOSE and no file holds it.
	Ended bool

	// FIN is when the peer's close was first seen; FINRead when the program read the end of the stream.
	FIN     Mark
	FINRead Mark
	// Arrived is the last arrival of input or a hang-up: a wakeup, or a queued connection.
	Arrived Mark
	// LastRecv is the last receive that moved something out of the queue; of messages, the read.
	LastRecv Mark
	// Filled is when the oldest input that is unread now was first seen, with nothing unread or nothing known before.
	Filled Mark
	// LastAccept is the last accept on a listener, and AcceptResult what it returned.
	LastAccept   Mark
	AcceptResult int64
	// Opened: this side opened the connection, and was seen to.
	Opened bool
	// ResetSeq is the event with which the kernel sent a reset for it, 0 if it did not.
	ResetSeq uint64

	t          *Timeline
	unread     uint32
	peeked     uint32 // of what is unread, how much the program has looked at
	unreadSeq  uint64
	backlog    uint32
	backlogSeq uint64
	finQueued  Tri  // the kernel's word on whether the FIN is still in the queue
	finSent    Mark // when this side closed or was shut down
	seen       event.Time
}

// Unread returns what is in the receive queue, and whether that is known: bytes for TCP, without the FIN, and messages for
// UDP and UNIX sockets, of which a partly read one counts in full.
func (s *Sock) Unread() (n uint32, known bool) {
	return s.unread, s.t.fresh(s.unreadSeq)
}

// Unseen returns how much of it the program has not even peeked at.
func (s *Sock) Unseen() (n uint32, known bool) {
	return s.unread - min(s.peeked, s.unread), s.t.fresh(s.unreadSeq)
}

// UnreadSeq returns the event that gave the number of unread bytes.
func (s *Sock) UnreadSeq() uint64 { return s.unreadSeq }

// FINUnread reports whether the peer's FIN stands unread in the receive queue. A read that takes the last bytes takes
// it along when both came in one segment, although the program learns of it only from the next read.
func (s *Sock) FINUnread() bool {
	if s.finQueued != Unknown {
		return s.finQueued == Yes
	}
	return s.EndUnseen()
}

// EndUnseen reports whether the peer has closed and no read has told the program.
func (s *Sock) EndUnseen() bool { return s.FIN.Seq != 0 && s.FINRead.Seq == 0 }

// learn takes what a kernel event says about the receive queue.
func (s *Sock) learn(ev *event.Event) {
	if ev.Has(event.Listener) {
		s.Listening = true
		if ev.Has(event.HasUnread) {
			s.setBacklog(ev.Unread, ev)
		}
		return
	}
	if ev.Has(event.HasUnread) {
		s.setUnread(ev.Unread, ev)
		if !s.TCP {
			ev.Flags |= event.Messages
		}
	}
	if ev.Flags&(event.FIN|event.FINUnread) == 0 {
		return
	}
	if s.FIN.Seq == 0 {
		s.FIN = markOf(ev)
	}
	if ev.Has(event.HasUnread) {
		s.finQueued = No
		if ev.Has(event.FINUnread) {
			s.finQueued = Yes
		}
	}
}

func (s *Sock) setUnread(n uint32, ev *event.Event) {
	if before, known := s.Unread(); n > 0 && (before == 0 || !known) {
		s.Filled = markOf(ev)
	}
	s.unread, s.unreadSeq = n, ev.Seq
	s.peeked = min(s.peeked, n)
}

// sock finds the socket that a kernel event means, new or ended ones included.
func (t *Timeline) sock(ev *event.Event) *Sock {
	if ev.SockAddr == 0 {
		if f := t.fileAt(ev.FileAddr, ev.Time); f != nil {
			return f.Sock
		}
		return nil
	}
	return t.sockAt(ev.SockAddr)
}

func (t *Timeline) sockAt(addr event.Addr) *Sock {
	if s := t.socks[addr]; s != nil {
		s.seen = t.now
		return s
	}
	return t.newSock(addr)
}

func (t *Timeline) newSock(addr event.Addr) *Sock {
	if old := t.socks[addr]; old != nil {
		t.endSock(old)
	}
	t.sockIDs++
	s := &Sock{ID: t.sockIDs, Addr: addr, t: t, seen: t.now}
	t.socks[addr] = s
	t.stats.Socks++
	return s
}

func (t *Timeline) endSock(s *Sock) {
	if s.Ended {
		return
	}
	s.Ended = true
	t.ended.addSock(s, t.now)
}

func (t *Timeline) attach(f *File, s *Sock) {
	if f == nil || s == nil || f.Sock == s {
		return
	}
	// The file that held the socket before can only be an earlier one: a socket has one file.
	if s.File != nil && s.File != f && !s.File.Ended {
		t.endFile(s.File, EndReused)
	}
	f.Sock, s.File = s, f
}

// state follows a TCP state change. The kernel reuses a struct sock at once, so a change that cannot follow what
// is known of this address means a new socket.
func (t *Timeline) state(ev *event.Event) {
	s := t.socks[ev.SockAddr]
	if ev.SockAddr == 0 {
		return
	}
	if s != nil && t.isOtherSock(s, ev) {
		s = nil
		if old := t.socks[ev.SockAddr]; old.File != nil && !old.File.Ended {
			t.endFile(old.File, EndReused)
		}
	}
	if s == nil {
		s = t.newSock(ev.SockAddr)
	}
	s.TCP = true
	s.seen = t.now
	t.sub.Sock = s
	if ev.Local.IsValid() {
		s.Local = ev.Local
	}
	if ev.Peer.IsValid() && ev.Peer.Port() != 0 {
		s.Peer = ev.Peer
	}
	s.State, s.StateAt, s.StateFound = ev.NewState, markOf(ev), false
	s.learn(ev)
	s.Listening = ev.NewState == event.Listen // the record is made just before the change, and learn believes it
	switch ev.NewState {
	case event.SynSent:
		s.Opened = true
	case event.Listen:
		s.setBacklog(0, ev) // listen begins with an empty queue
	case event.FinWait1, event.LastAck:
		s.finSent = markOf(ev)
	case event.CloseWait:
		if s.FIN.Seq == 0 {
			s.FIN = markOf(ev)
		}
	}
	if ev.NewState == event.Closed && (s.File == nil || s.File.Ended) {
		t.endSock(s)
	}
}

func (t *Timeline) isOtherSock(s *Sock, ev *event.Event) bool {
	switch {
	case ev.OldState == event.Closed && ev.NewState == event.Closed:
		return false
	case s.Ended:
		return true
	case ev.OldState == event.Closed && s.File != nil && !s.File.Ended:
		return false // a program may connect the same socket again
	case s.Peer.IsValid() && ev.Peer.IsValid() && ev.Peer.Port() != 0:
		// A connecting socket has no local port yet.
		return s.Peer != ev.Peer || s.Local.Port() != 0 && ev.Local.Port() != 0 && s.Local.Port() != ev.Local.Port()
	default:
		return ev.OldState == event.SynRecv && s.State != 0 && s.State != event.SynRecv
	}
}

func (t *Timeline) reset(ev *event.Event) {
	s := t.sock(ev)
	t.sub.Sock = s
	if s == nil {
		return
	}
	s.TCP = true
	s.learn(ev)
	if ev.Local.IsValid() && !s.Local.IsValid() {
		s.Local, s.Peer = ev.Local, ev.Peer
	}
	s.ResetSeq = ev.Seq
}

func (t *Timeline) packet(ev *event.Event) {
	if s := t.socks[ev.SockAddr]; ev.SockAddr != 0 && s != nil {
		t.sub.Sock = s
	}
}

// orphanAge is how long a TCP socket without a file may be silent before it is forgotten: longer than the kernel
// keeps FIN_WAIT2 and its retransmissions alive.
const orphanAge = 20 * time.Minute

// sweep forgets orphaned sockets whose end was not seen.
func (t *Timeline) sweep() {
	if t.now.Sub(t.swept) < time.Minute {
		return
	}
	t.swept = t.now
	for addr, s := range t.socks {
		if (s.File == nil || s.File.Ended) && t.now.Sub(s.seen) > orphanAge {
			delete(t.socks, addr)
		}
	}
}
