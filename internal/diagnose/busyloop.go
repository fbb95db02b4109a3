package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

func busyLoop() Check {
	return Check{
		Code:  "busy-loop",
		Title: "waits return the same item at once, again and again, and nothing is done with it",
		Doc: Doc{
			Symptom: "A thread uses a whole core with little or no traffic. Everything else still works, only slower.",
			Mechanism: "epoll_wait puts a level-triggered item that it hands out back on the ready list, and the next wait polls " +
				"it again. As long as a poll finds it ready no wait sleeps. What makes it ready does not go away by itself: " +
				"input until it is read, the end of a stream and a hang-up until the file is closed or taken off the list, " +
				"a socket error until it is fetched, room to write until the buffer is full. EPOLLERR and EPOLLHUP are " +
				"reported whatever mask is set. EPOLLONESHOT with an EPOLL_CTL_MOD each time goes round the same way.",
			Proof: "Deliveries of the item by waits that did not sleep, one after the other for a second, more than the threshold " +
				"and for at least half of that second, each without anything in between: no wakeup of the item, no bytes " +
				"read or written, no connection accepted, no other mask; and no wait that looked without finding it ready.",
			Blind: "Polling with a zero time-out does not sleep in any case: where only such waits were seen, it is told as info, and of " +
				"files that are not sockets not at all. Edge-triggered items are handed out once for each wakeup, so they spin " +
				"only by being woken, and are left out; so are epoll instances that are watched by others. Calls that are not followed, and what is taken through " +
				"shared memory (BPF and packet rings, perf events), look like nothing being done; a reader of such that never " +
				"once has to sleep looks like a spin. Traffic on the file makes the turns around it count as work. A spin that ends stays a warning, unlike " +
				"other things that a program holds back: for as long as it lasted it took a core, and waiting does not need one.",
			Repair: "Do with the file what the finding names: fetch the error, close what has ended, read what is there, or take " +
				"the item or the EPOLLOUT bit out while there is nothing to do with it.",
			References: []string{
				"epoll(7), Level-triggered and edge-triggered", "epoll_ctl(2), EPOLLERR and EPOLLHUP",
				"fs/eventpoll.c: ep_send_events, ep_item_poll", "net/ipv4/tcp.c: tcp_poll",
			},
			DependsOn: []string{"accept-error", "ghost-event"},
		},
		New: func(c *Context) Rule {
			return &busyRule{c: c, open: make(map[*timeline.Interest]*spin), threshold: c.Thresholds.BusyLoop}
		},
	}
}

const (
	// spinPeriod is the time over which a spin is counted, and without one over which it is over.
	spinPeriod = time.Second
	// spinShare is the part of a thread's time that must go into turns for nothing.
	spinShare = 0.5
)

type busyRule struct {
	c         *Context
	open      map[*timeline.Interest]*spin
	next      event.Time // nothing in open can be over before; 0 means it is empty
	threshold int
	gap       gapWatch
}

// spin is an item that one thread's waits hand out for nothing.
type spin struct {
	item *timeline.Interest
	tid  uint32
	// One period: when it began, the turns for nothing in it, how many of them did not want to sleep, how long they took, and
	// the bits that each of them reported.
	ready  uint64
	from   event.Time
	turns  int
	polled int
	idle   time.Duration
	bits   event.Mask

	since    event.Time // the first turn of all
	last     event.Time // the end of the latest
	evidence []uint64
	most     int     // turns of the worst second
	share    float64 // and their part of the thread's time then
	why      reason
	tell     time.Duration // how long it lasts when it is told again
	polling  bool
	silent   bool
	finding  *Finding
}

// Expire ends what has stopped.
func (r *busyRule) Expire(now event.Time) {
	if r.next == 0 || now < r.next {
		return
	}
	r.next = 0
	for _, s := range r.inOrder() {
		if over := s.last.Add(spinPeriod); over <= now {
			r.stopped(s)
			delete(r.open, s.item)
		} else if r.next == 0 || over < r.next {
			r.next = over
		}
	}
}

// Finish ends what had stopped, and the spins of files that are no more.
func (r *busyRule) Finish(end event.Time) {
	r.Expire(end)
	for _, s := range r.inOrder() {
		if s.item.Ended {
			r.stopped(s)
		}
	}
}

func (r *busyRule) inOrder() []*spin {
	all := make([]*spin, 0, len(r.open))
	for _, s := range r.open {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *spin) int {
		return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.item.File.ID, b.item.File.ID), cmp.Compare(a.item.FD, b.item.FD))
	})
	return all
}

// Observe looks at each turn of a loop when its thread asks for new work.
func (r *busyRule) Observe(ev *event.Event) {
	switch ev.Kind {
	case event.KindWaitEnter:
		if th := r.c.Timeline.Subject().Thread; th != nil && len(th.Handling) > 0 {
			r.turn(ev, th)
		}
	case event.KindDeliver:
		if ev.Has(event.Ambiguous) {
			r.ambiguous(ev)
		}
	}
}

// ambiguous answers a delivery that can be of several items, of which one may be spinning.
func (r *busyRule) ambiguous(ev *event.Event) {
	for i := range r.c.Timeline.Subject().Epoll.Items(ev.Data) {
		if !i.Edge() {
			r.c.Unknown("several items of an epoll instance share their epoll_data")
			return
		}
	}
}

