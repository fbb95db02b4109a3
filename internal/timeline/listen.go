package timeline

import "github.com/epwatch/epwatch/internal/event"

// Backlog returns how many connections wait in a listener's accept queue at least, and whether that is known. The kernel
// gives the number with each arrival; what was accepted since is subtracted, also where it may have been subtracted already.
func (s *Sock) Backlog() (connections uint32, known bool) {
	return s.backlog, s.t.fresh(s.backlogSeq)
}

// BacklogSeq returns the event that gave the length of the accept queue.
func (s *Sock) BacklogSeq() uint64 { return s.backlogSeq }

func (s *Sock) setBacklog(n uint32, ev *event.Event) { s.backlog, s.backlogSeq = n, ev.Seq }

// accepted takes what an accept says about the queue that it took from. That a call fails for lack of descriptors or memory
// is decided before the queue is looked at (net/socket.c, do_accept and its callers).
func (s *Sock) accepted(ev *event.Event) {
	s.Listening = true
	s.LastAccept, s.AcceptResult = markOf(ev), ev.Ret
	switch {
	case ev.Ret == again:
		if s.Arrived.Time < startOf(ev) {
			s.setBacklog(0, ev)
		}
	case ev.Ret >= 0 || ev.Ret == aborted || ev.Ret == fault:
		s.backlog -= min(s.backlog, 1)
	}
}

// With these accept has taken a connection and thrown it away: its peer was gone, or the caller's buffer.
const (
	aborted = -103 // -ECONNABORTED
	fault   = -14  // -EFAULT
)

func (t *Timeline) queued(ev *event.Event) {
	s := t.sock(ev)
	t.sub.Sock = s
	if s == nil {
		return
	}
	s.TCP, s.Listening = true, true
	if ev.Has(event.HasUnread) {
		s.setBacklog(ev.Unread, ev)
	}
	s.Arrived = markOf(ev)
}
