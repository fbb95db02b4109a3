package server

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// accept-once: one accept for an edge that stood for three connections.
//
// The listener is edge-triggered, and while the loop is busy with its first client three more connect. Their arrivals
// fall together into one delivery: edges are not counted. The server accepts once and goes back to wait. Two
// connections stay in the accept queue, established for their clients and unknown to the server, until somebody else
// connects and is let in for nobody.
//
// accept-once-fixed accepts until EAGAIN.
func acceptOnce() []Variant {
	script := []Step{
		take(0, len(greeting)), send("work"), take(0, len(busy)),
		open(1), open(2), open(3),
		sendOn(0, "go"), take(0, len(answer)), take(1, len(greeting)), rest(BeforeInterrupt),
	}
	return pair(
		Variant{Check: "accept-backlog", serve: acceptBursts, Script: script},
		half{
			Name: "accept-once", Title: "edge-triggered listener, one accept a delivery",
			Teaches: "one edge can stand for many connections: accept until EAGAIN",
			Claims: []Claim{
				accepted("two", "of four connections two were accepted", 2),
				listenerTold("two-edges", "the listener was delivered twice: once for the first, once for the other three", 2),
			},
			Expect: []ExpectedFinding{{Check: "accept-backlog", Unread: AnyAmount}},
		},
		half{
			Name: "accept-once-fixed", Title: "edge-triggered listener, accepts until EAGAIN",
			Teaches: "accepting until EAGAIN leaves nobody in the queue",
			Claims: []Claim{
				accepted("four", "all four connections were accepted", 4),
				listenerTold("two-edges", "the listener was delivered twice: once for the first, once for the other three", 2),
			},
		},
	)
}

const busy = "busy"

func acceptBursts(s *stage) {
	var buf [64]byte
	ep := s.epoll()
	s.watch(ep, s.listener, event.In|event.ET)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			if on.fd == s.listener {
				for {
					fd, ok := s.admit(ep, event.In)
					if !ok {
						break
					}
					s.send(fd, greeting)
					if s.faulty {
						break // BUG accept-once: the edge may stand for more than one connection
					}
				}
				continue
			}
			if s.read(on.fd, buf[:]) == endOfStream {
				s.close(on.fd)
				continue
			}
			s.send(on.fd, busy)
			s.until(on.fd, unix.POLLIN) // it works until the client says go
			s.read(on.fd, buf[:])
			s.send(on.fd, answer)
		}
	}
}

// fd-limit: accept fails for want of descriptors, and the listener stays ready.
//
// The server may open one more file. The first client gets it. The second waits in the accept queue; the level-triggered listener
// is ready; accept says EMFILE and takes nothing off the queue; so the next wait returns at once, and so on: a loop that burns a
// core and lets nobody in. (This one rests 5 ms each time, so that its recording stays small.)
//
// fd-limit-fixed keeps a spare descriptor: it gives it up, accepts, closes, and takes it back. The client learns at once.
func fileLimit() []Variant {
	return pair(
		Variant{
			Check: "accept-error", serve: acceptAtTheLimit,
			Script: []Step{take(0, len(greeting)), open(1), send(Message), take(0, 20), rest(BeforeInterrupt)},
		},
		half{
			Name: "fd-limit", Title: "accepts at the limit of its descriptors, again and again",
			Teaches: "EMFILE leaves the connection in the queue: the listener stays ready",
			Claims: []Claim{
				acceptsFailed("refused", "accept failed with EMFILE again and again", 20, noLimit, unix.EMFILE),
				accepted("one", "one connection was accepted", 1),
				echoed("echo", "the client that was let in got its echo", greeting+Message),
			},
			Expect: []ExpectedFinding{
				{Check: "accept-error", Unread: AnyAmount}, {Check: "busy-loop", Unread: AnyAmount, Perhaps: true},
			},
		},
		half{
			Name: "fd-limit-fixed", Title: "keeps a spare descriptor for the limit",
			Teaches: "with a descriptor in reserve a server can turn away those for whom it has none",
			Claims: []Claim{
				accepted("two", "the second connection was accepted, too, and closed at once", 2),
				echoed("echo", "the client that was let in got its echo", greeting+Message),
			},
		},
	)
}

func acceptAtTheLimit(s *stage) {
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	spare := nullFile()
	allowOneMoreFile()
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			if on.fd != s.listener {
				if s.echo(on.fd) {
					s.close(on.fd)
				}
				continue
			}
			fd, peer, err := s.tryAccept()
			switch {
			case fd >= 0:
				s.watch(ep, fd, event.In)
				s.sayAccepted(peer)
				s.send(fd, greeting)
			case errors.Is(err, unix.EMFILE) && s.faulty:
				s.sleep(5 * time.Millisecond) // BUG fd-limit: the connection stays in the queue, and the listener ready
			case errors.Is(err, unix.EMFILE):
				must("giving up the spare descriptor", unix.Close(spare))
				if fd, ok := s.accept(); ok {
					s.close(fd)
				}
				spare = nullFile()
			default:
				must("accepting a connection", err)
			}
		}
	}
}

func nullFile() int {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must("opening the spare descriptor", err)
	return fd
}

// allowOneMoreFile lowers the limit to the lowest free number.
func allowOneMoreFile() {
	free := nullFile()
	must("closing", unix.Close(free))
	must("lowering RLIMIT_NOFILE", unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(free) + 1, Max: uint64(free) + 1}))
}
