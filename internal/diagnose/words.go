package diagnose

import (
	"fmt"
	"strconv"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

// newFinding fills in who and where.
func newFinding(f *timeline.File, i *timeline.Interest) *Finding {
	found := &Finding{FD: event.NoFD, EpFD: event.NoFD, file: f, mode: mode(i)}
	if f != nil {
		found.PID, found.FD, found.File = f.PID, f.FD(), f.ID
		if f.Sock != nil {
			found.Local, found.Peer = f.Sock.Local, f.Sock.Peer
		}
	}
	if i != nil {
		found.FD = i.FD
		found.Epoll = i.Epoll.ID
		found.EpFD = i.Epoll.LastFD
		for _, d := range i.Epoll.FDs {
			if d.PID == i.Epoll.PID {
				found.EpFD = d.FD
				break
			}
		}
	}
	return found
}

// Left counts what was left unread, in bytes, datagrams, messages or connections.
func (f *Finding) Left() string {
	if f.file == nil {
		return bytes(f.Unread)
	}
	return amount(f.file.Sock, f.Unread)
}

// who names the file of a finding the way people look for it: descriptor, own address, arrow, peer.
func (f *Finding) who() string {
	s := "a socket"
	if f.FD != event.NoFD {
		s = "fd " + strconv.Itoa(int(f.FD))
	}
	switch {
	case f.Local.IsValid() && f.Peer.IsValid():
		s += fmt.Sprintf(" (%s ← %s)", f.Local, f.Peer)
	case f.Local.IsValid():
		s += fmt.Sprintf(" (%s)", f.Local)
	}
	return s
}

func bytes(n uint32) string {
	return several(n, "byte")
}

func was(n uint32) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

// amount counts what lies in the queue of a socket, in what it counts by.
func amount(s *timeline.Sock, n uint32) string {
	switch {
	case s == nil || s.TCP && !s.Listening:
		return bytes(n)
	case s.Listening:
		return connections(n)
	case s.Local.IsValid():
		return several(n, "datagram")
	default:
		return several(n, "message")
	}
}

func several(n uint32, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.FormatUint(uint64(n), 10) + " " + what + "s"
}

// queue says what stands in a receive queue.
func queue(s *timeline.Sock, n uint32, fin bool) string {
	switch {
	case n > 0 && fin:
		return amount(s, n) + " and the FIN"
	case n > 0:
		return amount(s, n)
	case fin:
		return "the FIN"
	default:
		return "input or a hang-up"
	}
}

// span writes a duration with two digits that matter.
func span(d time.Duration) string {
	switch d = d.Round(time.Microsecond); {
	case d >= 9950*time.Millisecond:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= 999500*time.Microsecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= 999*time.Microsecond:
		return fmt.Sprintf("%.0f ms", float64(d)/1e6)
	default:
		return fmt.Sprintf("%.0f µs", float64(d)/1e3)
	}
}

var signalNames = map[uint8]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
	11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
}

func signalName(n uint8) string {
	if name := signalNames[n]; name != "" {
		return name
	}
	return "signal " + strconv.Itoa(int(n))
}
