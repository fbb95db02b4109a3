package inspect

import (
	"fmt"
	"strconv"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// The checks whose state can be seen from outside.
const (
	etUnread        = "et-unread"
	oneshotDisarmed = "oneshot-disarmed"
	closeWait       = "close-wait"
	acceptBacklog   = "accept-backlog"
	ghostEvent      = "ghost-event"
)

// Checks returns the codes of what can be suspected.
func Checks() []string {
	return []string{etUnread, oneshotDisarmed, closeWait, acceptBacklog, ghostEvent}
}

const (
	etUnreadFix        = "read until EAGAIN after each edge-triggered delivery, or keep the fd in a pending list until it is drained"
	oneshotDisarmedFix = "re-arm the fd with epoll_ctl(EPOLL_CTL_MOD) once its delivery is handled"
	closeWaitFix       = "close the socket when a read returns 0 or EPOLLRDHUP is delivered"
	acceptBacklogFix   = "accept until EAGAIN after each edge-triggered delivery"
	ghostEventFix      = "epoll_ctl(EPOLL_CTL_DEL) before close, wherever the file may have another descriptor"
)

// state is what the rules look at.
type state struct {
	*Item
	still time.Duration // how long nothing changed, 0 when something did
	idle  bool          // nobody was seen to wait on the instance
}

// judge fills in what is to be said about an item. An item that moved between the samples is only described.
func judge(it *Item, between time.Duration, idle bool) {
	s := state{Item: it, idle: idle}
	if it.Standing {
		s.still = between
	}
	it.Suspicions, it.Notes = nil, nil
	if it.Link == LinkClosed || it.Link == LinkReused {
		s.ghost()
		return
	}
	if it.Link == LinkElsewhere {
		it.Notes = append(it.Notes, fmt.Sprintf("registered by process %d, which has it open under this number", it.holder))
		return
	}
	switch {
	case it.unlisted:
		s.gone()
	case it.Sock == nil:
	case it.Sock.State == event.Listen:
		s.listener()
	default:
		s.closeWait(s.input())
		s.output()
		if s.Sock.ReadShut {
			s.note("the peer has closed, or this end was shut down for reading")
		}
	}
}

// gone judges a TCP socket that is in no table of the network namespace, which is how a reset leaves it.
func (s *state) gone() {
	const what = "in no TCP table of this network namespace (reset, closed or never connected)"
	if s.Armed || s.still == 0 {
		s.note(what)
		return
	}
	s.suspect(oneshotDisarmed, what+", and the item is disarmed: nothing tells until EPOLL_CTL_MOD", oneshotDisarmedFix, "")
}

func (s *state) suspect(check, message, fix, root string) {
	s.Suspicions = append(s.Suspicions, Suspicion{Check: check, Message: message, Fix: fix, Root: root})
}

func (s *state) note(message string) { s.Notes = append(s.Notes, message) }

func (s *state) ghost() {
	what := "the descriptor is closed"
	if s.Link == LinkReused {
		what = "the descriptor is another file by now"
	}
	if s.still == 0 {
		s.note(what)
		return
	}
	s.suspect(ghostEvent, what+", but the one that was registered is still open somewhere and still watched", ghostEventFix, "")
}

// input judges what waits to be read, and returns the code of the suspicion if there is one.
func (s *state) input() string {
	const readable = event.In | event.RdNorm
	what := queue(s.Sock)
	hangUp := s.Sock.State == event.CloseWait
	switch {
	case what == "" && (s.Armed || !hangUp):
		return ""
	case s.unproven && s.still > 0 && (!s.Armed || s.Mask&event.ET != 0):
		s.note(fmt.Sprintf("%s unread, looked the same for %s: %s", what, span(s.still), notProven))
		return ""
	case !s.Armed && s.Mask&event.OneShot != 0:
		if what == "" {
			what = "the peer's hang-up"
		}
		if s.still == 0 {
			s.note(what + " came in, and the item is disarmed")
			return ""
		}
		s.suspect(oneshotDisarmed, fmt.Sprintf("%s %s waiting, and the item is disarmed: nothing wakes it until EPOLL_CTL_MOD (stands still for %s)",
			what, are(s.Sock), span(s.still)), oneshotDisarmedFix, "")
		return oneshotDisarmed
	case s.Mask&readable == 0:
		s.note(what + " unread, and input is not asked for")
		return ""
	case s.Mask&event.ET == 0:
		if s.still > 0 {
			s.note(fmt.Sprintf("%s unread, stands still for %s: level-triggered, so every wait returns it", what, span(s.still)))
		}
		return ""
	case s.still == 0:
		s.note(what + " unread now")
		return ""
	case s.idle:
		s.note(fmt.Sprintf("%s unread, stands still for %s: %s", what, span(s.still), nobodyWaits))
		return ""
	default:
		s.suspect(etUnread, fmt.Sprintf("%s unread on an edge-triggered item, stands still for %s: only new input wakes it", what, span(s.still)), etUnreadFix, "")
		return etUnread
	}
}

func (s *state) closeWait(root string) {
	if s.Sock.State != event.CloseWait {
		return
	}
	if s.still == 0 {
		s.note("the peer has closed")
		return
	}
	message := "the peer has closed, and the socket is still held"
	switch {
	case s.Sock.FIN:
		message += ": its FIN is not read yet"
	default:
		message += ": its FIN was read"
	}
	s.suspect(closeWait, message+" (stands still for "+span(s.still)+")", closeWaitFix, root)
}

// output notes an item that is ready for output all the time. A full send queue is what EPOLLOUT is for.
func (s *state) output() {
	if s.Mask&event.Out == 0 || s.Mask&(event.ET|event.OneShot) != 0 || !s.Sock.HasSent || s.Sock.SendQueue > 0 || s.still == 0 {
		return
	}
	if s.Sock.State == event.Established || s.Sock.State == event.CloseWait {
		s.note("level-triggered EPOLLOUT with nothing to send: ready all the time, so every wait returns at once")
	}
}

// nobodyWaits: what is left may still be come to, and where the loop is instead is another question.
const nobodyWaits = "no thread was seen waiting on this instance, so the loop is busy or blocked elsewhere"

// notProven: UNIX sockets and UDP do not tell when input came in, so only threads that sleep over it prove that it is old.
const notProven = "it may be new each time, because no thread slept in a wait while it was looked at"

func (s *state) listener() {
	if s.Sock.Unread == 0 {
		return
	}
	what := "1 connection waits"
	if n := s.Sock.Unread; n != 1 {
		what = strconv.FormatUint(uint64(n), 10) + " connections wait"
	}
	switch {
	case s.Mask&event.ET == 0 || s.still == 0:
		s.note(what + " to be accepted now")
	case s.unproven:
		s.note(what + " to be accepted: " + notProven)
	case s.Mask&event.In == 0:
		s.note(what + " to be accepted, and input is not asked for")
	case s.idle:
		s.note(what + " to be accepted: " + nobodyWaits)
	default:
		s.suspect(acceptBacklog, fmt.Sprintf("%s to be accepted on an edge-triggered listener, stands still for %s: only a new one wakes it", what, span(s.still)),
			acceptBacklogFix, "")
	}
}

// queue says what stands in a receive queue, empty for nothing.
func queue(sock *Socket) string {
	var s string
	switch {
	case sock.Unread == 0:
	case sock.Datagrams:
		s = "datagrams"
	case sock.Unread == 1:
		s = "1 byte"
	default:
		s = strconv.FormatUint(uint64(sock.Unread), 10) + " bytes"
	}
	switch {
	case s == "" && sock.FIN:
		return "the FIN"
	case sock.FIN:
		return s + " and the FIN"
	default:
		return s
	}
}

func are(s *Socket) string {
	if s.Unread > 1 || s.Unread == 1 && (s.FIN || s.Datagrams) {
		return "are"
	}
	return "is"
}

func span(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
}
