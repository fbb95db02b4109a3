package diagnose

import (
	"fmt"
	"strconv"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

// reason is why an item stays ready, and what to do about it.
type reason struct {
	bits event.Mask
	text string
	fix  string
}

const (
	fixGhost  = "take a file off the interest list with EPOLL_CTL_DEL before closing its descriptor, and close its duplicates"
	fixError  = "on EPOLLERR fetch the error with getsockopt(SO_ERROR), or by reading, and close the socket"
	fixPipe   = "close the file: the other end is gone"
	fixHangup = "on EPOLLHUP close the file, or take it off the list with EPOLL_CTL_DEL: no mask keeps it away"
	fixEnd    = "close the file when a read returns 0 or EPOLLRDHUP is delivered"
	fixOutput = "ask for EPOLLOUT only after a write returned EAGAIN, and take it out again when everything is written"
	fixInput  = "read what is there, or take EPOLLIN out of the mask while it is not to be read"
	fixAccept = "accept until EAGAIN; while accept cannot work, take the listener off the list"
	fixProc   = "wait for the process with waitid and close the descriptor"
)

// common finds the reasons that sockets and other files share; false when there is none of these.
func common(s *stuck) (reason, bool) {
	i := s.item
	bits := s.bits
	if bits == 0 || bits == ^event.Mask(0) {
		bits = i.Delivered // it was ready for one thing and then for another
	}
	w := reason{bits: bits}
	switch f := i.File; {
	case !f.Named(i.Epoll.PID, i.FD) && (len(f.FDs) > 0 || f.LastFD == i.FD):
		w.fix = fixGhost
		w.text = fmt.Sprintf("fd %d does not name this file any more, but a duplicate keeps it open and on the interest list", i.FD)
	case bits&event.Err != 0 && f.Type == timeline.FileOther:
		w.fix, w.text = fixPipe, "the other end is closed, and it is kept"
	case bits&event.Err != 0:
		w.fix, w.text = fixError, "nothing fetches its error"
		if bits&event.Hup == 0 {
			w.text += ", or what stands in its error queue"
		}
	case bits&event.Hup != 0:
		w.fix, w.text = fixHangup, "it has hung up and is kept on the list"
	default:
		return w, false
	}
	if bits&(event.Err|event.Hup) != 0 && i.Mask&^event.Private&^(event.Err|event.Hup) == 0 {
		w.text += " (an empty mask does not keep it away)"
	}
	return w, true
}

// whySocket says why a socket stays ready.
func whySocket(s *stuck) reason {
	w, known := common(s)
	if known {
		return w
	}
	f := s.item.File
	sock := f.Sock
	tcp := sock != nil && sock.TCP
	unread, counted := uint32(0), false
	if tcp {
		unread, counted = sock.Unread()
	}
	switch input := w.bits&(event.In|event.RdNorm|event.RdHup) != 0; {
	case input && sock != nil && sock.Listening:
		w.fix, w.text = fixAccept, "its connections are not accepted"
		if f.Result < 0 && f.LastCall.Seq > s.item.Ready.Seq {
			w.text = "accept fails with " + callError(f.Result)
		}
	case input && tcp && sock.FIN.Seq != 0 && unread == 0:
		w.fix, w.text = fixEnd, "the peer has closed, and nobody reads the end of the stream"
		if sock.FINRead.Seq != 0 {
			w.text = "the end of the stream was read, and it was not closed"
		}
	case input && tcp && counted && unread > 0:
		w.fix, w.text = fixInput, "its input ("+bytes(unread)+") is not read"
		if unseen, _ := sock.Unseen(); unseen == 0 {
			w.text = "its input (" + bytes(unread) + ") is only looked at with MSG_PEEK"
		}
		if sock.FIN.Seq != 0 {
			w.text += ", and the peer has closed"
		}
	case input && f.Result == 0 && f.LastCall.Seq > s.item.Ready.Seq:
		w.fix, w.text = fixEnd, "its end was read, and it was not closed"
	case input:
		w.fix, w.text = fixInput, "its input is not read"
	case w.bits&(event.Out|event.WrNorm) != 0:
		w.fix, w.text = fixOutput, "there is room to write and nothing to send"
	default:
		w.fix, w.text = fixInput, "nothing is done about it"
	}
	return w
}

// unread says what stays in a file that is no socket, by its kind.
var unreadOf = map[string]string{
	"eventfd": "the counter is not read", "timerfd": "the timer's expirations are not read", "signalfd": "the signals are not read",
	"inotify": "the events are not read", "fanotify": "the events are not read", "pipe": "what stands in the pipe is not read",
}

// whyOther says why a file that is no socket stays ready.
func whyOther(s *stuck, kind string) reason {
	w, known := common(s)
	f := s.item.File
	called := f.LastCall.Seq > s.item.Ready.Seq
	switch {
	case known:
	case kind == "pidfd":
		w.fix, w.text = fixProc, "the process behind this pidfd has ended, and it is kept"
	case w.bits&(event.In|event.RdNorm|event.Pri) == 0:
		w.fix, w.text = fixOutput, "there is room to write and nothing to send"
	case called && f.Result < 0:
		w.fix, w.text = fixInput, "reading it fails with "+callError(f.Result)
	case called && f.Result == 0:
		w.fix, w.text = fixEnd, "its end was read, and it was not closed"
	default:
		w.fix, w.text = fixInput, unreadOf[kind]
		if w.text == "" {
			w.text = "nothing reads it (a counter, a timer, a pipe or the like)"
		}
	}
	return w
}

// mapped reports whether the input of such a file may be taken through shared memory, which no call shows.
func mapped(kind string) bool { return kind == "other" || kind == "io_uring" }

// kind says what a descriptor that is no socket names, empty when nobody can tell.
func (c *Context) kind(pid uint32, fd int32) string {
	if c.engine.opt.Kind == nil || fd == event.NoFD {
		return ""
	}
	return c.engine.opt.Kind(pid, fd)
}

var callErrors = map[int64]string{
	-4: "EINTR", -5: "EIO", -9: "EBADF", -11: "EAGAIN", -12: "ENOMEM", -22: "EINVAL", -23: "ENFILE", -24: "EMFILE",
	-103: "ECONNABORTED", -104: "ECONNRESET", -105: "ENOBUFS", -107: "ENOTCONN", -110: "ETIMEDOUT",
}

func callError(ret int64) string {
	if name := callErrors[ret]; name != "" {
		return name
	}
	return "error " + strconv.FormatInt(-ret, 10)
}
