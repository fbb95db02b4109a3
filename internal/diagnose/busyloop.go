package diagnose

import (
	"cmp"
	"fmt"
	"maps"
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
			Proof: "One thread's waits in one second: more than the threshold, and half of that second or more, returned with nothing but " +
				"items of which nothing had happened since they were handed out before: no wakeup, no bytes read or written, no " +
				"connection accepted, no other mask. The item that is named was ready all the time: no wait looked and did not find " +
				"it. For each record that was lost meanwhile one wait is left out of the count.",
			Blind: "Polling with a zero time-out does not sleep in any case: where only such waits were seen, it is told as info, and of " +
				"files that are not sockets not at all. Edge-triggered items are handed out once for each wakeup, so they spin " +
				"only by being woken, and are left out; so are epoll instances that are watched by others. Calls that are not followed, and what is taken through " +
				"shared memory (BPF and packet rings, perf events), look like nothing being done; a reader of such that never " +
				"once has to sleep looks like a spin. Traffic on the file makes the turns around it count as work. Threads that " +
				"spin together may make more events than can be recorded, and then the answer is unknown. A spin that ends stays a warning, unlike " +
				"other things that a program holds back: for as long as it lasted it took a core, and waiting does not need one.",
			Repair: "Do with the file what the finding names: fetch the error, close what has ended, read what is there, or take " +
				"the item or the EPOLLOUT bit out while there is nothing to do with it.",
			RepairC:  busyLoopC,
			Runtimes: busyLoopRuntimes(),
			References: []string{
				"epoll(7), Level-triggered and edge-triggered", "epoll_ctl(2), EPOLLERR and EPOLLHUP",
				"fs/eventpoll.c: ep_send_events, ep_item_poll", "net/ipv4/tcp.c: tcp_poll",
			},
			DependsOn: []string{"accept-error", "ghost-event"},
		},
		New: func(c *Context) Rule {
			return &busyRule{c: c, loops: make(map[*timeline.Thread]*spinner), threshold: c.Thresholds.BusyLoop}
		},
	}
}

const (
	// spinPeriod is the time over which turns are counted, and without one over which a spin is over.
	spinPeriod = time.Second
	// spinShare is the part of a thread's time that must go into turns for nothing.
	spinShare = 0.5
)

type busyRule struct {
	c         *Context
	loops     map[*timeline.Thread]*spinner
	next      event.Time // nothing in loops can be over before; 0 means it is empty
	lost      int        // records in all
	gaps      int
	threshold int
}

// Expire ends what has stopped.
func (r *busyRule) Expire(now event.Time) {
	if r.next == 0 || now < r.next {
		return
	}
	r.next = 0
	for _, l := range r.inOrder() {
		if over := l.last.Add(spinPeriod); over <= now {
			l.stop(r.c)
			delete(r.loops, l.th)
		} else if r.next == 0 || over < r.next {
			r.next = over
		}
	}
}

// Finish ends what had stopped, and the spins on files that are no more.
func (r *busyRule) Finish(end event.Time) {
	r.Expire(end)
	for _, l := range r.inOrder() {
		switch {
		case l.found == nil:
		case l.found.item.Ended:
			l.stop(r.c)
		case l.finding.Outcome == OutcomeOngoing:
			l.finding.Message = l.says()
			r.c.change(l.finding)
		}
	}
}

func (r *busyRule) inOrder() []*spinner {
	return slices.SortedFunc(maps.Values(r.loops), func(a, b *spinner) int { return cmp.Compare(a.th.TID, b.th.TID) })
}

// Kinds are those that Observe looks at.
func (*busyRule) Kinds() []event.Kind {
	return []event.Kind{
		event.KindWaitEnter, event.KindDeliver,
	}
}

