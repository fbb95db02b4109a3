package timeline

import (
	"slices"

	"github.com/epwatch/epwatch/internal/event"
)

// Interest is one item of an interest list: a file, watched under one descriptor. Pointers to it are stable and
// stay readable after its end.
type Interest struct {
	Epoll *Epoll
	File  *File
	FD    int32
	// Mask is what is wanted and how; 0 while not known. A fired EPOLLONESHOT does not clear it here.
	Mask event.Mask
	Data uint64
	// Added is the EPOLL_CTL_ADD or MOD that gave the mask; the zero Mark for an item from before the trace.
	Added Mark
	// Found is the snapshot that an item from before the trace was met in; the zero Mark for all others.
	Found   Mark
	Ended   bool
	EndedAt Mark

	// LastWakeup is the last wakeup that the kernel did not ignore.
	LastWakeup Mark
	// LastDelivery is the last time a wait handed the item out, and Delivered what it said.
	LastDelivery Mark
	Delivered    event.Mask
	// Deliverer is the thread that got the last delivery.
	Deliverer *Thread
	// Former is the thread that got the item before Deliverer did, and FormerDelivery its last one.
	Former         *Thread
	FormerDelivery Mark

	// Ready is the delivery since which the item stays ready: every wait that has looked since has handed it out, and none
	// slept although it stood on the ready list. The zero Mark when it was not delivered yet.
	Ready Mark

	repeated bool   // the last delivery told nothing new
	changed  uint64 // the call that changed the mask last
	scans    uint64 // its instance's, at the last delivery
	armed    Tri
	armedSeq uint64
	due      Tri
	dueSeq   uint64
	dueTime  event.Time
	queued   int // wakeups that queued the item since the last delivery
	sameData *Interest
	closings []closing
}

// Wants reports whether the item asks for any of these events. Errors and hang-ups are always asked for.
func (i *Interest) Wants(m event.Mask) bool {
	return (i.Mask|event.Err|event.Hup)&m != 0
}

// Edge reports whether the item is edge-triggered.
func (i *Interest) Edge() bool { return i.Mask&event.ET != 0 }

// OneShot reports whether the item disarms itself with each delivery.
func (i *Interest) OneShot() bool { return i.Mask&event.OneShot != 0 }

// Armed reports whether the item would be woken. Only EPOLLONESHOT items are ever not armed.
func (i *Interest) Armed() Tri {
	switch {
	case i.Ended:
		return No
	case i.Mask == 0:
		return Unknown
	case !i.OneShot():
		return Yes
	case !i.Epoll.t.fresh(i.armedSeq):
		return Unknown
	default:
		return i.armed
	}
}

// Told reports whether the last delivery is known, no records were lost since.
func (i *Interest) Told() bool { return i.Epoll.t.fresh(i.LastDelivery.Seq) }

// FromBefore reports whether all that is known of the item goes back to a snapshot: it was neither set nor handed out
// since, nor were records lost.
func (i *Interest) FromBefore() bool {
	return i.Epoll.t.fresh(i.Found.Seq) && i.Added.Seq == 0 && !i.Told()
}

// Due reports whether the item is on the ready list, so that a wait will hand it out or look at it. A wait that
// came back without it, or that sleeps although the item was queued before, has looked and found nothing.
func (i *Interest) Due() Tri { return i.DueAt(i.Epoll.t.now) }

// DueAt is Due for a time since which nothing happened to the item.
func (i *Interest) DueAt(now event.Time) Tri {
	ep := i.Epoll
	switch {
	case !ep.t.fresh(i.dueSeq):
		return Unknown
	case i.due != Yes:
		return i.due
	case ep.Scanned > i.dueTime:
		return No
	case ep.Waiting > 0 && now.Sub(max(ep.waitSince, i.dueTime)) > scanTime:
		return No
	default:
		return Yes
	}
}

// scanTime is how long a wait may take from its entry to having looked at the whole ready list. Ten thousand ready
// files take some 5 ms.
const scanTime = DefaultWindow

