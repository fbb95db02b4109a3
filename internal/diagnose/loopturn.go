package diagnose

import (
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

const (
	// maxVictims is how many items that wait for a thread are remembered.
	maxVictims = 8
	// maxSeqs is for how many of them there is room among the evidence.
	maxSeqs = 3
)

// victim is an item that became ready during a turn.
type victim struct {
	interest *timeline.Interest
	since    event.Time
	seq      uint64
}

// waiters are the items that waited for a thread, when it was looked at last.
type waiters struct {
	since   event.Time // when the first of them became ready
	until   event.Time // when they still waited
	count   int
	more    bool // than count
	example *timeline.Interest
	seqs    []uint64 // wakeups and deliveries
}

// loopTurn is a thread that waits on epoll instances, and what it does since its last wait returned.
type loopTurn struct {
	thread *timeline.Thread
	epoll  *timeline.Epoll // of its last wait
	last   event.Time      // its last wait's entry or return

	// What makes it a loop.
	returns int  // times in a row that it was back soon
	sleeps  bool // one of these waits had a time-out

	// The turn.
	open    bool
	begun   timeline.Mark
	victims []victim
	waiters waiters
	due     event.Time // when to judge it next; 0 for nothing suspected
	listed  bool       // among the suspected
	asked   bool
	pause   time.Duration
	parts   parts
	sure    bool // waiters waited as long as the threshold
	telling bool // the finding tells of this turn already

	stalls stalls
}

func (t *loopTurn) begin(ev *event.Event) {
	t.forget()
	t.open, t.begun, t.last = true, timeline.Mark{Seq: ev.Seq, Time: ev.Time, TID: ev.TID}, ev.Time
}

func (t *loopTurn) close(ev *event.Event) {
	t.forget()
	t.last = ev.Time
}

// forget drops all that belongs to a turn.
func (t *loopTurn) forget() {
	t.open, t.telling = false, false
	t.drop()
	t.parts.reset()
}

// drop forgets what is suspected.
func (t *loopTurn) drop() {
	t.victims = t.victims[:0]
	t.due, t.asked, t.pause, t.sure = 0, false, 0, false
}

// handedOut reports whether the item is of those that the turn is about.
func (t *loopTurn) handedOut(i *timeline.Interest) bool {
	return i.LastDelivery.Seq > t.begun.Seq && i.Deliverer == t.thread
}

// waitsFor remembers an item that became ready, and reports whether it is a new one.
func (t *loopTurn) waitsFor(i *timeline.Interest, ev *event.Event) bool {
	for _, v := range t.victims {
		if v.interest == i {
			return false
		}
	}
	if len(t.victims) < maxVictims {
		t.victims = append(t.victims, victim{i, ev.Time, ev.Seq})
	}
	return true
}

// waiting reports whether items that are ready still wait at that time, and if so writes down which. What is remembered of the
// others is dropped.
func (t *loopTurn) waiting(at event.Time) bool {
	left := t.victims[:0]
	for _, v := range t.victims {
		if !v.interest.Ended && !v.interest.File.Ended && v.interest.DueAt(at) == timeline.Yes && holdsNews(v.interest) {
			left = append(left, v)
		}
	}
	t.victims = left
	untouched := t.untouched()
	if len(left)+len(untouched) == 0 {
		return false
	}
	w := waiters{until: at, count: len(left) + len(untouched), more: len(left) == maxVictims, seqs: t.waiters.seqs[:0]}
	add := func(i *timeline.Interest, since event.Time, seq uint64) {
		if w.since == 0 || since < w.since {
			w.since = since
		}
		if w.example == nil || w.example.File.Sock.Listening && !i.File.Sock.Listening {
			w.example = i // a connection says more than a listener
		}
		if len(w.seqs) < maxSeqs {
			w.seqs = append(w.seqs, seq)
		}
	}
	for _, i := range untouched {
		add(i, t.begun.Time, i.LastDelivery.Seq)
	}
	for _, v := range left {
		add(v.interest, v.since, v.seq)
	}
	t.waiters = w
	return true
}

// untouched are the items that the wait handed out and that nobody has called upon since. One item may be what the turn is
// about although no call was made, so they count from the second on.
func (t *loopTurn) untouched() []*timeline.Interest {
	var items []*timeline.Interest
	for n, i := range t.thread.Handling {
		if n > 0 && !i.Ended && !i.File.Ended && i.File.LastCall.Seq < i.LastDelivery.Seq && t.handedOut(i) && holdsNews(i) {
			items = append(items, i)
		}
	}
	return items
}

// news reports whether a wakeup brings what somebody waits for: input, a connection or a hang-up on a socket.
func news(ev *event.Event, i *timeline.Interest) bool {
	switch {
	case ev.Has(event.Disarmed), ev.Has(event.Filtered), i.File.Sock == nil:
		return false
	case ev.Key != 0 && ev.Key&inputKeys == 0:
		return false // output space
	default:
		return holdsNews(i)
	}
}

// holdsNews reports whether the socket behind an item has something for its reader, as far as known. Where several instances
// are meant to share a file with EPOLLEXCLUSIVE, another one may take it.
func holdsNews(i *timeline.Interest) bool {
	s := i.File.Sock
	switch {
	case s == nil || i.Mask&event.Exclusive != 0:
		return false
	case s.Listening:
		waiting, known := s.Backlog()
		return known && waiting > 0
	case !s.TCP:
		return true // its queue is not followed
	}
	unseen, known := s.Unseen()
	return known && unseen > 0 && i.Wants(event.In|event.RdNorm) || s.EndUnseen() || s.State == event.Closed
}
