package server

import (
	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// stale-batch: an event of a batch whose input an earlier event's handler has taken.
//
// The server handles whatever is ready on all its connections when any of them has an event, as a relay does that moves both directions.
// One wait hands out two connections; the handler of the first reads both; the event of the second is stale, and its read finds
// nothing. It costs one call for each, and it is how a handler comes to work on a state that it did not expect.
//
// stale-batch-fixed leaves each connection to its own event.
func staleBatch() []Variant {
	script := []Step{take(0, len(greeting)), open(1), take(1, len(greeting)), open(2), take(2, len(greeting))}
	for range staleRounds {
		script = append(script, send("work"), take(0, len(busy)), sendOn(1, "1"), sendOn(2, "2"), send("go"),
			take(0, len(answer)), take(1, 1), take(2, 1))
	}
	script = append(script, rest(BeforeInterrupt))
	return pair(
		Variant{Check: "spurious-wakeup", serve: serveAll, Script: script},
		half{
			Name: "stale-batch", Title: "reads all connections on any event",
			Teaches: "what is read out of turn leaves a stale event behind",
			Claims: []Claim{
				readsInVain("stale", "in each of the rounds one delivery found nothing to read", staleRounds, noLimit),
			},
			Expect: []ExpectedFinding{{Check: "spurious-wakeup", Unread: AnyAmount}},
		},
		half{
			Name: "stale-batch-fixed", Title: "reads the connection that has the event",
			Teaches: "one event, one connection: no delivery finds nothing",
			Claims: []Claim{
				readsInVain("none", "every delivery found something to read", 0, 0),
			},
		},
	)
}

const staleRounds = 40

func serveAll(s *stage) {
	var buf [64]byte
	var order []int
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			if on.fd == s.listener {
				if fd, ok := s.accept(); ok {
					order = append(order, fd)
					s.watch(ep, fd, event.In)
					s.send(fd, greeting)
				}
				continue
			}
			if on.fd == order[0] {
				if s.read(on.fd, buf[:]) == endOfStream {
					s.close(on.fd)
					continue
				}
				s.send(on.fd, busy)
				s.until(on.fd, unix.POLLIN) // it works until the client says go
				s.read(on.fd, buf[:])
				s.send(on.fd, answer)
				continue
			}
			turn := []int{on.fd}
			if s.faulty {
				turn = order[1:] // BUG stale-batch: the others' events are in this batch, too
			}
			for _, fd := range turn {
				switch n := s.read(fd, buf[:]); n {
				case endOfStream:
					s.unwatch(ep, fd)
				case nothingYet:
				default:
					s.send(fd, string(buf[:n]))
				}
			}
		}
	}
}