func (i *Interest) setArmed(v Tri, seq uint64) { i.armed, i.armedSeq = v, seq }

func (i *Interest) setDue(v Tri, ev *event.Event) {
	if v == Yes && i.Due() == Yes {
		return // since the earlier wakeup
	}
	i.due, i.dueSeq, i.dueTime = v, ev.Seq, ev.Time
}

// readable reports whether a poll of the file would find input that the item wants, as far as known.
func (i *Interest) readable() Tri {
	s := i.File.Sock
	if s == nil || !s.TCP {
		return Unknown
	}
	n, known := s.Unread()
	if s.Listening {
		n, known = s.Backlog() // and output is never ready (net/ipv4/tcp.c, tcp_poll)
	}
	switch {
	case !s.Listening && i.Mask&event.Out != 0:
		return Unknown // output space is not followed
	case s.FIN.Seq != 0:
		return Yes
	case !known:
		return Unknown
	case n > 0 && i.Wants(event.In|event.RdNorm):
		return Yes
	default:
		return No
	}
}

func (t *Timeline) newInterest(ep *Epoll, f *File, fd int32, data uint64) *Interest {
	i := &Interest{Epoll: ep, File: f, FD: fd, Data: data}
	ep.interests[interestKey{f, fd}] = i
	f.Interests = append(f.Interests, i)
	ep.index(i)
	t.stats.Interests++
	return i
}

func (t *Timeline) dropInterest(i *Interest) {
	if i.Ended {
		return
	}
	if i.Epoll.woke == i {
		i.Epoll.woke = nil
	}
	i.Ended = true
	i.EndedAt = Mark{Seq: t.seq, Time: t.now}
	i.Epoll.unindex(i)
	delete(i.Epoll.interests, interestKey{i.File, i.FD})
	if n := slices.Index(i.File.Interests, i); n >= 0 {
		i.File.Interests = slices.Delete(i.File.Interests, n, n+1)
	}
}

func (t *Timeline) setData(i *Interest, data uint64) {
	if i.Data != data {
		i.Epoll.unindex(i)
		i.Data = data
		i.Epoll.index(i)
	}
}

// wakeup follows a call of an item's wait-queue callback. It also teaches the item, when it is from before the
// trace.
func (t *Timeline) wakeup(ev *event.Event) {
	ep := t.epoll(ev)
	if ep == nil {
		ep = t.newEpoll(ev.PID, ev.EpollAddr)
	}
	t.sub.Epoll = ep
	f := t.watchedFile(ep, ev)
	t.sub.File = f
	if f == nil {
		return
	}
	if f.Sock != nil {
		f.Sock.learn(ev)
		f.Sock.Arrived = markOf(ev)
		t.sub.Sock = f.Sock
	}
	f.learnType(ev)
	if f.Ended || ep.Ended {
		return // the item goes with what it belongs to
	}
	i := t.learnInterest(ep, f, ev)
	t.sub.Interest = i
	if ev.Has(event.Disarmed) || ev.Has(event.Filtered) {
		return
	}
	if !ev.Has(event.Coalesced) {
		i.queued++
	}
	i.LastWakeup = markOf(ev)
	ep.woke, ep.wokeCPU = i, ev.CPU
	i.setDue(Yes, ev)
}

// watchedFile finds the file of a wakeup. The descriptor in it is the item's, which the program may have closed
// and reused, so it never moves a descriptor. A file that has just ended may be woken still: the kernel closes it a moment
// later, and a new one at its address would have been added by a call.
func (t *Timeline) watchedFile(ep *Epoll, ev *event.Event) *File {
	f := t.fileAt(ev.FileAddr, ev.Time)
	if f == nil || f.Ended {
		if of := t.fileOfSock(ev.SockAddr); of != nil {
			f = of
		}
	}
	if f == nil && ev.FileAddr == 0 {
		f = t.fds[descriptor{ep.PID, ev.FD}].file
	}
	if f == nil {
		if ep.Ended {
			return nil
		}
		if ev.FileAddr == 0 && ev.SockAddr == 0 && ev.FD == event.NoFD {
			return nil
		}
		f = t.newFile(ep.PID, ev.FileAddr, ev.Time)
		d := descriptor{ep.PID, ev.FD}
		if t.fds[d].file == nil && ev.FD != event.NoFD && ep.PID != 0 {
			t.bind(d, f, ev.Time)
		}
	}
	if ev.SockAddr != 0 && f.Sock == nil {
		t.attach(f, t.sockAt(ev.SockAddr))
	}
	if f.Addr == 0 && ev.FileAddr != 0 {
		f.Addr = ev.FileAddr
		t.files[f.Addr] = f
	}
	return f
}

