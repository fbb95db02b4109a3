package server

import (
	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// dup-kept: a descriptor closed while a duplicate keeps its file, and its epoll item, alive.
//
// The server moves each connection to a descriptor number from 100 on, to keep the low numbers for a library that calls select(2),
// and closes the low one. An item goes when the last reference to its open file goes, epoll(7), not when its
// descriptor is closed; so the item of the low number lives on, and every arrival is delivered under it as well: for a number that the
// server has closed, and that the next connection will get. EPOLL_CTL_DEL for it is not even possible any more (EBADF).
//
// dup-kept-fixed removes the item before it closes the number.
func dupKept() []Variant {
	return pair(
		Variant{
			Check: "ghost-event", serve: moveUp,
			Script: []Step{
				take(0, len(greeting)), send(Message), take(0, 20), send(Message), take(0, 20), rest(BeforeInterrupt),
			},
		},
		half{
			Name: "dup-kept", Title: "closes a descriptor whose duplicate it keeps, without EPOLL_CTL_DEL",
			Teaches: "closing one of several descriptors removes nothing from the interest list: events keep coming under the dead number",
			Claims: []Claim{
				deliveredToClosed("ghosts", "two arrivals were delivered also under the number that the server had closed", 2),
				echoed("echo", "the client got both its messages back, read by the new number", greeting+Message+Message),
			},
			Expect: []ExpectedFinding{{Check: "ghost-event", Unread: AnyAmount}},
		},
		half{
			Name: "dup-kept-fixed", Title: "EPOLL_CTL_DEL before it closes one of two descriptors",
			Teaches: "an item that is removed by name does not outlive its descriptor",
			Claims: []Claim{
				deliveredToClosed("no-ghosts", "nothing was delivered under the number that the server had closed", 0),
				echoed("echo", "the client got both its messages back, read by the new number", greeting+Message+Message),
			},
		},
	)
}

func moveUp(s *stage) {
	const above = 100
	mine := map[int]bool{}
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			switch {
			case on.fd == s.listener:
				fd, ok := s.accept()
				if !ok {
					continue
				}
				s.watch(ep, fd, event.In|event.ET)
				high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, above)
				must("moving the descriptor", err)
				if !s.faulty {
					s.unwatch(ep, fd) // BUG dup-kept: the guilty server leaves this line out
				}
				must("closing", unix.Close(fd))
				s.watch(ep, high, event.In|event.ET)
				mine[high] = true
				s.send(high, greeting)
			case mine[on.fd] && s.echo(on.fd):
				delete(mine, on.fd)
				s.close(on.fd)
			}
		}
	}
}
