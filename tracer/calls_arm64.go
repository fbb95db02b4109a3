package tracer

import (
	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// waitCalls are the calls that wait on an epoll instance, by this architecture's numbers.
func waitCalls() map[int64]event.Call {
	return map[int64]event.Call{
		unix.SYS_EPOLL_PWAIT:  event.CallEpollPwait,
		unix.SYS_EPOLL_PWAIT2: event.CallEpollPwait2,
	}
}
