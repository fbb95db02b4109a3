package diagnose

import (
	"cmp"
	"slices"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

func loopStall() Check {
	return Check{
		Code:  "loop-stall",
		Title: "ready items waited for a thread that was long in coming back to epoll_wait",
		Doc: Doc{
			Symptom: "All clients of a loop wait at the same time, now and then, although the machine is idle and nothing is " +
				"slow by itself. Health checks time out.",
			Mechanism: "A loop hands out everything that one thread is given between two waits. While the thread computes, " +
				"or sleeps in a call, items become ready and stay on the ready list: nobody takes them before it waits again.",
			Proof: "The return of the wait, the wakeups of items that it had not handed out, nobody's wait on that instance " +
				"until the threshold was over, what the scheduler saw of the thread meanwhile, and its next wait.",
			Blind: "Only a thread that came back to wait three times in a row within a second, and not only to look, is taken " +
				"for a loop, and only where no other thread waited on the instance within ten seconds: a pool that is busy as a " +
				"whole is not judged, nor are waits of processes that are not observed. A thread that waits on another instance counts as back. Only sockets with input or a hang-up " +
				"count as ready. Of the turn in which the observation begins nothing is known. Computing includes what " +
				"interrupts and a hypervisor took. A stack (--stacks) lacks the functions that keep no frame pointers. A turn that was mostly spent waiting for a processor is not the program's " +
				"fault and is told as info; so is the turn of a thread that was stopped, and of one that ended by itself.",
			Repair: "Computing: do the work in pieces between waits, or in another thread. Blocked: make the call non-blocking, " +
				"or move it to another thread; a time-out belongs in epoll_wait or a timerfd, not in a sleep.",
			RepairC:    loopStallC,
			Runtimes:   loopStallRuntimes(),
			References: []string{"epoll(7)", "fs/eventpoll.c: ep_poll_callback, ep_poll", "kernel/sched/core.c: __schedule (sched_switch)"},
		},
		New: func(c *Context) Rule {
			return &loopStallRule{
				c: c, threshold: c.Thresholds.LoopStall, turns: make(map[*timeline.Thread]*loopTurn),
				serving: make(map[*timeline.Epoll][]*loopTurn),
			}
		},
	}
}

const (
	// loopReturns is how often in a row a thread has to come back soon, to be taken for a loop.
	loopReturns = 3
	// soon is what coming back soon means, where the threshold is not longer.
	soon = time.Second
	// serves is how long after its last wait on an instance a thread counts as one that serves it.
	serves = 10 * time.Second
	// patience is how long the answer to a look may take: reading in batches, and ordering.
	patience = 300 * time.Millisecond
	// lookAgain is when to look for the second time at a thread that is still away; each time after that it takes twice as long.
	lookAgain = time.Second
)

type loopStallRule struct {
	c         *Context
	threshold time.Duration
	gap       gapWatch
	turns     map[*timeline.Thread]*loopTurn
	serving   map[*timeline.Epoll][]*loopTurn // whose last wait was on the instance, the latest first
	suspected []*loopTurn
	next      event.Time // nothing is due before; 0 means there is nothing
	swept     int        // size of serving after the last sweep
}

// Kinds are those that Observe looks at.
func (*loopStallRule) Kinds() []event.Kind {
	return []event.Kind{
		event.KindWakeup, event.KindWaitReturn, event.KindDeliver, event.KindWaitEnter, event.KindSched, event.KindExit,
	}
}

// Observe follows the threads between their waits.
func (r *loopStallRule) Observe(ev *event.Event) {
	if r.gap.isNew(r.c.Timeline) {
		r.forgetAll()
	}
	sub := r.c.Timeline.Subject()
	switch ev.Kind {
	case event.KindWakeup:
		r.wakeup(ev, sub)
	case event.KindWaitReturn:
		r.returned(ev, sub)
	case event.KindDeliver:
		r.delivered(ev, sub)
	case event.KindWaitEnter:
		r.waits(ev, sub)
	case event.KindSched:
		r.told(ev, sub)
	case event.KindExit:
		r.ended(ev, sub)
	}
}

// returned begins a turn.
func (r *loopStallRule) returned(ev *event.Event, sub *timeline.Subject) {
	if sub.Thread == nil || sub.Epoll == nil {
		return
	}
	t := r.turns[sub.Thread]
	if t == nil {
		t = &loopTurn{thread: sub.Thread}
		r.turns[sub.Thread] = t
	}
	t.begin(ev)
	r.serve(t, sub.Epoll)
}

// serve notes who waited last on an instance.
func (r *loopStallRule) serve(t *loopTurn, ep *timeline.Epoll) {
	list := r.serving[ep]
	if t.epoll == ep && len(list) > 0 && list[0] == t {
		return
	}
	r.leave(t)
	t.epoll = ep
	r.sweep()
	r.serving[ep] = slices.Insert(r.serving[ep], 0, t)
}

// leave takes a thread off the instance that it served.
func (r *loopStallRule) leave(t *loopTurn) {
	list := r.serving[t.epoll]
	if i := slices.Index(list, t); i >= 0 {
		r.serving[t.epoll] = slices.Delete(list, i, i+1)
	}
	t.epoll = nil
}

// sweep forgets instances and threads that have ended, each time their number has doubled.
func (r *loopStallRule) sweep() {
	if len(r.serving) < 2*r.swept+16 {
		return
	}
	for ep := range r.serving {
		if ep.Ended {
			delete(r.serving, ep)
		}
	}
	for th, t := range r.turns {
		if th.Ended {
			r.leave(t)
			delete(r.turns, th)
		}
	}
	r.swept = len(r.serving)
}

// delivered starts the clock when a wait handed out more than one item: while the first is handled the others wait.
func (r *loopStallRule) delivered(ev *event.Event, sub *timeline.Subject) {
	if sub.Thread == nil || len(sub.Thread.Handling) < 2 {
		return
	}
	if t := r.turns[sub.Thread]; t != nil && t.open && t.due == 0 {
		r.suspect(t, ev.Time.Add(r.threshold))
	}
}

// wakeup starts the clock when an item becomes ready that the thread has not been told of.
func (r *loopStallRule) wakeup(ev *event.Event, sub *timeline.Subject) {
	list := r.serving[sub.Epoll]
	if len(list) == 0 || !list[0].open || sub.Interest == nil || !news(ev, sub.Interest) {
		return
	}
	t := list[0]
	if t.handedOut(sub.Interest) || !t.waitsFor(sub.Interest, ev) {
		return
	}
	if t.due == 0 {
		r.suspect(t, ev.Time.Add(r.threshold))
	}
}

// suspect sets the time at which to judge a turn.
func (r *loopStallRule) suspect(t *loopTurn, due event.Time) {
	if !t.listed {
		r.suspected, t.listed = append(r.suspected, t), true
	}
	t.due = due
	if r.next == 0 || due < r.next {
		r.next = due
	}
}

// Expire judges the turns whose time has come.
func (r *loopStallRule) Expire(now event.Time) {
	for r.next != 0 && r.next <= now {
		var ripe []*loopTurn
		r.next = 0
		r.suspected = slices.DeleteFunc(r.suspected, func(t *loopTurn) bool {
			t.listed = t.due != 0
			return !t.listed
		})
		for _, t := range r.suspected {
			if t.due <= now {
				ripe = append(ripe, t)
			} else if r.next == 0 || t.due < r.next {
				r.next = t.due
			}
		}
		slices.SortFunc(ripe, func(a, b *loopTurn) int {
			return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.thread.TID, b.thread.TID))
		})
		for _, t := range ripe {
			r.ripen(t)
		}
	}
}

