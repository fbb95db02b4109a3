package timeline

import "github.com/epwatch/epwatch/internal/event"

// closing is the close of the descriptor that an item is registered under.
type closing struct {
	pid uint32
	at  Mark
}

// ClosedBy returns when a process closed the descriptor that the item is registered under, or put another file there, and
// whether that was seen and holds. The item stays as long as anything else holds its file open (fs/eventpoll.c,
// eventpoll_release_file).
func (i *Interest) ClosedBy(pid uint32) (at Mark, closed bool) {
	for _, c := range i.closings {
		if c.pid == pid && i.Epoll.t.fresh(c.at.Seq) && i.Epoll.t.fds[descriptor{pid, i.FD}].file != i.File {
			return c.at, true
		}
	}
	return Mark{}, false
}

// Names reports whether the descriptor names any open file now, as far as known.
func (t *Timeline) Names(d Descriptor) bool { return t.fds[d].file != nil }

// closed takes from f a descriptor that a call was seen to close.
func (t *Timeline) closed(d descriptor, f *File, ev *event.Event) {
	t.unbind(d, f)
	for _, i := range f.Interests {
		if i.FD != d.FD {
			continue
		}
		c := closing{d.PID, markOf(ev)}
		n := 0
		for n < len(i.closings) && i.closings[n].pid != d.PID {
			n++
		}
		if n == len(i.closings) {
			i.closings = append(i.closings, c)
		}
		i.closings[n] = c
	}
}

// endClosed ends a file whose last known descriptor was closed. The kernel may know another: one that was passed on
// over a UNIX socket, or given to a child before the observation. Then the item lives on, and until the file is buried
// its data tells it.
func (t *Timeline) endClosed(f *File, ev *event.Event) {
	var last *Interest
	if n := len(f.Interests); n > 0 && !t.closedInside(f, ev) {
		last = f.Interests[n-1]
	}
	t.endFile(f, EndClose)
	if last != nil {
		f.presumed = last
		last.Epoll.presumed[last.Data] = last
	}
}

// closedInside reports whether the kernel is seen to drop the last reference inside this very call: it says so, or it
// closes the connection.
func (t *Timeline) closedInside(f *File, ev *event.Event) bool {
	if ev.Has(event.Last) {
		return true
	}
	s := f.Sock
	return s != nil && s.finSent.Seq != 0 && s.finSent.TID == ev.TID && s.finSent.Time >= startOf(ev) && s.finSent.Time <= ev.Time
}

// revive finds the item that a wait handed out although its file was taken for closed: something still holds it open. The
// wait must have begun after the close and returned well after it, or it may have looked at the ready list before the kernel
// was done; and the address must not name another file by now.
func (t *Timeline) revive(ep *Epoll, ev *event.Event) *Interest {
	old, th := ep.presumed[ev.Data], t.sub.Thread
	if old == nil || th == nil || !t.fresh(old.EndedAt.Seq) || th.Entered.Seq < old.EndedAt.Seq || ev.Time.Sub(old.EndedAt.Time) < scanTime {
		return nil
	}
	was := old.File
	if was.Addr != 0 && t.files[was.Addr] != was {
		return nil
	}
	delete(ep.presumed, ev.Data)
	f := t.newFile(was.PID, was.Addr, t.now)
	f.Shared, f.LastFD = true, was.LastFD
	if was.Sock != nil && !was.Sock.Ended {
		t.attach(f, was.Sock)
	}
	i := t.newInterest(ep, f, old.FD, old.Data)
	i.Mask, i.Added, i.closings = old.Mask, old.Added, old.closings
	i.setArmed(Yes, ev.Seq)
	return i
}
