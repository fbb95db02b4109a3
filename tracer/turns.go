package tracer

import (
	"time"
	"unsafe"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/proc"
)

// What a thread sleeps in where that is no call (bpf/event.h).
const (
	sleepNoCall  = 0xffffffff
	sleepStopped = 0xfffffffe
)

// thread names one of a process's.
type thread struct{ pid, tid uint32 }

// Look asks what a thread is doing since its last wait returned. The answer comes with the events of a later Read: KindSched,
// one event for each part, the one that lasts marked Ongoing; none when the thread waits again by then, or is not
// followed. It must be called by the goroutine that calls Read.
func (t *Tracer) Look(pid, tid uint32) {
	t.asked = append(t.asked, thread{pid, tid})
}

// answer appends the answers to Look. It is called when everything that was recorded has been handed out, so that an
// answer never overtakes a record that is older.
func (t *Tracer) answer(dst []event.Event) []event.Event {
	for _, th := range t.asked {
		if turn, now, ok := t.turn(th.tid); ok {
			asleep, computing := t.stacks(turn, th)
			dst = turn.append(dst, th, now, asleep, computing)
		}
	}
	t.asked = t.asked[:0]
	return dst
}

// turn reads what is known of a thread's turn, and at what time that was so. It is written meanwhile and copied without a
// lock, so it counts when two copies agree, for the time between them.
func (t *Tracer) turn(tid uint32) (turn, event.Time, bool) {
	const tries = 4
	var last epwatchTurn
	var between event.Time
	for i := range tries {
		var now epwatchTurn
		if t.coll.Maps[epwatchMapTurns].Lookup(tid, &now) != nil || now.Since == 0 {
			return turn{}, 0, false
		}
		if i > 0 && now == last {
			return turn(now), between, true
		}
		last, between = now, Now()
	}
	return turn{}, 0, false
}

// turn is the kernel's side of a turn that is not over.
type turn epwatchTurn

// append makes events of the parts, with the one that is not over counted up to now.
func (u turn) append(dst []event.Event, th thread, now event.Time, asleep, computing stackOf) []event.Event {
	e := event.Event{
		Kind: event.KindSched, Time: now, Start: event.Time(u.Since), PID: th.pid, TID: th.tid, FD: event.NoFD, EpFD: event.NoFD,
	}
	p := parts{runnable: time.Duration(u.Runnable), other: time.Duration(u.Other), current: event.Computing}
	for _, s := range u.Sleeps {
		p.sleeps = append(p.sleeps, sleepOf(s.Number, s.Times, s.Time))
	}
	if off, woken := event.Time(u.Off), event.Time(u.Woken); off != 0 {
		p.current = event.Runnable
		if woken == 0 {
			woken = now
			p.current = event.Blocked
		}
		p.runnable += max(now.Sub(woken), 0)
		if slept := woken.Sub(off); slept > 0 {
			p.sleep(sleepOf(u.Call, 1, uint64(slept)))
		}
	}
	p.asleep, p.computing = asleep, computing
	return p.append(dst, e)
}

// appendTurn unpacks what a finished turn was made of, with stacks where the record is long enough.
func (d *decoder) appendTurn(dst []event.Event, e event.Event, raw []byte) []event.Event {
	r := (*epwatchSchedStackEvent)(unsafe.Pointer(&d.raw))
	e.Start = event.Time(r.Turn.Start)
	p := parts{runnable: time.Duration(r.Turn.Runnable), other: time.Duration(r.Turn.Other)}
	for _, s := range r.Turn.Sleeps {
		p.sleeps = append(p.sleeps, sleepOf(s.Number, s.Times, s.Time))
	}
	if d.stacks != nil && len(raw) >= int(unsafe.Sizeof(*r)) {
		p.asleep, p.computing = d.named(e.PID, &r.Asleep), d.named(e.PID, &r.Computing)
	}
	return p.append(dst, e)
}

