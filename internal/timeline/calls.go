package timeline

import "github.com/epwatch/epwatch/internal/event"

const (
	again    = -11  // -EAGAIN
	pipe     = -32  // -EPIPE
	reset104 = -104 // -ECONNRESET
)

// named finds the file that a call on a descriptor means. EBADF says that the number named nothing, so that no file is learnt
// from it.
func (t *Timeline) named(ev *event.Event, sock event.Addr) *File {
	if ev.Ret == badFD && ev.FileAddr == 0 {
		return t.fds[descriptor{ev.PID, ev.FD}].file
	}
	return t.useFile(ev.PID, ev.FD, ev.FileAddr, sock, startOf(ev))
}

// caller finds the file of a reading, writing or other call on a descriptor.
func (t *Timeline) caller(ev *event.Event) *File {
	f := t.named(ev, ev.SockAddr)
	t.sub.File = f
	if f != nil {
		f.LastCall, f.Result = markOf(ev), ev.Ret
		f.learnType(ev)
		t.sub.Sock = f.Sock
	}
	return f
}

func (t *Timeline) read(ev *event.Event) {
	f := t.caller(ev)
	received, told := t.match(ev)
	if f == nil {
		return
	}
	f.Told = markOf(ev)
	if ev.Ret > 0 && !ev.Has(event.Peek) {
		f.Taken = markOf(ev)
	}
	if ev.Ret > 0 || ev.Ret == again && !f.hungUp() {
		f.LastUse = markOf(ev)
	}
	s := f.Sock
	if s == nil || told {
		return
	}
	if ev.Has(event.HasUnread) {
		s.readMessages(ev)
		return
	}
	// No receive told what is left, so the call has to.
	switch {
	case ev.Ret == again:
		if s.Arrived.Time < startOf(ev) {
			s.setUnread(0, ev)
		}
	case ev.Ret == 0 && s.TCP && s.FIN.Seq != 0:
		s.endOfStream(ev)
	case ev.Ret > 0 && !received:
		s.unreadSeq = 0
	}
}

// readMessages follows a read whose own record tells what it has left.
func (s *Sock) readMessages(ev *event.Event) {
	switch {
	case ev.Has(event.Peek):
		s.peeked = max(s.peeked, 1) // how many messages it looked at, the call does not tell
	default:
		s.LastRecv = markOf(ev)
		s.peeked = 0
	}
	s.learn(ev)
}

func (f *File) hungUp() bool { return f.Sock != nil && f.Sock.FIN.Seq != 0 }

// endOfStream notes that the program has read everything and the FIN. A read of no bytes into an empty buffer
// returns 0 as well, but then something is left.
func (s *Sock) endOfStream(ev *event.Event) {
	if n, known := s.Unread(); known && n > 0 {
		return
	}
	s.setUnread(0, ev)
	s.finQueued = No
	if s.FINRead.Seq == 0 {
		s.FINRead = markOf(ev)
	}
}

// receive follows the kernel's side of a read.
func (t *Timeline) receive(ev *event.Event) {
	s := t.sock(ev)
	t.sub.Sock = s
	if s == nil {
		return
	}
	s.TCP = true
	t.sub.File = s.File
	if s.File != nil {
		s.File.Told = markOf(ev)
	}
	t.hold(ev)
	if ev.Has(event.Peek) {
		if ev.Has(event.HasUnread) {
			s.setUnread(ev.Unread, ev)
		}
		if ev.Ret > 0 {
			s.peeked = uint32(min(max(int64(s.peeked), ev.Ret), int64(s.unread)))
		}
		return
	}
	switch {
	case ev.Ret > 0:
		s.LastRecv = markOf(ev)
		s.peeked -= uint32(min(int64(s.peeked), ev.Ret))
		before, known := s.Unread()
		s.learn(ev)
		if !ev.Has(event.HasUnread) {
			if known {
				s.setUnread(before-uint32(min(int64(before), ev.Ret)), ev)
			} else {
				s.unreadSeq = 0
			}
		}
		if s.File != nil {
			s.File.LastUse, s.File.Taken = markOf(ev), markOf(ev)
		}
	case ev.Ret == 0 && s.FIN.Seq != 0:
		s.learn(ev)
		s.endOfStream(ev)
	default:
		s.learn(ev)
	}
}

func (t *Timeline) write(ev *event.Event) {
	f := t.caller(ev)
	if f == nil {
		return
	}
	switch {
	case ev.Ret == again:
		f.blockedSeq = ev.Seq
	case ev.Ret >= 0:
		f.blockedSeq = 0
	}
	if ev.Ret != pipe && ev.Ret != reset104 {
		f.LastUse = markOf(ev)
	}
	if ev.Ret > 0 {
		f.LastWrite = markOf(ev)
	}
}

func (t *Timeline) shutdown(ev *event.Event) {
	if f := t.caller(ev); f != nil && ev.Ret >= 0 {
		f.LastUse = markOf(ev)
		f.ShutRead = f.ShutRead || ev.Op != shutWrite
	}
}

const shutWrite = 1 // SHUT_WR