// ripen judges a turn that is not over: first it asks what the thread is doing, then it says what came of that.
func (r *loopStallRule) ripen(t *loopTurn) {
	at := t.due
	switch {
	case !r.stalled(t, at):
		t.drop()
	case t.waiters.since.Add(r.threshold) > at:
		r.suspect(t, t.waiters.since.Add(r.threshold)) // who waited longer needs it no more
	case t.parts.at != 0 && t.parts.at+1 >= at, t.asked:
		t.sure, t.asked = true, false
		r.judge(t, min(at, max(t.parts.at, at-1)))
		r.lookLater(t, at)
	default:
		t.sure, t.asked = true, true
		r.c.look(t.thread)
		r.suspect(t, at.Add(patience))
	}
}

func (r *loopStallRule) lookLater(t *loopTurn, at event.Time) {
	t.pause = max(2*t.pause, lookAgain)
	if t.due != 0 {
		r.suspect(t, at.Add(t.pause))
	}
}

// stalled reports whether items wait for the thread of a turn and for nobody else.
func (r *loopStallRule) stalled(t *loopTurn, at event.Time) bool {
	if !t.open || t.returns < loopReturns || !t.sleeps || t.thread.Ended || t.epoll == nil || t.epoll.Ended {
		return false
	}
	for _, other := range r.serving[t.epoll] {
		if other != t && !other.thread.Ended && at.Sub(other.last) < serves {
			return false
		}
	}
	return t.waiting(at)
}

// told takes what the scheduler says. A part that lasts is an answer, and all parts of an answer have the same time.
func (r *loopStallRule) told(ev *event.Event, sub *timeline.Subject) {
	t := r.turns[sub.Thread]
	if sub.Thread == nil || t == nil || !t.open || ev.Time < t.begun.Time {
		return
	}
	t.parts.add(ev)
	if t.asked && ev.Has(event.Ongoing) {
		r.suspect(t, ev.Time+1)
	}
}

// waits ends a turn.
func (r *loopStallRule) waits(ev *event.Event, sub *timeline.Subject) {
	t := r.turns[sub.Thread]
	if sub.Thread == nil || t == nil {
		return
	}
	if t.open {
		r.over(t, ev)
		if ev.Time.Sub(t.begun.Time) <= max(soon, r.threshold) {
			t.returns++
		} else {
			t.returns, t.sleeps = 0, false
		}
	}
	t.close(ev)
	t.sleeps = t.sleeps || ev.Timeout != 0
}

// ended is the end of a thread in the middle of its turn.
func (r *loopStallRule) ended(ev *event.Event, sub *timeline.Subject) {
	t := r.turns[sub.Thread]
	if sub.Thread != nil && t != nil {
		if t.open {
			r.over(t, ev)
		}
		t.close(ev)
		r.leave(t)
		delete(r.turns, sub.Thread)
	}
}

// Finish says the last word on turns that are not over.
func (r *loopStallRule) Finish(end event.Time) {
	for _, t := range r.suspected {
		if t.due != 0 && !t.telling && r.stalled(t, end) && end.Sub(t.waiters.since) >= r.threshold {
			r.judge(t, end)
		}
	}
	for _, t := range r.turns {
		if s := &t.stalls; s.untold {
			s.finding.Message = s.message + s.words()
			r.tell(t, end)
		}
	}
}

// forgetAll answers a loss: which turns are over is not known.
func (r *loopStallRule) forgetAll() {
	for _, t := range r.turns {
		if t.telling {
			t.stalls.finding.Outcome, t.stalls.before = OutcomeUnknown, nil
			r.tell(t, r.c.Timeline.Now())
		}
		t.forget()
	}
}
