package server

import (
	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// dup-kept: a descriptor closed while a duplicate keeps its file, and its epoll item, alive.
//
// The loop greets each connection, hands a duplicate of its descriptor to a worker, which talks to the client from then
// on, and closes its own. An item goes when the last reference to its open file goes, epoll(7), not when its descriptor is
// closed; so the loop's item lives on, and whatever arrives for the worker is delivered to the loop as well, under a number that
// it has closed and that the next connection will get. EPOLL_CTL_DEL is not even possible any more (EBADF).
//
// dup-kept-fixed removes the item before it closes the descriptor.
func dupKept() []Variant {
	return pair(
		Variant{
			Check: "ghost-event", serve: handOver,
			Script: []Step{
				send(Message), take(0, len(greeting)), pause(), send(Message), take(0, 20), pause(), send(Message), take(0, 20),
				rest(BeforeInterrupt),
			},
		},
		half{
			Name: "dup-kept", Title: "closes a descriptor whose duplicate lives on, without EPOLL_CTL_DEL",
			Teaches: "an item outlives its descriptor while a duplicate keeps the file open",
			Claims: []Claim{
				deliveredToClosed("ghosts", "what arrived later was delivered under the number that the loop had closed", 1, 2),
				echoed("echo", "the worker echoed both, by its duplicate", greeting+Message+Message),
			},
			Expect: []ExpectedFinding{{Check: "ghost-event", Unread: AnyAmount}},
		},
		half{
			Name: "dup-kept-fixed", Title: "EPOLL_CTL_DEL before it closes one of two descriptors",
			Teaches: "an item that is removed by name does not outlive its descriptor",
			Claims: []Claim{
				deliveredToClosed("no-ghosts", "nothing was delivered under the number that the loop had closed", 0, 0),
				echoed("echo", "the worker echoed both, by its duplicate", greeting+Message+Message),
			},
		},
	)
}

func handOver(s *stage) {
	var buf [64]byte
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	known := map[int]bool{s.listener: true}
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			switch {
			case !known[on.fd]: // whoever that is
			case on.fd == s.listener:
				if fd, ok := s.admit(ep, event.In|event.ET); ok {
					known[fd] = true
				}
			default:
				s.read(on.fd, buf[:])
				s.send(on.fd, greeting)
				own, err := unix.FcntlInt(uintptr(on.fd), unix.F_DUPFD_CLOEXEC, 0)
				must("duplicating a descriptor", err)
				if !s.faulty {
					s.unwatch(ep, on.fd) // BUG dup-kept: the guilty server leaves this line out
				}
				must("closing", unix.Close(on.fd))
				delete(known, on.fd)
				s.thread(func(s *stage) { s.converse(own) })
			}
		}
	}
}

// converse is a worker with one connection to itself.
func (s *stage) converse(fd int) {
	for {
		s.until(fd, unix.POLLIN)
		s.sleep(s.pace / 4) // it is busy with something else
		if s.echo(fd) {
			s.close(fd)
			return
		}
	}
}