// stackOf is a stack and what the thread did when it was taken.
type stackOf struct {
	stack *event.Stack // nil for none
	sleep event.Sched
}

// named gives names to a stack's addresses.
func (d *decoder) named(pid uint32, s *epwatchStack) stackOf {
	user, kernel := frames(s.User[:], s.UserBytes), frames(s.Kernel[:], s.KernelBytes)
	if len(user)+len(kernel) == 0 {
		return stackOf{}
	}
	return stackOf{stack: d.stacks(pid, user, kernel), sleep: sleepOf(s.Call, 0, 0)}
}

// frames are the addresses that were filled in.
func frames(room []uint64, bytes int32) []uint64 {
	return room[:min(len(room), int(max(bytes, 0))/8)]
}

// stacks reads the stacks of a turn that is not over: of the sleep that lasts, else of the longest, and of a sample.
func (t *Tracer) stacks(u turn, th thread) (asleep, computing stackOf) {
	var all epwatchTurnStacks
	if t.decoder.stacks == nil || t.coll.Maps[epwatchMapStacks].Lookup(th.tid, &all) != nil {
		return stackOf{}, stackOf{}
	}
	switch kept := all.Kept & 1; {
	case u.Off != 0 && u.Woken == 0:
		asleep = t.decoder.named(th.pid, &all.Asleep[1-kept])
	case all.Longest > 0:
		asleep = t.decoder.named(th.pid, &all.Asleep[kept])
	}
	if all.Sampled >= u.Since {
		computing = t.decoder.named(th.pid, &all.Computing)
	}
	return asleep, computing
}

// parts are what the time of a turn went to, but for what is left: that was spent on a processor.
type parts struct {
	runnable, other time.Duration
	sleeps          []event.Sched
	current         event.Doing // what lasts, DoingUnknown when the turn is over
	now             int         // the sleep that lasts, where current is Blocked

	asleep, computing stackOf
}

func sleepOf(number, times uint32, ns uint64) event.Sched {
	s := event.Sched{Doing: event.Blocked, Times: times, For: time.Duration(ns)}
	switch number {
	case sleepNoCall:
	case sleepStopped:
		s.Doing = event.Stopped
	default:
		s.Call = proc.CallName(int64(number))
	}
	return s
}

// sleep adds the sleep that lasts, or that the thread is waking from.
func (p *parts) sleep(s event.Sched) {
	for i := range p.sleeps {
		if had := &p.sleeps[i]; had.Times > 0 && had.Doing == s.Doing && had.Call == s.Call {
			had.For += s.For
			had.Times++
			p.now = i
			return
		}
	}
	p.now = len(p.sleeps)
	p.sleeps = append(p.sleeps, s)
}

// append makes an event of each part. e has all that they have in common.
func (p *parts) append(dst []event.Event, e event.Event) []event.Event {
	computing := e.Time.Sub(e.Start) - p.runnable - p.other
	for _, s := range p.sleeps {
		computing -= s.For
	}
	add := func(s event.Sched, lasts bool) {
		if s.For <= 0 && !lasts {
			return
		}
		e.Sched = s
		e.Flags &^= event.Ongoing
		if lasts {
			e.Flags |= event.Ongoing
		}
		dst = append(dst, e)
		e.Lost = 0 // told once
	}
	add(event.Sched{Doing: event.Computing, For: max(computing, 0), Stack: p.computing.stack}, p.current == event.Computing)
	add(event.Sched{Doing: event.Runnable, For: p.runnable}, p.current == event.Runnable)
	for i, s := range p.sleeps {
		if s.Doing == p.asleep.sleep.Doing && s.Call == p.asleep.sleep.Call {
			s.Stack = p.asleep.stack
		}
		add(s, p.current == event.Blocked && p.now == i)
	}
	add(event.Sched{Doing: event.Blocked, For: p.other, Call: event.OtherCalls}, false)
	return dst
}
