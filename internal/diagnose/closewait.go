package diagnose

import (
	"fmt"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

func closeWait() Check {
	return Check{
		Code:  "close-wait",
		Title: "the peer closed, and the program still holds the socket",
		Doc: Doc{
			Symptom: "Sockets gather in CLOSE_WAIT, descriptors run out, accept fails with EMFILE.",
			Mechanism: "The peer's FIN puts the socket into CLOSE_WAIT, and there it stays until this program closes it: " +
				"the kernel has no time-out for that state.",
			Proof: "The state change to CLOSE_WAIT, whether a delivery told the program of it or a read returned the end of " +
				"the stream, and no call on the socket that did anything until the threshold was over.",
			Blind: "A protocol that uses the half-closed direction looks the same while the program prepares its answer; the " +
				"finding is taken back to info once it writes. A connection pool that keeps idle connections open is " +
				"found, although it will close them when it uses them next. Since when a socket from before the observation " +
				"is in that state is not known: one second without anything happening is enough there.",
			Repair:   "Close the socket when a read returns 0 or EPOLLRDHUP is delivered; watch idle connections too.",
			RepairC:  closeWaitC,
			Runtimes: closeWaitRuntimes(),
			References: []string{
				"tcp(7)", "epoll_ctl(2), EPOLLRDHUP", "net/ipv4/tcp_input.c: tcp_fin", "RFC 9293, section 3.3.2",
			},
			DependsOn: []string{"oneshot-disarmed", "et-unread"},
		},
		New: func(c *Context) Rule {
			return &closeWaitRule{c: c, s: newSuspicions[*timeline.File](), threshold: c.Thresholds.CloseWait}
		},
	}
}

const closeWaitC = `
ssize_t n = read(fd, buf, sizeof buf);
if (n == 0) {                   /* the peer's FIN */
	finish_output(conn);    /* what of the answer has still to go */
	epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL);
	close(fd);
}
`

func closeWaitRuntimes() []Advice {
	return []Advice{
		{"libuv", "the read callback gets UV_EOF: call uv_close then, after uv_shutdown where an answer is still to go. A stream " +
			"on which reading was stopped is not told."},
		{"netty", "closes the channel by itself, unless ALLOW_HALF_CLOSURE is set: then ChannelInputShutdownEvent is the word, and " +
			"close() is the handler's to call."},
		{"tokio", "read returns Ok(0): drop the stream, of a split one both halves. A task that awaits something else keeps it."},
		{"Go", "Read returns io.EOF: call Close. Of net/http, an answer whose Body is not closed keeps its connection."},
		{"asyncio", "reader.read() returns b'': call writer.close(). A protocol whose eof_received returns true keeps the transport " +
			"half open, and has to close it."},
	}
}

const closeWaitFix = "close the socket when a read returns 0 or EPOLLRDHUP is delivered"

// foundPatience is how long nothing has to happen to a socket that was met in CLOSE_WAIT. It may have been there for hours,
// and a program that is about to close it does so within milliseconds.
const foundPatience = time.Second

type closeWaitRule struct {
	c         *Context
	s         suspicions[*timeline.File]
	threshold time.Duration
	gap       gapWatch
}

// Expire makes findings of what lasted.
func (r *closeWaitRule) Expire(now event.Time) {
	for c := range r.s.expired(now) {
		if c.file.Ended {
			r.s.drop(c.file)
			continue
		}
		if c.snapshot && c.file.Accepted {
			// A socket that was just accepted, and not one from before.
			c.snapshot = false
			r.s.start(c.file, c, c.since, r.threshold)
			continue
		}
		f := newFinding(c.file, first(c.file.Interests))
		f.Severity, f.Outcome = SeverityWarning, OutcomeOngoing
		f.Start, f.Unread = c.since, unreadOr(c.file, c.unread)
		f.Fix, f.Snapshot = closeWaitFix, c.snapshot
		knew, seqs := r.knew(c.file)
		f.Evidence = append(append(c.evidence, c.file.LastCall.Seq, c.file.Sock.Arrived.Seq), seqs...)
		if i := first(c.file.Interests); i != nil {
			f.Evidence = append(f.Evidence, i.Found.Seq)
		}
		if c.file.Sock.FINRead.Seq != 0 {
			f.Severity = SeverityError
		}
		f.Message = fmt.Sprintf("%s: the peer has closed%s and the socket is still held, with %s in its queue; the program %s",
			f.who(), before(f), r.queue(c.file, f.Unread), knew)
		c.finding = f
		r.c.add(f, c.ripe)
	}
}

func before(f *Finding) string {
	if f.Snapshot {
		return " before epwatch came"
	}
	return ""
}

func first(is []*timeline.Interest) *timeline.Interest {
	if len(is) == 0 {
		return nil
	}
	return is[0]
}

func (r *closeWaitRule) queue(f *timeline.File, unread uint32) string {
	if unread == 0 && !f.Sock.FINUnread() {
		return "nothing"
	}
	return queue(f.Sock, unread, f.Sock.FINUnread())
}

// knew says whether the program could know that the peer has closed, and the events that show it.
func (r *closeWaitRule) knew(f *timeline.File) (string, []uint64) {
	s := f.Sock
	if s.FINRead.Seq != 0 {
		return "has read the end of the stream", []uint64{s.FINRead.Seq}
	}
	for _, i := range f.Interests {
		if i.Told() && i.LastDelivery.Seq > s.FIN.Seq && i.Delivered&inputKeys != 0 {
			return "was told of it (" + i.Delivered.String() + ")", []uint64{i.LastDelivery.Seq}
		}
	}
	if len(f.Interests) == 0 {
		return "watches it with no epoll instance", nil
	}
	for _, i := range f.Interests {
		switch {
		case i.Armed() == timeline.No:
			return "could not know: its EPOLLONESHOT item is disarmed", []uint64{i.LastDelivery.Seq}
		case i.Due() == timeline.Yes:
			return "has not come back to ask", []uint64{i.LastWakeup.Seq}
		}
	}
	if s.StateFound {
		return "may have been told of it", nil
	}
	return "was not told of it", nil
}

// Observe follows sockets whose peer has closed.
func (r *closeWaitRule) Observe(ev *event.Event) {
	if r.gap.isNew(r.c.Timeline) {
		r.s.forgetAll()
	}
	sub := r.c.Timeline.Subject()
	f := sub.File
	if ev.Kind == event.KindAccept && sub.NewFile != nil {
		f = sub.NewFile
	}
	if ev.Kind == event.KindExit {
		for _, c := range r.s.inOrder() {
			r.ended(ev, c)
		}
		return
	}
	if f == nil || f.Sock == nil {
		return
	}
	c := r.s.open[f]
	switch {
	case c == nil:
		r.begin(ev, f)
	case f.Ended || f.Sock.State != event.CloseWait:
		r.ended(ev, c)
	case f.LastUse.Seq == ev.Seq:
		r.used(ev, c)
	}
}

// Finish decides the findings of files whose end was not seen as such.
func (r *closeWaitRule) Finish(event.Time) {
	for _, c := range r.s.inOrder() {
		r.ended(nil, c)
	}
}

// begin starts the clock when a file's socket is in CLOSE_WAIT.
func (r *closeWaitRule) begin(ev *event.Event, f *timeline.File) {
	s := f.Sock
	if f.Ended || s.State != event.CloseWait {
		return
	}
	n, _ := s.Unread()
	c := &suspicion{file: f, unread: n, evidence: []uint64{s.StateAt.Seq, s.FIN.Seq}}
	patience := r.threshold
	if ev.Kind == event.KindSnapshot && s.StateFound {
		c.snapshot = true
		patience = min(patience, foundPatience)
	}
	r.s.start(f, c, max(s.StateAt.Time, ev.Time), patience)
}

// used restarts the clock: the program did something with the socket.
func (r *closeWaitRule) used(ev *event.Event, c *suspicion) {
	f := c.finding
	if f == nil {
		r.s.start(c.file, c, ev.Time, r.threshold)
		return
	}
	// What it does after its finding was taken back is a protocol's half-close, and is not found a second time.
	if f.Outcome == OutcomeOngoing {
		r.resumed(f, ev, "went on with it by itself")
	}
}

func (r *closeWaitRule) resumed(f *Finding, ev *event.Event, how string) {
	f.Outcome, f.Severity, f.End = OutcomeSelfResumed, SeverityInfo, ev.Time
	f.Evidence = append(f.Evidence, ev.Seq)
	f.Message = fmt.Sprintf("%s: the peer had closed%s, and the program %s %s later", f.who(), before(f), how,
		span(f.End.Sub(f.Start)))
	r.c.change(f)
}

// ended decides the finding of a socket that has left CLOSE_WAIT or a file that is no more.
func (r *closeWaitRule) ended(ev *event.Event, c *suspicion) {
	if !c.file.Ended {
		if ev == nil || c.file.Sock.State == event.CloseWait {
			return
		}
		// Its state is left before the file's end is recorded; the close that follows decides.
		if c.finding != nil {
			return
		}
	}
	r.s.drop(c.file)
	f := c.finding
	if f == nil || f.Outcome != OutcomeOngoing {
		return
	}
	f.Unread = unreadOr(c.file, f.Unread)
	exit := c.file.EndedBy == timeline.EndExit || ev != nil && ev.Has(event.Dead)
	if f.Unread == 0 && !exit && ev != nil {
		r.resumed(f, ev, "closed it")
		return
	}
	f.End = c.file.EndTime
	f.Evidence = append(f.Evidence, c.file.EndSeq)
	how := "closed"
	if exit {
		how = "held until the process ended,"
	}
	if f.Unread > 0 {
		f.Outcome, f.Severity = OutcomeLost, SeverityError
	}
	f.Message = fmt.Sprintf("%s: the peer had closed%s, and the socket was %s %s later, with %s in its queue",
		f.who(), before(f), how, span(f.End.Sub(f.Start)), r.queue(c.file, f.Unread))
	r.c.change(f)
}
