package diagnose

import (
	"fmt"
	"strings"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

func concurrentDelivery() Check {
	return Check{
		Code:  "concurrent-delivery",
		Title: "two threads read one connection at the same time",
		Doc: Doc{
			Symptom: "Under load, requests of one connection are mixed up, cut in pieces or answered in the wrong order; one at a time they " +
				"always work.",
			Mechanism: "epoll_wait hands an item to one thread and keeps no note of who has it. With level-triggered items the next thread gets it as " +
				"long as there is input, with EPOLLET as soon as more arrives: then two threads read, and each gets a part of the stream.",
			Proof: "The item was delivered to a second thread while the first had not gone back to wait, and then two calls that overlap in time, one " +
				"of each thread, both read bytes from it.",
			Blind: "TCP connections only, and reads only. Threads whose calls do not overlap are left alone, although nothing may keep them apart: a lock, " +
				"or a runtime that moves one task between threads, looks the same. Workers that do not wait on the epoll instance " +
				"themselves are nobody's turn.",
			Repair: "Register with EPOLLONESHOT and re-arm with EPOLL_CTL_MOD when the handling is done, or give each connection to one thread " +
				"with an epoll instance of its own.",
			RepairC:  concurrentDeliveryC,
			Runtimes: concurrentDeliveryRuntimes(),
			References: []string{
				"epoll(7), Questions and answers", "epoll_ctl(2), EPOLLONESHOT", "fs/eventpoll.c: ep_send_events, ep_poll_callback",
			},
		},
		New: func(c *Context) Rule {
			return &concurrentRule{c: c, shared: make(map[*timeline.File]*sharing)}
		},
	}
}

const concurrentFix = "register with EPOLLONESHOT and re-arm when the handling is done, or keep each connection with one thread"

// sharing is what two threads do to a file that was delivered to both.
type sharing struct {
	former, later timeline.Mark // the deliveries
	last          [2]reading    // the last read of each thread
	count         int           // of reads that overlapped
	told          int
	finding       *Finding
}

// reading is a read that got something.
type reading struct {
	seq   uint64
	end   event.Time
	bytes int64
}

type concurrentRule struct {
	c      *Context
	shared map[*timeline.File]*sharing
}

// Kinds are those that Observe looks at.
func (*concurrentRule) Kinds() []event.Kind {
	return []event.Kind{
		event.KindRead, event.KindClose, event.KindRelease, event.KindDup, event.KindExit, event.KindSnapshot,
	}
}

// Observe follows the reads of files that two threads have at once.
func (r *concurrentRule) Observe(ev *event.Event) {
	switch ev.Kind {
	case event.KindRead:
		if ev.Ret > 0 && !ev.Has(event.Peek) {
			r.read(ev, r.c.Timeline.Subject().File)
		}
	case event.KindClose, event.KindRelease, event.KindDup:
		if f := r.c.Timeline.Subject().File; f != nil && f.Ended {
			r.ended(f)
		}
	case event.KindExit, event.KindSnapshot:
		for f := range r.shared {
			if f.Ended {
				r.ended(f)
			}
		}
	}
}

// Finish says how often it was in the end.
func (r *concurrentRule) Finish(event.Time) {
	for _, s := range r.shared {
		r.update(s)
	}
}

// read compares a read with the last one of the other thread. It looks at connections only: messages of their own any number
// of threads may take.
func (r *concurrentRule) read(ev *event.Event, f *timeline.File) {
	if f == nil || f.Sock == nil || !f.Sock.TCP || f.Sock.LastRecv.Seq == 0 {
		return
	}
	i := r.inTwoHands(f)
	if i == nil {
		return
	}
	s := r.shared[f]
	if s == nil {
		s = &sharing{}
		r.shared[f] = s
	}
	if s.former != i.FormerDelivery || s.later != i.LastDelivery {
		s.former, s.later = i.FormerDelivery, i.LastDelivery
		s.last = [2]reading{}
	}
	var mine, other int
	switch ev.TID {
	case i.Former.TID:
		mine, other = 0, 1
	case i.Deliverer.TID:
		mine, other = 1, 0
	default:
		return
	}
	s.last[mine] = reading{ev.Seq, ev.Time, ev.Ret}
	if s.last[other].end > ev.Start && ev.Start != 0 {
		r.overlapped(ev, i, s)
	}
}

// inTwoHands returns the item of the file that two threads were handed and neither has gone back to wait since.
func (r *concurrentRule) inTwoHands(f *timeline.File) *timeline.Interest {
	for _, i := range f.Interests {
		if i.Former == nil || i.Deliverer == nil || i.Former == i.Deliverer || i.FormerDelivery.Seq < r.c.Timeline.GapSeq() {
			continue
		}
		if !i.Former.MovedOn(i.FormerDelivery) && !i.Deliverer.MovedOn(i.LastDelivery) {
			return i
		}
	}
	return nil
}

func (r *concurrentRule) overlapped(ev *event.Event, i *timeline.Interest, s *sharing) {
	s.count++
	if s.finding != nil {
		s.finding.End = ev.Time
		if s.count >= 10*s.told {
			r.update(s)
		}
		return
	}
	f := newFinding(i.File, i)
	f.PID, f.TID = ev.PID, ev.TID
	f.Severity, f.Outcome, f.Start, f.End = SeverityError, OutcomeOver, i.LastDelivery.Time, ev.Time
	f.Evidence = []uint64{s.former.Seq, s.later.Seq, s.last[0].seq, s.last[1].seq}
	f.Fix = concurrentFix
	f.Message = fmt.Sprintf("%s: threads %d and %d read it at the same time and got %s and %s; its events had been delivered to both", f.who(),
		i.Former.TID, i.Deliverer.TID, bytes(uint32(s.last[0].bytes)), bytes(uint32(s.last[1].bytes)))
	s.finding, s.told = f, s.count
	r.c.add(f, ev.Time)
}

// update says how often it has happened since.
func (r *concurrentRule) update(s *sharing) {
	if s.finding == nil || s.told == s.count {
		return
	}
	f := s.finding
	s.told = s.count
	first, _, _ := strings.Cut(f.Message, timesMark)
	f.Message = fmt.Sprintf("%s%s%d times", first, timesMark, s.count)
	r.c.change(f)
}

const timesMark = "; it happened "

func (r *concurrentRule) ended(f *timeline.File) {
	if s := r.shared[f]; s != nil {
		r.update(s)
		delete(r.shared, f)
	}
}
