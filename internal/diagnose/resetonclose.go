package diagnose

import (
	"fmt"
	"slices"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

func resetOnClose() Check {
	return Check{
		Code:  "reset-on-close",
		Title: "closing with unread input made the kernel send a reset",
		Doc: Doc{
			Symptom: "The client sees \"connection reset by peer\", often instead of the last bytes of an answer that the server " +
				"had sent completely.",
			Mechanism: "When the last reference to a TCP socket goes while its receive queue holds data, the kernel sends a " +
				"reset and not a FIN. The reset makes the peer's kernel throw away what it has not delivered yet. The " +
				"peer's own FIN in the queue does not count; one unread byte does.",
			Proof: "The reset, sent inside the close or the exit that ended the socket, with the bytes that were unread.",
			Blind: "Kernels before 6.10 do not say why they send a reset: there the close around it and the unread bytes are the " +
				"proof. A socket whose last reference went with another process or in the kernel is not seen as closed by " +
				"this one. Whether the peer minded is not known. Input that crossed with the close, of which the program " +
				"could not know, is told as info: an idle connection that both sides give up at the same time. So is the rest of an " +
				"answer on a connection that the program opened itself and sent nothing on since: it was given up, by a " +
				"proxy whose client has gone, say.",
			Repair:   "Read to the end of the stream before closing, or shut the writing side down, read until 0, then close.",
			RepairC:  resetC,
			Runtimes: resetRuntimes(),
			References: []string{
				"RFC 2525, section 2.17", "RFC 1122, section 4.2.2.13", "net/ipv4/tcp.c: __tcp_close",
			},
			DependsOn: []string{"et-unread", "oneshot-disarmed"},
		},
		New: func(c *Context) Rule { return &resetRule{c: c, closes: make(map[uint32]closing)} },
	}
}

const resetC = `
/* Non-blocking: stop at EAGAIN, go on with the next EPOLLIN, and give the peer a time limit. */
shutdown(fd, SHUT_WR);          /* our FIN: nothing more will come from here */
ssize_t n;
while ((n = read(fd, buf, sizeof buf)) > 0 || (n < 0 && errno == EINTR))
	;                       /* what the peer had still sent */
if (n == 0)
	close(fd);
`

func resetRuntimes() []Advice {
	return []Advice{
		{"libuv", "uv_close alone throws unread input away: uv_shutdown, read on until UV_EOF, then uv_close."},
		{"netty", "close() alone does, with autoRead off or a handler that stopped reading: shutdownOutput() of the DuplexChannel, and " +
			"close() when the peer has closed too."},
		{"tokio", "dropping a stream does: await shutdown(), read until it returns 0, then drop it."},
		{"Go", "Close does: CloseWrite of the TCPConn, a read deadline, io.Copy to io.Discard, then Close."},
		{"asyncio", "writer.close() does: writer.write_eof(), await reader.read() until it returns b'', then writer.close()."},
	}
}

const (
	resetFix = "read until 0 or EAGAIN before close, or shutdown(SHUT_WR), read until 0, then close"

	abandonedFix = "none is needed if the rest of the answer was not wanted; else read until 0 or EAGAIN before close"

	crossedFix = "none is needed: both sides may do what they did, and the peer may send it again"

	// closeTime is how long after its reset a close may return before the check goes without it.
	closeTime = time.Second
)

type resetRule struct {
	c       *Context
	pending []pendingReset // resets whose close has not returned yet
	// closes holds, by thread, the closing call that it returned from last, until it does something else. Kernels before
	// 6.12 put the file down only on the way back to the program (task work), after the call's return was recorded.
	closes map[uint32]closing
	gap    gapWatch
}

// closing is a call that closes files.
type closing struct {
	seq uint64
	how string
}

type pendingReset struct {
	at     timeline.Mark
	sock   *timeline.Sock
	file   *timeline.File
	unread uint32
	sure   bool // the kernel itself named the reason
}

// Expire gives up waiting for closes that were not seen.
func (r *resetRule) Expire(now event.Time) {
	for len(r.pending) > 0 && now.Sub(r.pending[0].at.Time) > closeTime {
		p := r.pending[0]
		r.pending = slices.Delete(r.pending, 0, 1)
		r.unexplained(p)
	}
}

// Finish judges the resets whose close was not seen.
func (r *resetRule) Finish(event.Time) {
	for _, p := range r.pending {
		r.unexplained(p)
	}
	r.pending = nil
}

// unexplained is a reset without its close. The kernel's own word is enough; without it there is no proof.
func (r *resetRule) unexplained(p pendingReset) {
	if p.sure {
		r.found(p, p.at.Time, "it was closed", 0)
	}
}

// Observe follows resets and the calls around them.
func (r *resetRule) Observe(ev *event.Event) {
	if r.gap.isNew(r.c.Timeline) {
		r.pending = slices.DeleteFunc(r.pending, func(p pendingReset) bool { return !p.sure })
	}
	switch ev.Kind {
	case event.KindReset:
		r.reset(ev)
	case event.KindClose, event.KindDup:
		r.closed(ev)
	default:
		if !ev.Kind.Kernel() {
			delete(r.closes, ev.TID)
		}
	}
}

func (r *resetRule) reset(ev *event.Event) {
	sub := r.c.Timeline.Subject()
	s, f := sub.Sock, sub.File
	if s == nil || ev.Reason != event.ReasonUnknown && ev.Reason != event.ReasonAbortOnClose {
		return
	}
	sure := ev.Reason == event.ReasonAbortOnClose
	if f == nil && !sure {
		return // never accepted: a listener's close resets those
	}
	unread, known := s.Unread()
	if !known && !sure {
		r.c.Unknown("a reset was sent, and how much was unread is not known")
		return
	}
	if unread == 0 && known {
		return
	}
	p := pendingReset{at: timeline.Mark{Seq: ev.Seq, Time: ev.Time, TID: ev.TID}, sock: s, file: f, unread: unread, sure: sure}
	if c, ok := r.closes[ev.TID]; ok && !ev.Has(event.Dead) && f != nil && f.Ended && f.EndSeq == c.seq {
		r.found(p, ev.Time, c.how, c.seq)
		return
	}
	if !ev.Has(event.Dead) && (f == nil || f.EndedBy != timeline.EndExit) {
		r.pending = append(r.pending, p)
		return
	}
	if f != nil && f.PID == ev.PID {
		r.found(p, ev.Time, r.exit(sub.Process), f.EndSeq)
	} else {
		r.unexplained(p)
	}
}

// exit says how the process came to its end.
func (r *resetRule) exit(p *timeline.Process) string {
	switch {
	case p == nil:
		return "the process ended"
	case p.KilledBy() != 0:
		return signalName(p.KilledBy()) + " ended the process"
	case p.Signalled.Seq != 0 && r.c.Timeline.Now().Sub(p.Signalled.Time) < closeTime:
		return "the process ended after " + signalName(p.Signal)
	default:
		return "the process ended"
	}
}

// closed explains the resets that happened inside this call: by the same thread, of the socket that it named.
func (r *resetRule) closed(ev *event.Event) {
	f := r.c.Timeline.Subject().File
	how := callName(ev) + " closed it"
	r.closes[ev.TID] = closing{seq: ev.Seq, how: how}
	start := ev.Start
	if start == 0 {
		start = ev.Time
	}
	r.pending = slices.DeleteFunc(r.pending, func(p pendingReset) bool {
		if p.at.TID != ev.TID || p.at.Time < start || p.at.Time > ev.Time {
			return false
		}
		if p.file == nil && p.sure {
			p.file = f
		}
		if ev.Kind == event.KindClose && ev.Call != event.CallCloseRange && p.file != f {
			return false
		}
		r.found(p, ev.Time, how, ev.Seq)
		return true
	})
}

func callName(ev *event.Event) string {
	if ev.Call == event.CallNone {
		return ev.Kind.String()
	}
	return ev.Call.String()
}

func (r *resetRule) found(p pendingReset, end event.Time, how string, by uint64) {
	f := newFinding(p.file, nil)
	f.Local, f.Peer = p.sock.Local, p.sock.Peer
	f.Severity, f.Outcome = SeverityError, OutcomeLost
	f.Start, f.End, f.Unread, f.TID = p.at.Time, end, p.unread, p.at.TID
	f.Evidence = []uint64{p.sock.LastRecv.Seq, p.sock.UnreadSeq(), p.sock.StateAt.Seq, p.at.Seq, by}
	f.Fix = resetFix
	f.Message = fmt.Sprintf("%s: %s %s unread when %s, so the kernel sent a reset instead of a FIN", f.who(),
		bytes(p.unread), was(p.unread), how)
	f.fact = p.sure
	switch {
	case r.abandoned(p):
		f.Severity, f.Fix = SeverityInfo, abandonedFix
		f.Evidence = append(f.Evidence, p.file.LastWrite.Seq, p.sock.Filled.Seq)
		f.Message = fmt.Sprintf("%s: %s of an answer %s unread when %s, so the kernel sent a reset: the connection was opened here, and "+
			"nothing was sent since the answer came", f.who(), bytes(p.unread), was(p.unread), how)
	case r.crossed(p):
		f.Severity, f.Fix = SeverityInfo, crossedFix
		f.Evidence = append(f.Evidence, p.sock.Filled.Seq)
		f.Message = fmt.Sprintf("%s: %s arrived %s before %s and nobody had been told of it yet, so the kernel sent a reset instead "+
			"of a FIN: both sides moved at the same time", f.who(), bytes(p.unread), span(p.at.Time.Sub(p.sock.Filled.Time)), how)
	}
	r.c.add(f, end)
}

// abandoned reports whether this side gave up an answer that it had asked for: what the reset destroys is the peer's loss then,
// and what was sent had been answered. A proxy does so when its own client has gone away.
func (r *resetRule) abandoned(p pendingReset) bool {
	return p.file != nil && p.sock.Opened && !p.file.Accepted && p.file.LastWrite.Seq != 0 && p.sock.Filled.Seq > p.file.LastWrite.Seq
}

// crossed reports whether the peer sent while this side was closing: all that is unread came just before and after the last
// answer had gone out, and the program had not been told of any of it. A server that closes its idle connections cannot
// avoid this.
func (r *resetRule) crossed(p pendingReset) bool {
	f, s := p.file, p.sock
	if f == nil || !f.Accepted && f.First >= s.Filled.Time || s.Filled.Seq <= f.Told.Seq || p.at.Time.Sub(s.Filled.Time) > r.c.Thresholds.ETUnread {
		return false
	}
	return f.LastWrite.Seq < s.Filled.Seq
}
