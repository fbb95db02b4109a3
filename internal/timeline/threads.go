package timeline

import (
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// WaitState says where a thread stands towards epoll_wait.
type WaitState uint8

// The states. A thread is Undetermined until its first wait is seen.
const (
	Undetermined WaitState = iota
	Running
	Waiting
)

// Thread is one thread of a process. Pointers to it are stable and stay readable after its end.
type Thread struct {
	PID, TID uint32
	Wait     WaitState
	InWait   *Epoll // the instance it waits on, nil if it does not, or if that is not known
	// Entered and Returned are its last wait-enter and wait-return.
	Entered, Returned Mark
	// Asleep is when it last asked for a wait with a time-out, so that it would have slept had nothing been ready.
	Asleep Mark
	// Last is its last wait that returned.
	Last Turn
	// Woken is when the kernel picked it last to return from a wait, and WokenBy the item whose wakeup did that, nil when
	// that is not known: then a scan that left something on the ready list has passed the wakeup on, or a signal came.
	Woken   Mark
	WokenBy *Interest
	// Handling are the items that its last wait handed out.
	Handling []*Interest
	Ended    bool
	EndedAt  Mark

	returned  *Epoll
	waited    time.Duration
	maxEvents uint32
	polling   bool // the wait has a zero time-out and does not sleep
	called    bool // a call that it began during the observation was seen
	receives  []receive
}

// Turn is one wait that returned.
type Turn struct {
	Entered event.Time
	Items   int64 // what it handed out, or a negative errno
	Polling bool  // it had a zero time-out
	Slept   bool  // the kernel woke the thread in it
}

// MovedOn reports whether the thread has asked for new work, or ended, since the mark.
func (th *Thread) MovedOn(since Mark) bool {
	return th.Entered.Seq > since.Seq || th.Ended
}

// FreeSince returns when it asked for new work last, or ended.
func (th *Thread) FreeSince() event.Time {
	if th.Ended {
		return th.EndedAt.Time
	}
	return th.Entered.Time
}

// Process is one process. Pointers to it are stable and stay readable after its end.
type Process struct {
	PID uint32
	// Exited is the end of its last thread; Status the wait status then.
	Exited Mark
	Status int64
	// Signalled is the last signal that was delivered to it.
	Signalled Mark
	Signal    uint8

	uring bool // it uses io_uring, whose operations are no calls
	// Unseen: it does things by calls that are not followed.
	Unseen bool
}

// KilledBy returns the signal that ended the process, 0 if none did or that is not known.
func (p *Process) KilledBy() uint8 {
	if p.Exited.Seq == 0 {
		return 0
	}
	return uint8(p.Status & 0x7f)
}

func (t *Timeline) process(pid uint32) *Process {
	if pid == 0 {
		return nil
	}
	if p := t.lately.proc; p != nil && p.PID == pid {
		return p
	}
	p := t.procs[pid]
	if p == nil {
		p = &Process{PID: pid}
		t.procs[pid] = p
	}
	t.lately.proc = p
	return p
}

// actor finds the process that an event is about and, for the program's own doings and what the kernel did in its
// context, the thread.
func (t *Timeline) actor(ev *event.Event) (*Process, *Thread) {
	var p *Process
	if ev.PID != 0 {
		p = t.process(ev.PID)
	}
	if ev.TID == 0 || !hasThread(ev.Kind) {
		return p, nil
	}
	if th := t.lately.thread; th != nil && th.TID == ev.TID {
		return p, th
	}
	th := t.threads[ev.TID]
	if th == nil {
		if ev.Kind.Kernel() && ev.Kind != event.KindRecv {
			return p, nil
		}
		th = &Thread{PID: ev.PID, TID: ev.TID}
		t.threads[ev.TID] = th
		t.stats.Threads++
	}
	t.lately.thread = th
	return p, th
}

// forgetThread takes an ended thread out.
func (t *Timeline) forgetThread(tid uint32) {
	delete(t.threads, tid)
	t.lately.thread = nil
}

// hasThread reports whether the TID of such an event is the thread that did it. A wakeup, a state change or a
// reset carries whoever was interrupted.
func hasThread(k event.Kind) bool {
	switch k {
	case event.KindWakeup, event.KindState, event.KindReset, event.KindQueued, event.KindPacket, event.KindLost,
		event.KindSnapshot, event.KindRelease:
		return false
	default:
		return true
	}
}

func (t *Timeline) waitEnter(ev *event.Event) {
	th, ep := t.sub.Thread, t.epoll(ev)
	if ep == nil && ev.EpFD != event.NoFD {
		ep = t.newEpoll(ev.PID, 0)
		t.bindEpoll(descriptor{ev.PID, ev.EpFD}, ep)
	}
	t.sub.Epoll = ep
	if th == nil {
		return
	}
	t.leaveWait(th)
	th.Wait, th.InWait, th.Entered = Waiting, ep, markOf(ev)
	th.polling = ev.Timeout == 0
	if !th.polling {
		th.Asleep = markOf(ev)
	}
	th.maxEvents = ev.MaxEvents
	if ep != nil && !th.polling {
		ep.Waiting++
		ep.waitSince = ev.Time
	}
}

func (t *Timeline) leaveWait(th *Thread) {
	if th.Wait == Waiting && th.InWait != nil && !th.polling {
		th.InWait.Waiting--
	}
	th.InWait = nil
}

func (t *Timeline) waitReturn(ev *event.Event) {
	th, ep := t.sub.Thread, t.epoll(ev)
	if th == nil {
		t.sub.Epoll = ep
		return
	}
	if ep == nil {
		ep = th.InWait
	}
	t.sub.Epoll = ep
	t.leaveWait(th)
	th.Last = Turn{Entered: startOf(ev), Items: ev.Ret, Polling: th.polling, Slept: th.Woken.Seq > th.Entered.Seq}
	th.Wait, th.Returned, th.returned = Running, markOf(ev), ep
	th.waited = ev.Time.Sub(startOf(ev))
	clear(th.Handling)
	th.Handling = th.Handling[:0]
	limit := ev.MaxEvents
	if limit == 0 {
		limit = th.maxEvents
	}
	if ep != nil && ev.Start != 0 && ev.Ret >= 0 && (ev.Ret == 0 || limit != 0 && ev.Ret < int64(limit)) {
		ep.Scanned = max(ep.Scanned, ev.Start)
		ep.scans++
	}
}

// wakeTime is how long after an item's wakeup the sleeper is picked: ep_poll_callback does so itself, but an interrupt may
// come between.
const wakeTime = time.Millisecond

func (t *Timeline) woken(ev *event.Event) {
	th, ep := t.sub.Thread, t.epoll(ev)
	t.sub.Epoll = ep
	if th == nil {
		return
	}
	th.Woken, th.WokenBy = markOf(ev), nil
	if ep == nil || ep.woke == nil || ep.wokeCPU != ev.CPU {
		return
	}
	if at := ep.woke.LastWakeup; ev.Time.Sub(at.Time) <= wakeTime && t.fresh(at.Seq) {
		th.WokenBy = ep.woke
	}
}

// fork gives the child every file and every epoll instance that its parent holds. What an unobserved child does with them
// is not seen, so they may live on in it.
func (t *Timeline) fork(ev *event.Event) {
	child := uint32(ev.Ret)
	if !t.opt.Follow || ev.Ret <= 0 {
		for d, b := range t.fds {
			if d.PID == ev.PID {
				b.file.Shared = true
			}
		}
		return
	}
	t.process(child)
	inherited := make(map[int32]*File)
	for d, b := range t.fds {
		if d.PID == ev.PID {
			inherited[d.FD] = b.file
		}
	}
	for fd, f := range inherited {
		t.bind(descriptor{child, fd}, f, ev.Time)
	}
	instances := make(map[int32]*Epoll)
	for d, ep := range t.epollFDs {
		if d.PID == ev.PID {
			instances[d.FD] = ep
		}
	}
	for fd, ep := range instances {
		t.bindEpoll(descriptor{child, fd}, ep)
	}
}

// exec ends the process's other threads, and the kernel closes the descriptors marked close-on-exec without a call. Which
// those are was not seen, so none is believed any more: what is still there is learnt anew when it is used, and what went
// with its last reference is told by its release.
func (t *Timeline) exec(ev *event.Event) {
	for tid, th := range t.threads {
		if th.PID == ev.PID && th != t.sub.Thread {
			t.endSilently(th, ev)
			t.forgetThread(tid)
		}
	}
	var held []descriptor
	for d := range t.fds {
		if d.PID == ev.PID {
			held = append(held, d)
		}
	}
	for _, d := range held {
		f := t.fds[d].file
		t.unbind(d, f)
		f.Shared = true
	}
	for d := range t.epollFDs {
		if d.PID == ev.PID {
			t.closeEpollFD(d, maxTime)
		}
	}
}

// endSilently ends a thread that had no exit of its own.
func (t *Timeline) endSilently(th *Thread, ev *event.Event) {
	t.leaveWait(th)
	t.giveUp(th, maxTime, t.whyNoCall(th))
	th.Wait, th.Ended, th.EndedAt = Running, true, markOf(ev)
}

// unseen notes that the process does something whose calls are not followed.
func (t *Timeline) unseen(ev *event.Event) {
	if p := t.sub.Process; p != nil {
		p.Unseen = true
		p.uring = p.uring || ev.Call == event.CallIOUring
	}
}

func (t *Timeline) signal(ev *event.Event) {
	if p := t.sub.Process; p != nil {
		p.Signalled, p.Signal = markOf(ev), ev.Signal
	}
}

// exit ends a thread, and with the last one everything that the process alone held. The kernel closes its files
// only afterwards.
func (t *Timeline) exit(ev *event.Event) {
	if th := t.sub.Thread; th != nil {
		t.leaveWait(th)
		th.Wait, th.Ended, th.EndedAt = Running, true, markOf(ev)
	}
	p := t.sub.Process
	if p == nil || !ev.Has(event.Last) {
		return
	}
	p.Exited, p.Status = markOf(ev), ev.Ret
	t.ended.addProcess(p, t.now)
	for tid, th := range t.threads {
		if th.PID == ev.PID && th != t.sub.Thread {
			t.endSilently(th, ev)
			t.forgetThread(tid)
		}
	}
	var held []*File
	for d, b := range t.fds {
		if d.PID == ev.PID {
			held = append(held, b.file)
		}
	}
	for _, f := range held {
		for i := len(f.FDs) - 1; i >= 0; i-- {
			if f.FDs[i].PID == ev.PID {
				t.unbind(f.FDs[i], f)
			}
		}
		if len(f.FDs) == 0 && !f.Shared {
			t.endFile(f, EndExit)
		}
	}
	for d := range t.epollFDs {
		if d.PID == ev.PID {
			t.closeEpollFD(d, maxTime)
		}
	}
}

func (t *Timeline) endThread(ev *event.Event, th *Thread) {
	t.giveUp(th, maxTime, t.whyNoCall(th))
	if t.threads[ev.TID] == th {
		t.forgetThread(ev.TID)
	}
}