// Observe looks at each turn of a loop when its thread asks for new work.
func (r *busyRule) Observe(ev *event.Event) {
	if ev.Flags&event.AfterGap != 0 {
		r.doubt(ev)
	}
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

// doubt answers a loss. A spin makes so many events that records may well be lost now and then. Each could have told of one
// thing that was done, so each makes one turn doubtful, also in what was found already.
func (r *busyRule) doubt(ev *event.Event) {
	n := max(int(ev.Lost), 1)
	r.lost += n
	r.gaps++
	from := r.c.Timeline.Gap().From
	for _, l := range r.inOrder() {
		l.takeBack(r, n, from)
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
	l := r.loops[th]
	if l == nil {
		l = &spinner{th: th, items: make(map[*timeline.Interest]*stuck)}
		l.begin(th.Last.Entered, r.lost)
		r.loops[th] = l
		if r.next == 0 {
			r.next = ev.Time.Add(spinPeriod)
		}
	}
	l.count(ev, r.gaps)
	if elapsed := ev.Time.Sub(l.from); elapsed >= spinPeriod {
		r.judge(l, ev, elapsed)
		l.begin(ev.Time, r.lost)
	}
}

// judge makes, updates or ends a finding when a period is over.
func (r *busyRule) judge(l *spinner, ev *event.Event, elapsed time.Duration) {
	proven := l.turns - (r.lost - l.lost)
	rate := int(float64(max(proven, 0)) * float64(spinPeriod) / float64(elapsed))
	share := float64(l.idle) / float64(elapsed) * float64(max(proven, 0)) / float64(l.turns)
	if rate < r.threshold || share < spinShare || l.found != nil && !l.holds(l.found) {
		l.stop(r.c)
	}
	if rate < r.threshold || share < spinShare || l.found == nil && !r.find(l, ev) {
		return
	}
	l.others = l.like(l.found)
	l.margin, l.proven = rate-r.threshold, ev.Time
	if rate > l.most {
		l.most, l.share = rate, min(share, 1)
	}
	switch lasted := ev.Time.Sub(l.finding.Start); {
	case l.finding.ID == 0:
		l.finding.Message = l.says()
		r.c.add(l.finding, ev.Time)
	case l.finding.Outcome != OutcomeOngoing, lasted >= l.tell:
		l.finding.Severity, l.finding.Outcome = l.severity(), OutcomeOngoing
		l.finding.Message = l.says()
		r.c.change(l.finding)
	default:
		return
	}
	l.tell = 2 * ev.Time.Sub(l.finding.Start)
}

// elsewhere reports whether another thread was found to spin on the instance: one finding is enough.
func (r *busyRule) elsewhere(ep *timeline.Epoll) bool {
	for _, other := range r.loops {
		if other.found != nil && other.found.item.Epoll == ep {
			return true
		}
	}
	return false
}

// find prepares a finding of the item that was handed out most; false when there is none to be made.
func (r *busyRule) find(l *spinner, ev *event.Event) bool {
	s := l.worst()
	if s == nil || r.elsewhere(s.item.Epoll) {
		return false
	}
	i := s.item
	f := newFinding(i.File, i)
	if i.File.Type == timeline.FileOther {
		kind := r.c.kind(f.PID, f.FD)
		if mapped(kind) {
			r.c.Unknown(fmt.Sprintf("what is taken out of fd %d through shared memory is not seen", f.FD))
			return false
		}
		l.why = whyOther(s, kind)
	} else {
		l.why = whySocket(s)
	}
	l.polling = l.polled > l.turns/2 && l.th.Asleep.Seq == 0
	f.PID, f.TID, f.robust = ev.PID, ev.TID, true
	f.Severity, f.Outcome = l.severity(), OutcomeOngoing
	f.Start, f.Unread, f.Fix = s.since, unreadOr(i.File, 0), l.why.fix
	f.Evidence = append(f.Evidence, s.evidence[:]...)
	f.Evidence = append(f.Evidence, i.File.LastCall.Seq, i.LastDelivery.Seq, ev.Seq)
	l.found, l.finding, l.most = s, f, 0
	return true
}