// learnInterest takes what the kernel says about an item: mask, data, armed or not.
func (t *Timeline) learnInterest(ep *Epoll, f *File, ev *event.Event) *Interest {
	i := ep.interests[interestKey{f, ev.FD}]
	if i == nil {
		i = t.newInterest(ep, f, ev.FD, ev.Data)
	}
	t.setData(i, ev.Data)
	wanted := ev.Events &^ event.Private
	switch {
	case ev.Has(event.Disarmed) || wanted == 0 && ev.Events&event.OneShot != 0:
		i.Mask |= ev.Events & event.Private
		i.setArmed(No, ev.Seq)
	case ev.Events != 0:
		i.Mask = ev.Events
		i.setArmed(Yes, ev.Seq)
	}
	return i
}

// delivered returns the item with the event's data, nil when there is none or it could be one of several. What was handed
// out can only be of an item that asked for it and is armed.
func (ep *Epoll) delivered(ev *event.Event) *Interest {
	i := ep.byData[ev.Data]
	if i == nil || i.sameData == nil {
		return i
	}
	var one *Interest
	for ; i != nil; i = i.sameData {
		if i.Mask != 0 && ev.Events&^(i.Mask|event.Err|event.Hup) != 0 || i.Armed() == No {
			continue
		}
		if one != nil {
			return nil
		}
		one = i
	}
	return one
}

// deliver finds the item that a wait handed out. Its data is all the kernel gave to the program.
func (t *Timeline) deliver(ev *event.Event) {
	th := t.sub.Thread
	ep := t.epoll(ev)
	if ep == nil && th != nil {
		ep = th.returned
	}
	t.sub.Epoll = ep
	if ep == nil {
		return
	}
	i := ep.delivered(ev)
	if i == nil && ep.byData[ev.Data] == nil {
		if i = t.revive(ep, ev); i == nil {
			return
		}
	}
	if i == nil {
		ev.Flags |= event.Ambiguous
		for i = ep.byData[ev.Data]; i != nil; i = i.sameData {
			// Which of them it was is not known, and so neither is what they know now.
			i.LastDelivery, i.Deliverer, i.Former = Mark{}, nil, nil
			i.dueSeq = 0
			i.armedSeq = 0
			i.queued = 0
		}
		return
	}
	t.sub.Interest, t.sub.File = i, i.File
	i.repeat(ev, th)
	i.File.Told = markOf(ev)
	ev.FD = i.FD
	if i.Deliverer != th {
		i.Former, i.FormerDelivery = i.Deliverer, i.LastDelivery
	}
	i.LastDelivery, i.Delivered, i.Deliverer = markOf(ev), ev.Events, th
	if i.OneShot() {
		i.setArmed(No, ev.Seq)
	}
	switch {
	case i.OneShot():
		i.due, i.queued = No, 0
		i.setDue(No, ev)
	case !i.Edge() && i.Mask != 0:
		// Level-triggered items go back on the ready list at once.
		i.due, i.queued = No, 0
		i.setDue(Yes, ev)
	case i.queued > 1 && th != nil && i.LastWakeup.Time >= th.Returned.Time-event.Time(th.waited):
		// A second queueing during the wait: the first was harvested before the second came.
		i.due, i.queued = No, 1
		i.setDue(Yes, ev)
	default:
		i.due, i.queued = No, 0
		i.setDue(No, ev)
	}
	if th != nil {
		th.Handling = append(th.Handling, i)
	}
}
