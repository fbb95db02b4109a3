package diagnose

import (
	"fmt"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

func acceptBacklog() Check {
	return Check{
		Code:  "accept-backlog",
		Title: "connections left in the accept queue of an edge-triggered listener",
		Doc: Doc{
			Symptom: "After a burst of connections some clients are connected and get no answer, until another client comes; each new one " +
				"lets one old one in.",
			Mechanism: "The kernel finishes handshakes by itself and queues the connections. With EPOLLET a listener enters the ready list " +
				"when one arrives, not while there are any, and several arrivals before epoll_wait returns are one delivery. A loop that " +
				"then accepts fewer than there are is not told again about the rest: only the next connection wakes it.",
			Proof: "The wakeup and the delivery, the last accept, the kernel's length of the queue less what was accepted since, the wait that the " +
				"loop went back to, and no wakeup of the listener until the threshold was over.",
			Blind: "TCP only. Who accepts from the same listener in a process that is not observed, is not seen: after a fork to such a process the " +
				"answer is unknown, and where the queue is shorter than it can be the finding is taken back. A program that stops accepting " +
				"on purpose looks the same until it goes on by itself; the finding is then taken back to info.",
			Repair:   "Accept until EAGAIN after each edge-triggered delivery, or use level-triggered mode for listeners.",
			RepairC:  acceptBacklogC,
			Runtimes: acceptBacklogRuntimes(),
			References: []string{
				"epoll(7), Level-triggered and edge-triggered", "accept(2)", "fs/eventpoll.c: ep_poll_callback, ep_send_events",
				"net/ipv4/inet_connection_sock.c: inet_csk_reqsk_queue_add, inet_csk_accept",
			},
		},
		New: func(c *Context) Rule {
			return &backlogRule{
				c: c, s: newSuspicions[*timeline.File](), elsewhere: make(map[*timeline.File]bool), threshold: c.Thresholds.AcceptBacklog,
			}
		},
	}
}

const backlogFix = "accept until EAGAIN after each edge-triggered delivery, or watch the listener level-triggered"

type backlogRule struct {
	c         *Context
	s         suspicions[*timeline.File]
	elsewhere map[*timeline.File]bool // listeners that processes which are not observed accept from
	threshold time.Duration
	gap       gapWatch
}

// Expire makes findings of what lasted.
func (r *backlogRule) Expire(now event.Time) {
	for c := range r.s.expired(now) {
		if c.file.Ended || c.interest.Ended {
			r.s.drop(c.file)
			continue
		}
		if c.waiting {
			if anyDue(c.file, c.ripe) {
				r.s.start(c.file, c, c.ripe, dueGrace)
				continue
			}
			c.waiting = false
			r.s.start(c.file, c, c.ripe, r.threshold)
			continue
		}
		if c.file.Shared {
			r.c.Unknown("a child process that is not observed may accept from the same listener")
			r.s.drop(c.file)
			continue
		}
		f := newFinding(c.file, c.interest)
		f.Severity, f.Outcome = SeverityWarning, OutcomeOngoing
		f.Start, f.Unread, f.TID = c.since, c.unread, c.tid
		f.Evidence, f.Fix, f.Snapshot = c.evidence, backlogFix, c.snapshot
		f.Message = r.left(f, c, c.unread) + "; nothing is due to wake it"
		c.finding = f
		r.c.add(f, c.ripe)
	}
}

// left says what was left in the queue, and whether that was seen or found.
func (*backlogRule) left(f *Finding, c *suspicion, n uint32) string {
	if c.snapshot {
		return fmt.Sprintf("%s: %s waited on an edge-triggered listener when epwatch came", f.who(), connections(n))
	}
	s := fmt.Sprintf("%s: %s %s left in the accept queue after an edge-triggered delivery", f.who(), connections(n), was(n))
	if name := limitErrors[c.file.Sock.AcceptResult]; name != "" && c.finding == nil {
		s += " (the last accept failed with " + name + ")"
	}
	return s
}

// Kinds are those that Observe looks at.
func (*backlogRule) Kinds() []event.Kind {
	return []event.Kind{
		event.KindWakeup, event.KindDeliver, event.KindAccept, event.KindWaitEnter, event.KindExit, event.KindEpollCtl, event.KindSnapshot, event.KindState, event.KindClose, event.KindRelease, event.KindDup,
	}
}

// Observe follows the listeners.
func (r *backlogRule) Observe(ev *event.Event) {
	if r.gap.isNew(r.c.Timeline) {
		r.s.forgetAll()
	}
	sub := r.c.Timeline.Subject()
	switch ev.Kind {
	case event.KindWakeup:
		r.wakeup(ev, sub.File)
	case event.KindDeliver:
		r.delivered(ev, sub)
	case event.KindAccept:
		r.accepted(ev, sub.File)
		r.judge(ev, sub.File)
	case event.KindWaitEnter:
		r.movedOn(ev, sub.Thread)
	case event.KindExit:
		r.movedOn(ev, sub.Thread)
		r.endedAll(ev)
	case event.KindEpollCtl:
		r.restart(sub.File)
		r.judge(ev, sub.File)
	case event.KindSnapshot:
		r.ended(ev, sub.File)
		if sub.Interest != nil {
			r.judge(ev, sub.File)
		}
	case event.KindState, event.KindClose, event.KindRelease, event.KindDup:
		r.ended(ev, sub.File)
	}
}

// Finish decides the findings of listeners whose end was not seen as such.
func (r *backlogRule) Finish(event.Time) { r.endedAll(nil) }

// wakeup ends a suspicion, or is what rescues a finding: a connection has come.
func (r *backlogRule) wakeup(ev *event.Event, f *timeline.File) {
	c := r.s.open[f]
	if c == nil {
		return
	}
	if ev.Has(event.HasUnread|event.Listener) && ev.Unread <= c.unread && ev.Time.Sub(c.since) > dueGrace {
		r.takenElsewhere(ev, c)
		return
	}
	switch {
	case ev.Has(event.Disarmed) || ev.Has(event.Filtered):
	case c.finding == nil:
		r.s.drop(f)
	case c.woken.Seq == 0:
		c.woken = timeline.Mark{Seq: ev.Seq, Time: ev.Time}
	}
}

// takenElsewhere takes a finding back: the queue is shorter than what this process left in it.
func (r *backlogRule) takenElsewhere(ev *event.Event, c *suspicion) {
	r.s.drop(c.file)
	r.elsewhere[c.file] = true
	r.c.Unknown("a process that is not observed accepts from the same listener")
	if f := c.finding; f != nil {
		f.Severity, f.Outcome, f.End = SeverityInfo, OutcomeUnknown, ev.Time
		f.Evidence = append(f.Evidence, ev.Seq)
		f.Message = r.left(f, c, c.unread) + " (taken back: a process that is not observed accepted from it)"
		r.c.change(f)
	}
}

// delivered ends a suspicion: the program has been told again.
func (r *backlogRule) delivered(ev *event.Event, sub *timeline.Subject) {
	if ev.Has(event.Ambiguous) {
		for i := range sub.Epoll.Items(ev.Data) {
			if i.Edge() && i.File.Sock != nil && i.File.Sock.Listening {
				r.c.Unknown("several items of an epoll instance share their epoll_data")
			}
			r.restart(i.File)
		}
		return
	}
	c := r.s.open[sub.File]
	switch {
	case c == nil:
	case c.finding == nil:
		r.s.drop(sub.File)
	case c.woken.Seq != 0 && c.told.Seq == 0:
		c.told = timeline.Mark{Seq: ev.Seq, Time: ev.Time, TID: ev.TID}
	}
}

// restart drops what is suspected but not yet found.
func (r *backlogRule) restart(f *timeline.File) {
	if c := r.s.open[f]; c != nil && c.finding == nil {
		r.s.drop(f)
	}
}

// accepted ends a suspicion and decides a finding.
func (r *backlogRule) accepted(ev *event.Event, f *timeline.File) {
	c := r.s.open[f]
	if c == nil || ev.Ret < 0 && ev.Ret != tryAgain {
		return
	}
	if n, known := f.Sock.Backlog(); ev.Ret < 0 {
		if known && n == 0 {
			r.takenElsewhere(ev, c)
		}
		return
	}
	r.s.drop(f)
	found := c.finding
	if found == nil {
		return
	}
	found.Evidence = append(found.Evidence, c.woken.Seq, ev.Seq)
	left := r.left(found, c, c.unread)
	if r.rescued(ev, c) {
		found.Outcome, found.Severity, found.End = OutcomeRescued, SeverityWarning, c.woken.Time
		found.Message = fmt.Sprintf("%s; only the next connection woke it, %s later", left, span(found.End.Sub(found.Start)))
	} else {
		found.Outcome, found.Severity, found.End = OutcomeSelfResumed, SeverityInfo, ev.Time
		found.Message = fmt.Sprintf("%s; held back by the program, which accepted again by itself %s later", left,
			span(found.End.Sub(found.Start)))
	}
	r.c.change(found)
}

// rescued reports whether the accept is the answer to the first connection that came. A program that lets that one wait as
// well, and accepts at another occasion, holds back on purpose.
func (r *backlogRule) rescued(ev *event.Event, c *suspicion) bool {
	if c.woken.Seq == 0 {
		return false
	}
	if ev.Time.Sub(c.woken.Time) <= dueGrace {
		return true
	}
	th := r.c.Timeline.Subject().Thread
	return c.told.Seq != 0 && th != nil && th.TID == c.told.TID && !th.MovedOn(c.told)
}

func (r *backlogRule) endedAll(ev *event.Event) {
	for _, c := range r.s.inOrder() {
		r.ended(ev, c.file)
	}
}

// ended decides the finding of a listener that is no more.
func (r *backlogRule) ended(ev *event.Event, f *timeline.File) {
	if f == nil || !f.Ended {
		return
	}
	delete(r.elsewhere, f)
	c := r.s.open[f]
	if c == nil {
		return
	}
	r.s.drop(f)
	found := c.finding
	if found == nil {
		return
	}
	if n, known := f.Sock.Backlog(); known {
		found.Unread = max(n, c.unread)
	}
	found.Evidence = append(found.Evidence, c.woken.Seq, f.EndSeq)
	if ev != nil {
		found.Evidence = append(found.Evidence, ev.Seq)
	}
	how := "it was closed"
	if f.EndedBy == timeline.EndExit {
		how = "the process ended"
	}
	found.Outcome, found.Severity, found.End = OutcomeLost, SeverityError, f.EndTime
	found.Message = fmt.Sprintf("%s; %s %s later, which resets them", r.left(found, c, found.Unread), how, span(found.End.Sub(found.Start)))
	r.c.change(found)
}

// movedOn judges what the thread was handling when it asked for new work or ended.
func (r *backlogRule) movedOn(ev *event.Event, th *timeline.Thread) {
	if th == nil {
		return
	}
	for _, i := range th.Handling {
		if s := i.File.Sock; s != nil && s.Listening {
			r.judge(ev, i.File)
		}
	}
}

// judge opens a suspicion if everything that makes one is known to hold, and drops an open one if not.
func (r *backlogRule) judge(ev *event.Event, f *timeline.File) {
	if f == nil || r.elsewhere[f] {
		return
	}
	c := r.s.open[f]
	if c != nil && c.finding != nil {
		return
	}
	i, since, ok := forsaken(f)
	if !ok {
		r.restart(f)
		return
	}
	if c != nil {
		return // its clock runs since the loop moved on first
	}
	s := f.Sock
	n, _ := s.Backlog()
	c = &suspicion{file: f, interest: i, unread: n, tid: i.LastDelivery.TID, snapshot: i.FromBefore()}
	c.evidence = []uint64{i.Found.Seq, i.LastWakeup.Seq, i.LastDelivery.Seq, s.LastAccept.Seq, s.BacklogSeq(), ev.Seq}
	if anyDue(f, ev.Time) {
		c.waiting = true
		r.s.start(f, c, ev.Time, dueGrace)
		return
	}
	r.s.start(f, c, since, r.threshold)
}