func (t *Timeline) accept(ev *event.Event) {
	own := ev.SockAddr // the listener's, unless there is a new one
	if ev.Ret >= 0 {
		own = 0
	}
	l := t.named(ev, own)
	t.sub.File = l
	if l != nil {
		l.LastCall, l.LastUse, l.Result = markOf(ev), markOf(ev), ev.Ret
		if ev.Ret >= 0 {
			l.Taken = markOf(ev)
		}
		if l.Sock != nil {
			l.Sock.accepted(ev)
		}
	}
	if ev.Ret < 0 {
		return
	}
	d := descriptor{ev.PID, int32(ev.Ret)}
	t.closeEpollFD(d, maxTime)
	f := t.accepted(ev, d)
	t.sub.NewFile, t.sub.Sock = f, f.Sock
}

// accepted finds the new file of an accept: the one a snapshot showed inside this very call, or a new one. Anything
// older at that address or under that descriptor has ended unseen.
func (t *Timeline) accepted(ev *event.Event, d descriptor) *File {
	start := startOf(ev)
	var f *File
	if ev.NewFileAddr != 0 {
		f = t.files[ev.NewFileAddr]
	} else if b := t.fds[d]; b.file != nil && b.since >= start {
		f = b.file
	}
	if f != nil && (f.First < start || f.Ended) {
		t.endFile(f, EndReused)
		f = nil
	}
	if f == nil {
		f = t.newFile(ev.PID, ev.NewFileAddr, start)
	}
	if t.fds[d].file != f {
		t.bind(d, f, start)
	}
	f.Accepted, f.LastCall = true, markOf(ev)
	if ev.SockAddr != 0 {
		s := t.sockAt(ev.SockAddr)
		if s.Ended || s.File != nil && s.File != f {
			s = t.newSock(ev.SockAddr)
		}
		t.attach(f, s)
		if ev.Peer.IsValid() && !s.Peer.IsValid() {
			s.Local, s.Peer = ev.Local, ev.Peer
		}
	}
	return f
}

// snapshot learns of something that exists: a socket with its addresses, a file, or an item of an interest list.
func (t *Timeline) snapshot(ev *event.Event) {
	if ev.EpollAddr != 0 || ev.EpFD != event.NoFD {
		ep := t.epoll(ev)
		if ep == nil {
			ep = t.newEpoll(ev.PID, ev.EpollAddr)
			t.bindEpoll(descriptor{ev.PID, ev.EpFD}, ep)
		}
		t.sub.Epoll = ep
	}
	if ev.Has(event.IsEpoll) && ev.EpFD == event.NoFD && t.sub.Epoll != nil {
		if ev.FD != event.NoFD {
			t.bindEpoll(descriptor{ev.PID, ev.FD}, t.sub.Epoll)
		}
		return
	}
	var f *File
	if ev.FD != event.NoFD || ev.FileAddr != 0 {
		f = t.snapshotFile(ev)
	}
	t.sub.File = f
	if f != nil && ev.EpFD == event.NoFD {
		f.learnType(ev)
	}
	if s := t.snapshotSock(ev, f); s != nil {
		t.sub.Sock = s
		t.attach(f, s)
	}
	if t.sub.Epoll != nil && f != nil {
		t.sub.Interest = t.learnInterest(t.sub.Epoll, f, ev)
		t.sub.Interest.found(ev)
	}
}

// found notes that an item is from before the trace. Whether it stands on the ready list nobody says, so it may: the first
// wait that looks at the list and does not hand it out, or that sleeps, tells that it does not.
func (i *Interest) found(ev *event.Event) {
	if i.Found.Seq != 0 || i.Added.Seq != 0 || i.LastWakeup.Seq != 0 || i.LastDelivery.Seq != 0 {
		return
	}
	i.Found = markOf(ev)
	i.setDue(Yes, ev)
}

func (t *Timeline) snapshotFile(ev *event.Event) *File {
	f := t.files[ev.FileAddr]
	if ev.FileAddr != 0 && f != nil && f.Ended {
		t.newFile(ev.PID, ev.FileAddr, ev.Time)
	}
	return t.useFile(ev.PID, ev.FD, ev.FileAddr, ev.SockAddr, ev.Time)
}

func (t *Timeline) snapshotSock(ev *event.Event, f *File) *Sock {
	if ev.SockAddr == 0 {
		if f != nil {
			return f.Sock
		}
		return nil
	}
	s := t.sockAt(ev.SockAddr)
	if s.Ended || s.Peer.IsValid() && ev.Peer.IsValid() && s.Peer != ev.Peer {
		s = t.newSock(ev.SockAddr)
	}
	if ev.Local.IsValid() {
		s.Local = ev.Local
	}
	if ev.Peer.IsValid() {
		s.Peer = ev.Peer
	}
	if ev.NewState != 0 {
		s.TCP = true
		if s.State != ev.NewState {
			s.State, s.StateAt, s.StateFound = ev.NewState, markOf(ev), true
		}
		s.Listening = ev.NewState == event.Listen
		if ev.NewState == event.CloseWait && s.FIN.Seq == 0 {
			s.FIN = markOf(ev)
		}
	}
	s.learn(ev)
	return s
}
