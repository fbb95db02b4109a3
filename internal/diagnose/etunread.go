package diagnose

import (
	"fmt"
	"slices"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

func etUnread() Check {
	return Check{
		Code:  "et-unread",
		Title: "input left unread after an edge-triggered delivery",
		Doc: Doc{
			Symptom: "A client waits for an answer to something that the server has received but not read. It goes on " +
				"only when the client sends more, or never.",
			Mechanism: "With EPOLLET an item enters the ready list when input arrives, not while input is there. " +
				"epoll_wait hands it out once and takes it off the list. A program that then reads less than everything " +
				"is not told again about the rest: only the next arrival wakes it.",
			Proof: "The wakeup and the delivery that told of the input, the last receive with the bytes it left, the " +
				"wait that the loop went back to, and no wakeup of that item from there until the threshold was over.",
			Blind: "Sockets only, TCP, UDP and UNIX: what a pipe or a counter holds is not followed. Messages that a call leaves are " +
				"counted, not their bytes, and a message that was read in part counts as one. A socket with SO_RCVLOWAT above 1 is woken late on purpose, which the check cannot " +
				"see. Items that share their epoll_data cannot be told apart. Of an item from before the observation " +
				"only the snapshot is known: input that is there, on an item that no wait hands out, counts as left unread, " +
				"also when the program has looked at it with MSG_PEEK and waits for more. A program that holds input back on purpose (flow control) is taken back to " +
				"info only when it goes on by itself.",
			Repair: "Read until EAGAIN after each edge-triggered delivery; or remember the file in a list of one's own and " +
				"serve that before the next wait blocks; or use level-triggered mode.",
			RepairC:  etUnreadC,
			Runtimes: etUnreadRuntimes(),
			References: []string{
				"epoll(7), Level-triggered and edge-triggered",
				"fs/eventpoll.c: ep_poll_callback, ep_send_events",
				"net/ipv4/tcp.c: tcp_poll; net/ipv4/tcp_input.c: tcp_data_ready",
				"net/ipv4/udp.c: __udp_enqueue_schedule_skb; net/unix/af_unix.c: unix_stream_sendmsg, unix_dgram_sendmsg",
			},
		},
		New: func(c *Context) Rule {
			return &etUnreadRule{c: c, s: newSuspicions[*timeline.File](), threshold: c.Thresholds.ETUnread,
				strangers: make(map[stranger]struct{})}
		},
	}
}

const etUnreadFix = "read until EAGAIN after each edge-triggered delivery, or keep the fd in a pending list until it is drained"

// dueGrace is how long an item may stay due although its loop waits, before "due" is not believed any more: a wait
// looks at the whole ready list within milliseconds.
const dueGrace = 50 * time.Millisecond

type etUnreadRule struct {
	c         *Context
	s         suspicions[*timeline.File]
	threshold time.Duration
	gap       gapWatch
	// strangers are deliveries of items that nothing is known of yet: between the beginning of an observation and the
	// snapshot of its interest lists. The snapshot, or an epoll_ctl, tells what they are.
	strangers map[stranger]struct{}
}

type stranger struct {
	epoll *timeline.Epoll
	data  uint64
}

// maxStrangers bounds the memory for instances whose interest list cannot be read.
const maxStrangers = 1 << 16

// Expire makes findings of what lasted.
func (r *etUnreadRule) Expire(now event.Time) {
	for c := range r.s.expired(now) {
		if c.file.Ended || c.interest.Ended {
			r.s.drop(c.file)
			continue
		}
		if c.waiting {
			r.lookAgain(c)
			continue
		}
		if c.file.Shared && !c.file.Sock.TCP {
			r.c.Unknown("a child process that is not observed may read from the same socket")
			r.s.drop(c.file)
			continue
		}
		f := newFinding(c.file, c.interest)
		f.Severity, f.Outcome = SeverityWarning, OutcomeOngoing
		f.Start, f.Unread, f.TID = c.since, c.unread, c.tid
		f.Evidence = c.evidence
		f.Fix, f.Snapshot = etUnreadFix, c.snapshot
		f.Message = r.left(f, c, c.unread) + "; nothing is due to wake it"
		c.finding = f
		r.c.add(f, c.ripe)
	}
}

// left says what was left unread, and whether that was seen or found.
func (*etUnreadRule) left(f *Finding, c *suspicion, n uint32) string {
	what := amount(c.file.Sock, n)
	switch {
	case !c.snapshot:
		return fmt.Sprintf("%s: %s %s left unread after an edge-triggered delivery", f.who(), what, was(n))
	case c.read:
		return fmt.Sprintf("%s: %s %s left unread after an edge-triggered delivery that was before epwatch came", f.who(), what, was(n))
	default:
		return fmt.Sprintf("%s: %s lay unread on an edge-triggered item when epwatch came", f.who(), what)
	}
}

// lookAgain decides what became of an item that was due when its loop went back to wait.
func (r *etUnreadRule) lookAgain(c *suspicion) {
	if c.interest.DueAt(c.ripe) == timeline.Yes {
		r.s.start(c.file, c, c.ripe, dueGrace)
		return
	}
	c.waiting = false
	r.s.start(c.file, c, c.ripe, r.threshold)
}

// Observe follows what happens to the file of the event.
func (r *etUnreadRule) Observe(ev *event.Event) {
	if r.gap.isNew(r.c.Timeline) {
		r.s.forgetAll()
	}
	sub := r.c.Timeline.Subject()
	if sub.Interest != nil && len(r.strangers) > 0 {
		delete(r.strangers, stranger{sub.Epoll, sub.Interest.Data})
	}
	switch ev.Kind {
	case event.KindWakeup:
		r.wakeup(ev, sub)
	case event.KindDeliver:
		r.deliver(ev, sub)
	case event.KindRecv:
		if ev.Ret > 0 && !ev.Has(event.Peek) {
			r.consumed(ev, sub.File)
		}
		r.judge(ev, sub.File)
	case event.KindRead:
		r.blindRead(ev, sub.File)
		if ev.Has(event.HasUnread) && ev.Ret >= 0 && !ev.Has(event.Peek) {
			r.consumed(ev, sub.File)
		}
		r.judge(ev, sub.File)
	case event.KindWrite:
		r.judge(ev, sub.File)
	case event.KindWaitEnter:
		r.movedOn(ev, sub.Thread)
	case event.KindExit:
		r.movedOn(ev, sub.Thread)
		r.endedAll(ev)
	case event.KindEpollCtl, event.KindShutdown:
		r.restart(sub.File)
		r.judge(ev, sub.File)
	case event.KindSnapshot:
		r.ended(ev, sub.File)
		if sub.Interest != nil {
			r.judge(ev, sub.File)
		}
	case event.KindClose, event.KindRelease, event.KindState, event.KindReset, event.KindAccept, event.KindDup:
		r.ended(ev, sub.File)
	}
}

// Finish decides the findings of files whose end was not seen as such.
func (r *etUnreadRule) Finish(event.Time) {
	r.endedAll(nil)
	if len(r.strangers) > 0 {
		r.c.Unknown(strangerDelivered)
	}
}

const strangerDelivered = "an item from before the observation was delivered, and what it watches is not known"

// wakeup ends a suspicion, or is what rescues a finding.
func (r *etUnreadRule) wakeup(ev *event.Event, sub *timeline.Subject) {
	c := r.s.open[sub.File]
	if c == nil {
		return
	}
	if isMessage(ev) && ev.Unread <= c.unread && ev.Time.Sub(c.since) > dueGrace {
		r.takenElsewhere(ev, c)
		return
	}
	if ev.Has(event.Disarmed) || ev.Has(event.Filtered) {
		return
	}
	if c.finding == nil {
		r.s.drop(sub.File)
	} else if c.woken.Seq == 0 {
		c.woken = timeline.Mark{Seq: ev.Seq, Time: ev.Time}
	}
}

// isMessage reports whether the wakeup is that of a message that came, not of output space or a hang-up, and counts it in.
func isMessage(ev *event.Event) bool {
	return ev.Has(event.HasUnread|event.Messages) && ev.Key&event.In != 0 && ev.Key&(event.Out|event.Err|event.Hup|event.RdHup) == 0
}

// takenElsewhere takes a finding back: a message has come, and there are no more of them than this process had left. Processes
// that serve one UDP socket together do that.
func (r *etUnreadRule) takenElsewhere(ev *event.Event, c *suspicion) {
	r.s.drop(c.file)
	r.c.Unknown("a process that is not observed reads from the same socket")
	if f := c.finding; f != nil && f.Outcome == OutcomeOngoing {
		f.Severity, f.Outcome, f.End = SeverityInfo, OutcomeUnknown, ev.Time
		f.Evidence = append(f.Evidence, ev.Seq)
		f.Message = r.left(f, c, c.unread) + " (taken back: a process that is not observed read it)"
		r.c.change(f)
	}
}

// deliver ends a suspicion: the program has been told again.
func (r *etUnreadRule) deliver(ev *event.Event, sub *timeline.Subject) {
	if ev.Has(event.Ambiguous) {
		for i := range sub.Epoll.Items(ev.Data) {
			if i.Edge() {
				r.c.Unknown("several items of an epoll instance share their epoll_data")
			}
			r.restart(i.File)
		}
		return
	}
	if sub.Interest == nil && sub.Epoll != nil && sub.Epoll.Created.Seq == 0 {
		r.meet(stranger{sub.Epoll, ev.Data})
	}
	r.restart(sub.File)
}

func (r *etUnreadRule) meet(s stranger) {
	if len(r.strangers) == maxStrangers {
		r.c.Unknown(strangerDelivered)
		return
	}
	r.strangers[s] = struct{}{}
}

// restart drops what is suspected but not yet found.
func (r *etUnreadRule) restart(f *timeline.File) {
	if c := r.s.open[f]; c != nil && c.finding == nil {
		r.s.drop(f)
	}
}

// blindRead notices a read whose receive was not seen, so that nobody knows what it left.
func (r *etUnreadRule) blindRead(ev *event.Event, f *timeline.File) {
	if ev.Ret <= 0 || f == nil || f.Sock == nil || !f.Sock.TCP {
		return
	}
	if _, known := f.Sock.Unread(); !known && slices.ContainsFunc(f.Interests, (*timeline.Interest).Edge) {
		r.c.Unknown("a read was seen without its receive: what it left is not known")
	}
}

// consumed is the program's reading: it ends a suspicion and decides a finding.
func (r *etUnreadRule) consumed(ev *event.Event, f *timeline.File) {
	c := r.s.open[f]
	if c == nil {
		return
	}
	r.s.drop(f)
	found := c.finding
	if found == nil || found.Outcome != OutcomeOngoing {
		return
	}
	found.Evidence = append(found.Evidence, c.woken.Seq, ev.Seq)
	left := r.left(found, c, c.unread)
	switch {
	case c.woken.Seq != 0:
		found.Outcome, found.Severity, found.End = OutcomeRescued, SeverityWarning, c.woken.Time
		found.Message = fmt.Sprintf("%s; only the next input woke it, %s later", left, span(found.End.Sub(found.Start)))
	default:
		found.Outcome, found.Severity, found.End = OutcomeSelfResumed, SeverityInfo, ev.Time
		found.Message = fmt.Sprintf("%s; held back by the program, which read on by itself %s later", left,
			span(found.End.Sub(found.Start)))
	}
	r.c.change(found)
}

// endedAll decides the findings of all files that are no more: an exit ends many at once.
func (r *etUnreadRule) endedAll(ev *event.Event) {
	for _, c := range r.s.inOrder() {
		r.ended(ev, c.file)
	}
}

// ended decides the finding of a file that is no more.
func (r *etUnreadRule) ended(ev *event.Event, f *timeline.File) {
	c := r.s.open[f]
	if c == nil || !f.Ended {
		return
	}
	r.s.drop(f)
	found := c.finding
	if found == nil || found.Outcome != OutcomeOngoing {
		return
	}
	left := unreadOr(f, c.unread)
	found.Evidence = append(found.Evidence, c.woken.Seq, f.EndSeq)
	if ev != nil {
		found.Evidence = append(found.Evidence, ev.Seq)
	}
	found.Outcome, found.Severity, found.End, found.Unread = OutcomeLost, SeverityError, f.EndTime, left
	found.Message = fmt.Sprintf("%s and never read: closed %s later", r.left(found, c, left), span(found.End.Sub(found.Start)))
	r.c.change(found)
}

// movedOn judges what the thread was handling when it asked for new work or ended.
func (r *etUnreadRule) movedOn(ev *event.Event, th *timeline.Thread) {
	if th == nil {
		return
	}
	for _, i := range th.Handling {
		r.judge(ev, i.File)
	}
}

// judge opens a suspicion if everything that makes one is known to hold, and drops an open one if not.
func (r *etUnreadRule) judge(ev *event.Event, f *timeline.File) {
	if f == nil {
		return
	}
	c := r.s.open[f]
	if c != nil && c.finding != nil {
		return
	}
	i, since, ok := forgotten(f)
	if !ok {
		r.restart(f)
		return
	}
	if c != nil {
		return // its clock runs since the loop moved on first
	}
	n, _ := f.Sock.Unread()
	c = &suspicion{file: f, interest: i, unread: n, tid: i.LastDelivery.TID, snapshot: i.FromBefore()}
	c.read = f.Sock.LastRecv.Seq != 0
	c.evidence = []uint64{i.Found.Seq, i.LastWakeup.Seq, i.LastDelivery.Seq, f.Sock.LastRecv.Seq, f.Sock.UnreadSeq(), ev.Seq}
	if i.Due() == timeline.Yes {
		c.waiting = true
		r.s.start(f, c, ev.Time, dueGrace)
		return
	}
	r.s.start(f, c, since, r.threshold)
}

// forgotten reports whether the file holds input that its loop was told of, did not read, and will not be told of
// again; by which item, and since when.
func forgotten(f *timeline.File) (told *timeline.Interest, since event.Time, ok bool) {
	s := f.Sock
	if f.Ended || f.ShutRead || s == nil || s.Listening || s.State == event.Closed {
		return nil, 0, false
	}
	if n, known := s.Unseen(); !known || n == 0 {
		return nil, 0, false
	}
	for _, i := range f.Interests {
		if i.Mask != 0 && !i.Wants(event.In|event.RdNorm) {
			continue
		}
		switch i.Armed() {
		case timeline.No:
			continue
		case timeline.Unknown:
			return nil, 0, false
		}
		if !i.Edge() {
			return nil, 0, false // it will be handed out again and again
		}
		if _, closed := i.ClosedBy(i.Epoll.PID); closed {
			return nil, 0, false // whoever holds the file now may read it
		}
		// Of an item from before the observation nobody knows who was told; Due will say whether anybody is yet to be.
		if i.FromBefore() {
			since = max(since, i.Found.Time)
			if told == nil {
				told = i
			}
			continue
		}
		// Every loop that watches must have been told and have gone on.
		if !i.Told() || i.Deliverer == nil || !i.Deliverer.MovedOn(i.LastDelivery) {
			return nil, 0, false
		}
		since = max(since, i.Deliverer.FreeSince())
		if told == nil || told.LastDelivery.Seq < i.LastDelivery.Seq {
			told = i
		}
	}
	if told == nil || !told.FromBefore() && told.Delivered&(event.In|event.RdNorm|event.RdHup|event.Hup|event.Err|event.Pri) == 0 {
		return nil, 0, false
	}
	if f.WriteBlocked() && told.Wants(event.Out) {
		return nil, 0, false // output space is due to wake it
	}
	return told, max(since, s.LastRecv.Time), true
}