// turn counts a turn that did nothing: every item of its wait was the same as before and still is.
func (r *busyRule) turn(ev *event.Event, th *timeline.Thread) {
	if r.gap.isNew(r.c.Timeline) {
		for _, s := range r.open {
			s.ready = 0
		}
	}
	if th.Last.Items != int64(len(th.Handling)) {
		return
	}
	for _, i := range th.Handling {
		if !i.Idle() || i.File.Type == timeline.FileEpoll || i.File.Type != timeline.FileSocket && th.Last.Polling {
			return
		}
	}
	if p := r.c.Timeline.Subject().Process; p != nil && p.Unseen {
		return
	}
	for _, i := range th.Handling {
		r.count(ev, th, i)
	}
}

// count adds a turn to the item's period, and judges the period when it is full.
func (r *busyRule) count(ev *event.Event, th *timeline.Thread, i *timeline.Interest) {
	s := r.open[i]
	if s == nil {
		s = &spin{item: i, since: th.Last.Entered}
		s.evidence = []uint64{i.Found.Seq, i.Added.Seq, i.LastWakeup.Seq, i.Ready.Seq, i.LastDelivery.Seq}
		r.open[i] = s
		if r.next == 0 {
			r.next = ev.Time.Add(spinPeriod)
		}
	}
	full := s.from != 0 && ev.Time.Sub(s.from) >= spinPeriod
	if s.tid != th.TID && s.tid != 0 && !full {
		return // one thread's time is counted; others spin on the same item
	}
	if s.ready != i.Ready.Seq || s.tid != th.TID {
		s.ready, s.tid = i.Ready.Seq, th.TID
		s.begin(th.Last.Entered)
	}
	s.turns++
	if th.Last.Polling {
		s.polled++
	}
	s.idle += ev.Time.Sub(th.Last.Entered)
	s.bits &= i.Delivered
	s.last = ev.Time
	if elapsed := ev.Time.Sub(s.from); elapsed >= spinPeriod {
		r.judge(s, th, ev, elapsed)
		s.begin(ev.Time)
	}
}

func (s *spin) begin(at event.Time) {
	s.from, s.turns, s.polled, s.idle, s.bits = at, 0, 0, 0, ^event.Mask(0)
}

// judge makes or updates a finding of a period that was a spin.
func (r *busyRule) judge(s *spin, th *timeline.Thread, ev *event.Event, elapsed time.Duration) {
	rate := int(float64(s.turns) * float64(spinPeriod) / float64(elapsed))
	share := float64(s.idle) / float64(elapsed)
	if rate < r.threshold || share < spinShare || s.silent {
		return
	}
	if rate > s.most {
		s.most, s.share = rate, min(share, 1)
	}
	s.polling = s.polled > s.turns/2 && th.Asleep.Seq == 0
	if s.finding == nil {
		r.found(s, ev)
		return
	}
	if lasted := s.last.Sub(s.since); lasted >= s.tell {
		s.tell = 2 * lasted
		s.finding.Message = r.says(s)
		r.c.change(s.finding)
	}
}

func (r *busyRule) found(s *spin, ev *event.Event) {
	i := s.item
	f := newFinding(i.File, i)
	if i.File.Type == timeline.FileOther {
		kind := r.c.kind(f.PID, f.FD)
		if mapped(kind) {
			s.silent = true
			r.c.Unknown(fmt.Sprintf("what is taken out of fd %d through shared memory is not seen", f.FD))
			return
		}
		s.why = r.whyOther(s, kind)
	} else {
		s.why = r.whySocket(s)
	}
	f.PID, f.TID = ev.PID, s.tid
	f.Severity, f.Outcome = SeverityWarning, OutcomeOngoing
	if s.polling {
		f.Severity = SeverityInfo
	}
	f.Start, f.Unread = s.since, unreadOr(i.File, 0)
	f.Evidence = slices.Concat(s.evidence, []uint64{i.File.LastCall.Seq, i.LastDelivery.Seq, ev.Seq})
	f.Fix = s.why.fix
	s.finding = f
	s.tell = 2 * s.last.Sub(s.since)
	f.Message = r.says(s)
	r.c.add(f, ev.Time)
}

// says tells a spin that lasts.
func (r *busyRule) says(s *spin) string {
	f := s.finding
	words := fmt.Sprintf("%s: %s, so %d waits a second return at once (%s): %.0f %% of thread %d's time, for %s now", f.who(), s.why.text, s.most, s.why.bits, 100*s.share, s.tid, span(s.last.Sub(s.since)))
	if s.polling {
		words += "; they have a zero time-out, so the loop may spin on purpose"
	}
	return words
}

// stopped ends a finding whose item has not been handed out for nothing for a while.
func (r *busyRule) stopped(s *spin) {
	f := s.finding
	if f == nil || f.Outcome != OutcomeOngoing {
		return
	}
	f.End = s.last
	f.Outcome = OutcomeOver
	how := "then it stopped"
	i := s.item
	if i.Ended {
		how = "until it was taken off the list"
		f.Evidence = append(f.Evidence, i.EndedAt.Seq)
	}
	if i.File.Ended {
		how = "until it was closed"
		if i.File.EndedBy == timeline.EndExit {
			how = "until the process ended"
			f.Outcome = OutcomeOngoing
		}
	}
	f.Message = fmt.Sprintf("%s: %s, so for %s %d waits a second returned at once (%s): %.0f %% of thread %d's time, %s", f.who(),
		s.why.text, span(f.End.Sub(f.Start)), s.most, s.why.bits, 100*s.share, s.tid, how)
	r.c.change(f)
}
