package diagnose

import (
	"fmt"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

func oneshotDisarmed() Check {
	return Check{
		Code:  "oneshot-disarmed",
		Title: "input or a hang-up arrived on a disarmed EPOLLONESHOT item",
		Doc: Doc{
			Symptom: "A connection answers once and then never again. Its receive queue grows, and when the client closes " +
				"it stays in CLOSE_WAIT.",
			Mechanism: "With EPOLLONESHOT the first delivery clears everything but the private bits from the item's mask. " +
				"Until EPOLL_CTL_MOD sets it again the kernel ignores whatever arrives, hang-ups and errors included, " +
				"and it keeps no note of them.",
			Proof: "The delivery that disarmed the item, the wakeup that the kernel ignored because of that, and no " +
				"EPOLL_CTL_MOD until the threshold was over.",
			Blind: "A worker that takes longer than the threshold over one request and then re-arms looks the same " +
				"until it does; the finding is then taken back to info. What an item wants that was disarmed before the " +
				"observation is not known: input is taken to be wanted.",
			Repair: "Call epoll_ctl(EPOLL_CTL_MOD) with the full mask after each delivery is handled; it reports at once " +
				"what arrived meanwhile.",
			RepairC:  oneshotC,
			Runtimes: oneshotRuntimes(),
			References: []string{
				"epoll_ctl(2), EPOLLONESHOT",
				"fs/eventpoll.c: ep_poll_callback, ep_send_events (EP_PRIVATE_BITS)",
				"fs/eventpoll.c: ep_modify, which polls the file and so reports what is there",
			},
		},
		New: func(c *Context) Rule {
			return &oneshotRule{c: c, s: newSuspicions[*timeline.Interest](), threshold: c.Thresholds.OneshotDisarmed}
		},
	}
}

const oneshotC = `
/* The worker's last word on conn: another thread may have it as soon as this returns. */
struct epoll_event ev = {
	.events = EPOLLIN | EPOLLRDHUP | EPOLLET | EPOLLONESHOT,
	.data.ptr = conn,
};
if (epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &ev) < 0)
	drop(conn);
`

func oneshotRuntimes() []Advice {
	return []Advice{
		{"runtimes", "libuv, netty's epoll transport, tokio, Go and asyncio do not set EPOLLONESHOT on sockets: in a program on one of them " +
			"the item belongs to another library, or to a loop of the program's own."},
		{"async-io", "of smol, over the polling crate, sets it, and re-arms when a task waits again: what is found has no task that waits."},
		{"Python", "epoll.modify of select re-arms; selectors and asyncio never need it."},
	}
}

const oneshotFix = "re-arm the fd with epoll_ctl(EPOLL_CTL_MOD) once its delivery is handled"

type oneshotRule struct {
	c         *Context
	s         suspicions[*timeline.Interest]
	threshold time.Duration
	gap       gapWatch
}

// Expire makes findings of what lasted.
func (r *oneshotRule) Expire(now event.Time) {
	for c := range r.s.expired(now) {
		if c.file.Ended || c.interest.Ended {
			r.s.drop(c.interest)
			continue
		}
		f := newFinding(c.file, c.interest)
		f.Severity, f.Outcome = SeverityWarning, OutcomeOngoing
		f.Start, f.Unread, f.TID = c.since, c.unread, c.tid
		f.Evidence, f.Fix, f.Snapshot = c.evidence, oneshotFix, c.snapshot
		f.Message = r.says(f, c) + "; nothing will wake it"
		c.finding = f
		r.c.add(f, c.ripe)
	}
}

func (r *oneshotRule) says(f *Finding, c *suspicion) string {
	s := c.file.Sock
	what := queue(s, f.Unread, s != nil && s.EndUnseen())
	if c.snapshot {
		return fmt.Sprintf("%s: %s waited on an EPOLLONESHOT item that was disarmed when epwatch came", f.who(), what)
	}
	return fmt.Sprintf("%s: %s arrived on an EPOLLONESHOT item that was never re-armed", f.who(), what)
}

// Kinds are those that Observe looks at.
func (*oneshotRule) Kinds() []event.Kind {
	return []event.Kind{
		event.KindWakeup, event.KindEpollCtl, event.KindSnapshot, event.KindRecv, event.KindRead, event.KindExit, event.KindClose, event.KindRelease, event.KindState, event.KindReset,
	}
}

// Observe follows the items with EPOLLONESHOT.
func (r *oneshotRule) Observe(ev *event.Event) {
	if r.gap.isNew(r.c.Timeline) {
		r.s.forgetAll()
	}
	sub := r.c.Timeline.Subject()
	switch ev.Kind {
	case event.KindWakeup:
		r.arrived(ev, sub)
	case event.KindEpollCtl:
		r.controlled(ev, sub)
	case event.KindSnapshot:
		r.found(ev, sub)
	case event.KindRecv, event.KindRead:
		r.drained(ev, sub.File)
	case event.KindExit:
		r.endedAll(ev)
	case event.KindClose, event.KindRelease, event.KindState, event.KindReset:
		r.ended(ev, sub.File)
	}
}

// Finish decides the findings of files whose end was not seen as such.
func (r *oneshotRule) Finish(event.Time) { r.endedAll(nil) }

// inputKeys are the poll keys of input, hang-ups and errors.
const inputKeys = event.In | event.RdNorm | event.RdHup | event.Hup | event.Err | event.Pri

// arrived opens or extends a suspicion when the kernel ignores an arrival.
func (r *oneshotRule) arrived(ev *event.Event, sub *timeline.Subject) {
	i := sub.Interest
	if i == nil || !i.OneShot() || i.Armed() != timeline.No || ev.Key != 0 && ev.Key&inputKeys == 0 {
		return
	}
	if i.Mask&^event.Private == 0 && !i.FromBefore() {
		r.c.Unknown("a disarmed item from before the observation: what it wants is not known")
		return
	}
	if _, closed := i.ClosedBy(i.Epoll.PID); closed {
		return // whoever holds the file now may read it
	}
	if !r.wanted(i, ev) {
		return
	}
	if c := r.s.open[i]; c != nil {
		r.extend(c, ev)
		return
	}
	r.suspect(i, ev, ev.Unread)
}

// found opens a suspicion when a disarmed item from before the observation holds input.
func (r *oneshotRule) found(ev *event.Event, sub *timeline.Subject) {
	i := sub.Interest
	if i == nil || !i.OneShot() || i.Armed() != timeline.No || !i.FromBefore() || r.s.open[i] != nil || i.File.Sock == nil {
		return
	}
	n, known := i.File.Sock.Unread()
	if i.File.Sock.Listening || !known || n == 0 && !i.File.Sock.FINUnread() {
		return
	}
	r.suspect(i, ev, n)
}

func (r *oneshotRule) suspect(i *timeline.Interest, ev *event.Event, unread uint32) {
	c := &suspicion{file: i.File, interest: i, unread: unread, tid: i.LastDelivery.TID, snapshot: i.FromBefore()}
	c.evidence = []uint64{i.Found.Seq, i.Added.Seq, i.LastWakeup.Seq, i.LastDelivery.Seq, ev.Seq}
	if i.File.Sock != nil {
		c.evidence = append(c.evidence, i.File.Sock.LastRecv.Seq)
		if c.snapshot {
			c.evidence = append(c.evidence, i.File.Sock.UnreadSeq())
		}
	}
	r.s.start(i, c, ev.Time, r.threshold)
}

// wanted reports whether the arrival is something the armed item would have been woken for, and is still there.
func (r *oneshotRule) wanted(i *timeline.Interest, ev *event.Event) bool {
	if i.File.Sock != nil && i.File.Sock.State == event.Closed || ev.Key&(event.Err|event.Hup) != 0 {
		return true // errors and hang-ups are always asked for
	}
	if !i.FromBefore() && !i.Wants(event.In|event.RdNorm|event.RdHup) {
		return false
	}
	return !ev.Has(event.HasUnread) || ev.Unread > 0 || ev.Flags&(event.FIN|event.FINUnread) != 0
}

func (r *oneshotRule) extend(c *suspicion, ev *event.Event) {
	if ev.Has(event.HasUnread) {
		c.unread = ev.Unread
	}
	if ev.Flags&(event.FIN|event.FINUnread) != 0 && c.woken.Seq == 0 {
		c.woken = timeline.Mark{Seq: ev.Seq, Time: ev.Time}
		c.evidence = append(c.evidence, ev.Seq)
	}
	if f := c.finding; f != nil && f.Outcome == OutcomeOngoing {
		f.Unread = c.unread
		f.Evidence = append(f.Evidence, c.woken.Seq)
		f.Message = r.says(f, c) + "; nothing will wake it"
		r.c.change(f)
	}
}

// controlled ends a suspicion: the program re-armed the item, or took it off the list. A call that failed names no
// item.
func (r *oneshotRule) controlled(ev *event.Event, sub *timeline.Subject) {
	c := r.s.open[sub.Interest]
	if c == nil {
		return
	}
	if ev.Op == event.CtlDel && c.finding != nil {
		return // its close says what became of the input
	}
	r.resumed(c, ev, "re-armed")
}

// drained ends a suspicion when the program read everything without having been told.
func (r *oneshotRule) drained(ev *event.Event, f *timeline.File) {
	if f == nil || f.Sock == nil || len(r.s.open) == 0 {
		return
	}
	n, known := f.Sock.Unread()
	if !known {
		return
	}
	for _, i := range f.Interests {
		c := r.s.open[i]
		switch {
		case c == nil:
		case n == 0 && !f.Sock.EndUnseen():
			r.resumed(c, ev, "read")
		case c.finding == nil:
			c.unread = n
		}
	}
}

func (r *oneshotRule) resumed(c *suspicion, ev *event.Event, how string) {
	r.s.drop(c.interest)
	f := c.finding
	if f == nil || f.Outcome != OutcomeOngoing {
		return
	}
	f.Outcome, f.Severity, f.End = OutcomeSelfResumed, SeverityInfo, ev.Time
	f.Evidence = append(f.Evidence, ev.Seq)
	arrived := "arrived"
	if c.snapshot {
		arrived = "had arrived when epwatch came"
	}
	f.Message = fmt.Sprintf("%s: %s %s on a disarmed EPOLLONESHOT item, which the program %s by itself %s later",
		f.who(), queue(c.file.Sock, f.Unread, c.woken.Seq != 0), arrived, how, span(f.End.Sub(f.Start)))
	r.c.change(f)
}

func (r *oneshotRule) endedAll(ev *event.Event) {
	for _, c := range r.s.inOrder() {
		r.ended(ev, c.file)
	}
}

// ended decides the findings of a file that is no more.
func (r *oneshotRule) ended(ev *event.Event, f *timeline.File) {
	if f == nil || !f.Ended || len(r.s.open) == 0 {
		return
	}
	for i, c := range r.s.open {
		if c.file != f {
			continue
		}
		delete(r.s.open, i)
		r.decide(ev, c)
	}
}

func (r *oneshotRule) decide(ev *event.Event, c *suspicion) {
	f := c.finding
	if f == nil || f.Outcome != OutcomeOngoing {
		return
	}
	f.End = c.file.EndTime
	f.Unread = unreadOr(c.file, c.unread)
	f.Evidence = append(f.Evidence, c.file.EndSeq)
	if ev != nil {
		f.Evidence = append(f.Evidence, ev.Seq)
	}
	how := "closed"
	if c.file.EndedBy == timeline.EndExit || ev != nil && ev.Has(event.Dead) {
		how = "held until the process ended"
	}
	switch {
	case f.Unread > 0:
		f.Outcome, f.Severity = OutcomeLost, SeverityError
	case how == "closed":
		f.Outcome, f.Severity = OutcomeSelfResumed, SeverityInfo
	}
	f.Message = fmt.Sprintf("%s; %s %s later", r.says(f, c), how, span(f.End.Sub(f.Start)))
	r.c.change(f)
}
