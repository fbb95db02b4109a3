package render

import (
	"strconv"
	"strings"

	"github.com/epwatch/epwatch/internal/event"
)

// join puts what is not empty side by side, two spaces apart.
func join(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("  ")
		}
		b.WriteString(p)
	}
	return b.String()
}

func plural(n uint64, noun string) string {
	s := strconv.FormatUint(n, 10) + " " + noun
	if n != 1 {
		s += "s"
	}
	return s
}

func hex(v uint64) string { return "0x" + strconv.FormatUint(v, 16) }

// unread says what waits to be read, with the peer's FIN apart because it is not a byte.
func unread(ev *event.Event) string { return waiting(ev, "unread", "nothing unread") }

func left(ev *event.Event) string { return waiting(ev, "left", "nothing left") }

func waiting(ev *event.Event, word, nothing string) string {
	if !ev.Has(event.HasUnread) {
		if ev.Flags&(event.FIN|event.FINUnread) != 0 {
			return "FIN"
		}
		return ""
	}
	if ev.Has(event.Listener) {
		return plural(uint64(ev.Unread), "connection") + " to accept"
	}
	s, what := nothing, "byte"
	if ev.Has(event.Messages) {
		what = "message"
	}
	if ev.Unread > 0 {
		s = plural(uint64(ev.Unread), what) + " " + word
	}
	if ev.Has(event.FINUnread) {
		s += " + FIN"
	}
	return s
}

func call(ev *event.Event, otherwise string) string {
	if ev.Call == event.CallNone {
		return otherwise
	}
	return ev.Call.String()
}

// outcome is a call's result: bytes, or the error's name.
func outcome(ret int64) string {
	if ret < 0 {
		return errno(ret)
	}
	return plural(uint64(ret), "byte")
}

const eagain = 11

// errnoNames are Linux's numbers, whatever system this runs on.
var errnoNames = map[int64]string{
	1: "EPERM", 2: "ENOENT", 3: "ESRCH", 4: "EINTR", 5: "EIO", 9: "EBADF", eagain: "EAGAIN", 12: "ENOMEM", 13: "EACCES",
	14: "EFAULT", 16: "EBUSY", 17: "EEXIST", 22: "EINVAL", 23: "ENFILE", 24: "EMFILE", 28: "ENOSPC", 32: "EPIPE",
	38: "ENOSYS", 40: "ELOOP", 71: "EPROTO", 88: "ENOTSOCK", 90: "EMSGSIZE", 95: "EOPNOTSUPP", 100: "ENETDOWN",
	101: "ENETUNREACH", 103: "ECONNABORTED", 104: "ECONNRESET", 105: "ENOBUFS", 107: "ENOTCONN", 108: "ESHUTDOWN",
	110: "ETIMEDOUT", 111: "ECONNREFUSED", 113: "EHOSTUNREACH", 114: "EALREADY", 115: "EINPROGRESS",
	512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND",
}

// errno names a negative result; the errors of an ordinary day have words as well.
func errno(ret int64) string {
	name, known := errnoNames[-ret]
	switch {
	case !known:
		return "errno " + strconv.FormatInt(-ret, 10)
	case -ret == eagain:
		return name + ", nothing there"
	case -ret == 4:
		return name + ", a signal came"
	default:
		return name
	}
}

var signalNames = [...]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
	10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 17: "SIGCHLD", 18: "SIGCONT",
	19: "SIGSTOP", 20: "SIGTSTP", 21: "SIGTTIN", 22: "SIGTTOU", 23: "SIGURG",
}

func signalName(n int64) string {
	if n > 0 && n < int64(len(signalNames)) && signalNames[n] != "" {
		return signalNames[n]
	}
	return "signal " + strconv.FormatInt(n, 10)
}

// waitStatus reads a status as wait(2) gives it.
func waitStatus(status int64) string {
	if sig := killedBy(status); sig != 0 {
		return "killed by " + signalName(sig)
	}
	return "status " + strconv.FormatInt(status>>8&0xff, 10)
}

func killedBy(status int64) int64 { return status & 0x7f }
