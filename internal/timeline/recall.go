package timeline

import (
	"iter"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// What was observed is kept for a while, so that the events that prove something can be shown when they have become a
// proof: the last of all, and of each open file the last few. The second are there after hours if nothing else happened to that
// file, however much happened elsewhere.
const (
	recallable = 1 << 13 // a tenth of a second of a busy server, 512 KiB
	perFile    = 12      // 0.9 KiB
	slowParts  = 1 << 8  // what threads did in slow turns: these are few, and do not fit a moment
)

// moment is what is kept of an event, in 64 bytes. What it leaves out of an event are addresses and what no wording needs.
type moment struct {
	seq  uint64
	time event.Time
	ret  int64 // of wait-enter its time-out, of deliver its data

	flags    event.Flags
	unread   uint32
	pid, tid uint32
	fd, epfd int32
	events   event.Mask
	key      event.Mask

	kind            event.Kind
	call            event.Call
	op              uint8
	oldState, state event.State
	reason          event.Reason
	signal          uint8
}

func (m *moment) set(ev *event.Event) {
	m.seq, m.time, m.ret = ev.Seq, ev.Time, ev.Ret
	switch ev.Kind {
	case event.KindWaitEnter:
		m.ret = int64(ev.Timeout)
	case event.KindDeliver:
		m.ret = int64(ev.Data)
	}
	m.flags, m.unread, m.pid, m.tid, m.fd, m.epfd = ev.Flags, ev.Unread, ev.PID, ev.TID, ev.FD, ev.EpFD
	m.events, m.key = ev.Events, ev.Key
	m.kind, m.call, m.op, m.oldState, m.state = ev.Kind, ev.Call, ev.Op, ev.OldState, ev.NewState
	m.reason, m.signal = ev.Reason, ev.Signal
}

func (m *moment) event() event.Event {
	ev := event.Event{
		Seq: m.seq, Time: m.time, Ret: m.ret, Flags: m.flags, Unread: m.unread, PID: m.pid, TID: m.tid, FD: m.fd, EpFD: m.epfd,
		Events: m.events, Key: m.key, Kind: m.kind, Call: m.call, Op: m.op, OldState: m.oldState, NewState: m.state,
		Reason: m.reason, Signal: m.signal,
	}
	switch m.kind {
	case event.KindWaitEnter:
		ev.Ret, ev.Timeout = 0, time.Duration(m.ret)
	case event.KindDeliver:
		ev.Ret, ev.Data = 0, uint64(m.ret)
	}
	return ev
}

// moments are the last ones of an open file. They stay where they are and their places move, because every event adds one.
type moments struct {
	at    [perFile]moment
	place [perFile]uint8  // of at, oldest first
	like  [perFile]uint64 // moment.like, by place
	n     int
}

// add keeps a moment. Of a row of the same kind the first and the last are enough. When there is no room, what goes is the oldest
// of which there is a newer one of its kind: a hundred writes do not push out the delivery that came before them.
func (ms *moments) add(m *moment) {
	like, n := m.like(), ms.n
	if n >= 2 && ms.like[n-1] == like && ms.like[n-2] == like {
		ms.at[ms.place[n-1]] = *m
		return
	}
	place := uint8(n)
	if n == perFile {
		old := ms.expendable(like)
		place = ms.place[old]
		copy(ms.place[old:], ms.place[old+1:])
		copy(ms.like[old:], ms.like[old+1:])
		n--
	}
	ms.at[place], ms.place[n], ms.like[n] = *m, place, like
	ms.n = n + 1
}

// expendable returns which of the moments, counted from the oldest, may go for a newer one of that kind.
func (ms *moments) expendable(seen uint64) int {
	old := 0
	for i := len(ms.like) - 1; i >= 0; i-- {
		if seen&ms.like[i] != 0 {
			old = i
		}
		seen |= ms.like[i]
	}
	return old
}

// like is a bit for the moment's kind; that a wakeup was ignored makes it another one.
func (m *moment) like() uint64 {
	kind := m.kind
	if m.flags&(event.Disarmed|event.Filtered) != 0 {
		kind += 32 // there are fewer than 32 kinds, see TestKindsFit
	}
	return 1 << (kind & 63)
}

// remember keeps an event that has its place and its names.
func (t *Timeline) remember(ev *event.Event) {
	m := &t.recent[ev.Seq%recallable]
	m.set(ev)
	switch ev.Kind {
	case event.KindPacket, event.KindSend:
		return // of the wire, and said by its write
	case event.KindSched:
		t.slow[t.slows%slowParts] = *ev
		t.slows++
		return
	case event.KindWaitEnter:
		// That a thread went back to wait is part of the story of each file that it was handling.
		if t.sub.Thread != nil {
			for _, i := range t.sub.Thread.Handling {
				i.File.recent.add(m)
			}
		}
		return
	}
	if t.sub.File != nil {
		t.sub.File.recent.add(m)
	}
	if t.sub.NewFile != nil {
		t.sub.NewFile.recent.add(m)
	}
}

// Recall returns an event that was observed earlier, if it is still kept: among the last ones of all, or, when f is not nil,
// of that file. It has no addresses, and no numbers of objects but that of f where it is f's.
func (t *Timeline) Recall(f *File, seq uint64) (event.Event, bool) {
	if f != nil {
		for ev := range f.Recent() {
			if ev.Seq == seq {
				return ev, true
			}
		}
	}
	m := &t.recent[seq%recallable]
	switch {
	case seq == 0 || m.seq != seq:
		return event.Event{}, false
	case m.kind == event.KindSched:
		return t.recallSlow(seq)
	default:
		return m.event(), true
	}
}

func (t *Timeline) recallSlow(seq uint64) (event.Event, bool) {
	for i := range t.slow {
		if ev := t.slow[i]; ev.Seq == seq {
			ev.FileAddr, ev.NewFileAddr, ev.SockAddr, ev.EpollAddr = 0, 0, 0, 0
			ev.File, ev.NewFile, ev.Sock, ev.Epoll = 0, 0, 0, 0
			return ev, true
		}
	}
	return event.Event{}, false
}

// Recent gives the last events of the file that are kept, oldest first: its own, and its loop going back to wait.
func (f *File) Recent() iter.Seq[event.Event] {
	return func(yield func(event.Event) bool) {
		for i := range f.recent.n {
			ev := f.recent.at[f.recent.place[i]].event()
			if ev.Kind != event.KindWaitEnter {
				ev.File = f.ID
			}
			if !yield(ev) {
				return
			}
		}
	}
}
