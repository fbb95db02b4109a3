package timeline

import "github.com/epwatch/epwatch/internal/event"

// repeat compares a delivery with the one before it, which is still in i: whether the item stayed ready in between, and
// whether anything happened to it.
func (i *Interest) repeat(ev *event.Event, th *Thread) {
	before := i.LastDelivery.Seq
	stayed := th != nil && i.Epoll.t.fresh(before) && i.Epoll.scans <= i.scans+1 && i.staysReady(before) && !i.sleptOver(ev, th, before)
	i.scans = i.Epoll.scans
	if !stayed {
		i.Ready, i.repeated = markOf(ev), false
		return
	}
	i.repeated = i.quietSince(before)
}

// staysReady reports whether the kernel puts the item back on the ready list for as long as a poll finds it ready:
// level-triggered items by itself (ep_send_events), others when EPOLL_CTL_MOD polls them again (ep_modify). Of files that are
// no sockets not every wakeup is seen, so there a MOD does not prove that nothing new came.
func (i *Interest) staysReady(before uint64) bool {
	switch {
	case i.Mask == 0:
		return false
	case !i.Edge():
		return true
	default:
		return i.File.Type == FileSocket && i.Added.Seq > before
	}
}

// sleptOver reports whether the wait slept although the item would have kept it from that. What wakes input of a socket is
// always seen, so there a sleep without a wakeup was for something else (the instance's lock, say); other readiness may have
// gone and come back unseen.
func (i *Interest) sleptOver(ev *event.Event, th *Thread, before uint64) bool {
	if !th.Last.Slept {
		return false
	}
	return i.LastWakeup.Seq > before || i.File.Type != FileSocket || ev.Events&^(event.Out|event.WrNorm) == 0
}

// quietSince reports whether nothing that was seen since could change what a poll of the file finds: no wakeup, nothing taken
// out, nothing written, no other mask. Writing to a counter or a pipe makes it no less readable.
func (i *Interest) quietSince(seq uint64) bool {
	f := i.File
	if i.LastWakeup.Seq > seq || f.Taken.Seq > seq || i.changed > seq {
		return false
	}
	return f.LastWrite.Seq < seq || f.Type == FileOther && i.Delivered&(event.Out|event.WrNorm) == 0
}

// Idle reports whether the last delivery was the same as the one before and nothing has come of it so far: nothing had happened
// to the item or its file between the two, and nothing has since.
func (i *Interest) Idle() bool { return i.repeated && i.Told() && i.quietSince(i.LastDelivery.Seq) }
