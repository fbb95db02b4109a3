package timeline

import (
	"iter"
	"slices"

	"github.com/epwatch/epwatch/internal/event"
)

// Epoll is one epoll instance. Pointers to it are stable and stay readable after its end.
type Epoll struct {
	ID   event.EpollID
	Addr event.Addr // 0 when the tracer could not say
	PID  uint32
	FDs  []Descriptor
	// LastFD is the owner's descriptor of it, the one it has or had last; NoFD if none was seen.
	LastFD int32
	Ended  bool
	// EndTime is when it ended; the kernel may still wake its items for a moment while it closes them.
	EndTime event.Time
	// Created is its epoll_create; the zero Mark for an instance from before the trace.
	Created Mark
	// Waiting is how many threads are known to be in a wait on it now.
	Waiting int
	// Scanned is the entry of the last wait that returned without filling its buffer: what was ready before it
	// and was not delivered since is not ready any more.
	Scanned event.Time

	t         *Timeline
	interests map[interestKey]*Interest
	byData    map[uint64]*Interest
	presumed  map[uint64]*Interest // by data: items that ended with the last known descriptor of their file
	waitSince event.Time           // when the last thread began to wait
	scans     uint64               // waits that returned without filling their buffer
	woke      *Interest            // the item that was woken last
	wokeCPU   uint16
}

type interestKey struct {
	file *File
	fd   int32
}

// epoll finds the instance that an event means: by its address, else by the descriptor.
func (t *Timeline) epoll(ev *event.Event) *Epoll {
	d := descriptor{ev.PID, ev.EpFD}
	if ev.EpollAddr == 0 {
		return t.epfds(d)
	}
	ep := t.epolls[ev.EpollAddr]
	if ep != nil && ep.Ended {
		if ev.Kind.Kernel() || startOf(ev) <= ep.EndTime {
			return ep
		}
		ep = nil // a new one at the same address
	}
	if ep == nil {
		ep = t.epfds(d)
		if ep != nil && ep.Addr == 0 {
			ep.Addr = ev.EpollAddr
			t.epolls[ev.EpollAddr] = ep
		} else {
			ep = t.newEpoll(ev.PID, ev.EpollAddr)
		}
	}
	if !ev.Kind.Kernel() && ev.EpFD != event.NoFD && t.epfds(d) != ep {
		t.bindEpoll(d, ep)
	}
	return ep
}

func (t *Timeline) newEpoll(pid uint32, addr event.Addr) *Epoll {
	if old := t.epolls[addr]; addr != 0 && old != nil {
		t.endEpoll(old)
	}
	t.epollIDs++
	ep := &Epoll{
		ID: t.epollIDs, Addr: addr, PID: pid, LastFD: event.NoFD, t: t,
		interests: make(map[interestKey]*Interest), byData: make(map[uint64]*Interest), presumed: make(map[uint64]*Interest),
	}
	if addr != 0 {
		t.epolls[addr] = ep
	}
	t.stats.Epolls++
	return ep
}

// epfds finds the instance behind a descriptor. There are few instances in a process, so this is a short search.
func (t *Timeline) epfds(d descriptor) *Epoll {
	if d.FD == event.NoFD {
		return nil
	}
	return t.epollFDs[d]
}

func (t *Timeline) bindEpoll(d descriptor, ep *Epoll) {
	if old := t.epollFDs[d]; old != nil && old != ep {
		t.closeEpollFD(d, maxTime)
	}
	t.epollFDs[d] = ep
	if !slices.Contains(ep.FDs, d) {
		ep.FDs = append(ep.FDs, d)
		if d.PID == ep.PID {
			ep.LastFD = d.FD
		}
	}
}

// closeEpollFD takes the descriptor from the instance that it named when the call began, if it named one, and ends the
// instance with its last.
func (t *Timeline) closeEpollFD(d descriptor, start event.Time) {
	ep := t.epollFDs[d]
	if ep == nil || ep.Created.Time > start {
		return
	}
	delete(t.epollFDs, d)
	if i := slices.Index(ep.FDs, d); i >= 0 {
		ep.FDs = slices.Delete(ep.FDs, i, i+1)
	}
	if len(ep.FDs) == 0 {
		t.endEpoll(ep)
	}
}

func (t *Timeline) endEpoll(ep *Epoll) {
	if ep.Ended {
		return
	}
	ep.Ended, ep.EndTime = true, t.now
	for _, d := range ep.FDs {
		delete(t.epollFDs, d)
	}
	for _, i := range ep.interests {
		t.dropInterest(i)
	}
	t.ended.addEpoll(ep, t.now)
}

func (t *Timeline) epollCreate(ev *event.Event) {
	if ev.Ret < 0 {
		return
	}
	d := descriptor{ev.PID, int32(ev.Ret)}
	t.closeEpollFD(d, maxTime)
	ep := t.newEpoll(ev.PID, ev.EpollAddr)
	t.bindEpoll(d, ep)
	ep.Created = markOf(ev)
	t.sub.Epoll = ep
}

func (t *Timeline) epollCtl(ev *event.Event) {
	ep := t.epoll(ev)
	if ep == nil {
		ep = t.newEpoll(ev.PID, 0)
		t.bindEpoll(descriptor{ev.PID, ev.EpFD}, ep)
	}
	t.sub.Epoll = ep
	f := t.named(ev, ev.SockAddr)
	t.sub.File = f
	if f == nil || ev.Ret < 0 {
		return
	}
	f.LastCall = markOf(ev)
	f.learnType(ev)
	if f.Ended {
		return
	}
	i := ep.interests[interestKey{f, ev.FD}]
	if ev.Op == event.CtlDel {
		f.LastUse = markOf(ev)
		t.sub.Interest = i
		if i != nil {
			t.dropInterest(i)
		}
		return
	}
	if i == nil {
		i = t.newInterest(ep, f, ev.FD, ev.Data)
	}
	t.sub.Interest = i
	f.LastUse = markOf(ev)
	t.setData(i, ev.Data)
	// The kernel asks for errors and hang-ups by itself (do_epoll_ctl), so that no mask is ever empty.
	mask := ev.Events | event.Err | event.Hup
	if i.Mask|event.Err|event.Hup != mask {
		i.changed = ev.Seq
	}
	i.Mask, i.Added, i.scans = mask, markOf(ev), ep.scans
	i.setArmed(Yes, ev.Seq)
	i.queued = 0
	if f.Sock != nil {
		f.Sock.learn(ev)
	}
	// epoll_ctl polls the file itself and queues the item at once if it is ready.
	i.due = No
	i.setDue(i.readable(), ev)
}

// Items returns the items that were registered with this epoll_data. More than one cannot be told apart in a
// delivery.
func (ep *Epoll) Items(data uint64) iter.Seq[*Interest] {
	return func(yield func(*Interest) bool) {
		for i := ep.byData[data]; i != nil && yield(i); i = i.sameData {
		}
	}
}

func (ep *Epoll) index(i *Interest) {
	i.sameData = ep.byData[i.Data]
	ep.byData[i.Data] = i
}

func (ep *Epoll) unindex(i *Interest) {
	head := ep.byData[i.Data]
	if head == i {
		if i.sameData == nil {
			delete(ep.byData, i.Data)
		} else {
			ep.byData[i.Data] = i.sameData
		}
	} else {
		for p := head; p != nil; p = p.sameData {
			if p.sameData == i {
				p.sameData = i.sameData
				break
			}
		}
	}
	i.sameData = nil
}
