package diagnose

import (
	"fmt"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

func ghostEvent() Check {
	return Check{
		Code:  "ghost-event",
		Title: "an event came for a descriptor that this process had closed",
		Doc: Doc{
			Symptom: "The loop gets events of a descriptor that it does not know any more, or takes them for those of a new connection that has " +
				"the same number; level-triggered ones make it spin, and EPOLL_CTL_DEL says EBADF.",
			Mechanism: "An item watches an open file, not a descriptor. close takes a descriptor away, and the item goes only with the file's last " +
				"reference: while a dup, a child of fork, or a process that got the file over a UNIX socket holds it, epoll_wait hands the " +
				"item out with the data of old, and without a descriptor there is no way to remove it.",
			Proof: "The close, and a delivery of the item from a wait that began after it, or that slept until a wakeup came after it, without a call of the " +
				"process on the file through another descriptor afterwards.",
			Blind: "A close that was not seen, such as one by close-on-exec. A duplicate from before the observation, or one that was passed on, " +
				"is noticed only when the event comes within a second of the close, and never when an item with the same epoll_data has been " +
				"added since. What comes sooner after the close than the threshold is left alone: a child holds everything for a moment " +
				"between fork and exec.",
			Repair: "Call epoll_ctl(EPOLL_CTL_DEL) before close wherever the file may have another descriptor. To be rid of an item " +
				"that is a ghost already, close the epoll instance and make a new one.",
			RepairC:  ghostEventC,
			Runtimes: ghostEventRuntimes(),
			References: []string{
				"epoll(7), Questions and answers, Q6", "fs/eventpoll.c: eventpoll_release_file, ep_send_events", "fs/file_table.c: __fput",
			},
		},
		New: func(c *Context) Rule {
			return &ghostRule{c: c, ghosts: make(map[haunting]*ghost), age: c.Thresholds.GhostEvent}
		},
	}
}

const ghostFix = "call epoll_ctl(EPOLL_CTL_DEL) before close, wherever the file may have another descriptor"

// haunting is an item and a process that gets its events.
type haunting struct {
	item *timeline.Interest
	pid  uint32
}

// ghost is what came of an item since its descriptor was closed.
type ghost struct {
	closed  timeline.Mark
	last    timeline.Mark // the last delivery
	open    bool          // nobody has said yet what became of that
	waits   int           // deliveries that led to nothing
	told    int
	holder  string
	finding *Finding
}

type ghostRule struct {
	c      *Context
	ghosts map[haunting]*ghost
	age    time.Duration
	gap    gapWatch
}

// Kinds are those that Observe looks at.
func (*ghostRule) Kinds() []event.Kind {
	return []event.Kind{
		event.KindDeliver, event.KindRead, event.KindWrite, event.KindAccept, event.KindShutdown, event.KindWaitEnter, event.KindClose, event.KindRelease, event.KindState, event.KindEpollCtl, event.KindExit, event.KindDup,
	}
}

// Observe follows the items whose descriptor was closed.
func (r *ghostRule) Observe(ev *event.Event) {
	sub := r.c.Timeline.Subject()
	if ev.Kind == event.KindDeliver {
		r.delivered(ev, sub)
		return
	}
	if len(r.ghosts) == 0 {
		return
	}
	if r.gap.isNew(r.c.Timeline) {
		r.forget()
	}
	switch ev.Kind {
	case event.KindRead, event.KindWrite, event.KindAccept, event.KindShutdown:
		r.used(ev, sub.File)
	case event.KindWaitEnter:
		r.movedOn(ev, sub.Thread)
	case event.KindClose, event.KindRelease, event.KindState, event.KindEpollCtl, event.KindExit, event.KindDup:
		r.ended(ev)
	}
}

// Finish says how often it was in the end.
func (r *ghostRule) Finish(event.Time) {
	for k, g := range r.ghosts {
		if g.finding != nil {
			r.update(k, g)
		}
	}
}

// forget drops what is not a finding: the duplicate may have been closed, or the item removed, in what was lost.
func (r *ghostRule) forget() {
	for k, g := range r.ghosts {
		if g.finding == nil {
			delete(r.ghosts, k)
		}
	}
}

// delivered opens the question whether an event is a ghost's.
func (r *ghostRule) delivered(ev *event.Event, sub *timeline.Subject) {
	i := sub.Interest
	if i == nil || sub.Thread == nil {
		return
	}
	closed, ok := i.ClosedBy(ev.PID)
	if !ok || ev.Time.Sub(closed.Time) < r.age || !harvestedAfter(closed, i, sub.Thread) {
		return
	}
	k := haunting{i, ev.PID}
	g := r.ghosts[k]
	if g == nil {
		g = &ghost{}
		r.ghosts[k] = g
	}
	g.closed, g.open = closed, true
	g.last = timeline.Mark{Seq: ev.Seq, Time: ev.Time, TID: ev.TID}
}

// harvestedAfter reports whether the wait that handed the item out looked at the ready list after the close: it began
// after it, or it slept until a wakeup long after it. What was harvested before is only stale.
func harvestedAfter(closed timeline.Mark, i *timeline.Interest, th *timeline.Thread) bool {
	return th.Entered.Seq > closed.Seq || i.LastWakeup.Seq > closed.Seq && i.LastWakeup.Time.Sub(closed.Time) > dueGrace
}

// used clears an item whose process goes on using the file through another descriptor: it did so on purpose.
func (r *ghostRule) used(ev *event.Event, f *timeline.File) {
	if f == nil {
		return
	}
	for _, i := range f.Interests {
		if g := r.ghosts[haunting{i, ev.PID}]; g != nil && g.finding == nil {
			delete(r.ghosts, haunting{i, ev.PID})
		}
	}
}

// movedOn judges what the thread did about what it had got.
func (r *ghostRule) movedOn(ev *event.Event, th *timeline.Thread) {
	if th == nil {
		return
	}
	for _, i := range th.Handling {
		k := haunting{i, th.PID}
		g := r.ghosts[k]
		if g == nil || !g.open || g.last.TID != th.TID {
			continue
		}
		g.open = false
		g.waits++
		switch {
		case g.finding != nil:
			if g.waits >= 10*g.told {
				r.update(k, g)
			}
		case g.waits > 1 || len(i.File.FDs) > 0:
			// Where nobody is known to hold the file, one event could also be of another item with the same data that was missed.
			r.found(ev, k, g)
		}
	}
}

func (r *ghostRule) found(ev *event.Event, k haunting, g *ghost) {
	f := newFinding(k.item.File, k.item)
	f.PID, f.FD, f.TID = k.pid, k.item.FD, g.last.TID
	f.Severity, f.Outcome, f.Start = SeverityWarning, OutcomeOngoing, g.last.Time
	f.Evidence = []uint64{k.item.Added.Seq, g.closed.Seq, k.item.LastWakeup.Seq}
	f.Fix = ghostFix
	g.finding = f
	r.describe(k, g)
	r.c.add(f, ev.Time)
}

func (r *ghostRule) describe(k haunting, g *ghost) {
	f := g.finding
	g.told = g.waits
	f.Evidence = append(f.Evidence, g.last.Seq)
	what := "an event came for this descriptor,"
	if g.waits > 1 {
		what = fmt.Sprintf("%d events came for this descriptor, the first", g.waits)
	}
	reused := ""
	if r.c.Timeline.Names(timeline.Descriptor{PID: k.pid, FD: k.item.FD}) {
		reused = ", and its number names another file now"
	}
	if !k.item.Ended {
		g.holder = holder(k)
	}
	f.Message = fmt.Sprintf("%s: %s %s after it was closed%s; %s", f.who(), what, span(f.Start.Sub(g.closed.Time)), reused, g.holder)
}

// holder says what keeps the file open, as far as known.
func holder(k haunting) string {
	for _, d := range k.item.File.FDs {
		if d.PID == k.pid {
			return fmt.Sprintf("its duplicate fd %d keeps the file open", d.FD)
		}
	}
	for _, d := range k.item.File.FDs {
		return fmt.Sprintf("process %d keeps the file open as fd %d", d.PID, d.FD)
	}
	if k.item.File.Shared {
		return "a child process or another duplicate keeps the file open"
	}
	return "something that was not seen keeps the file open"
}

func (r *ghostRule) update(k haunting, g *ghost) {
	if g.told == g.waits {
		return
	}
	r.describe(k, g)
	r.c.change(g.finding)
}

// ended lays the ghosts whose item is gone.
func (r *ghostRule) ended(ev *event.Event) {
	for k, g := range r.ghosts {
		if _, closed := k.item.ClosedBy(k.pid); closed && !k.item.Ended {
			continue
		}
		delete(r.ghosts, k)
		if f := g.finding; f != nil {
			if g.told != g.waits {
				r.describe(k, g)
			}
			f.Outcome, f.End = OutcomeOver, ev.Time
			f.Evidence = append(f.Evidence, ev.Seq)
			f.Message += fmt.Sprintf("; the item was gone %s later", span(f.End.Sub(f.Start)))
			r.c.change(f)
		}
	}
}
