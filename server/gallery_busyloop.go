package server

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

const (
	// breath is how long a spinning server rests or works between two waits, so that its recording stays small. Real ones do not.
	breath = 50 * time.Microsecond
	// manyTurns is how often an item that is always ready is delivered at least while the client rests.
	manyTurns = 200
)

// write-interest: EPOLLOUT asked for and never given up.
//
// The server queues its answers, asks for EPOLLOUT, and sends when the socket can be written. Nearly always it can: a socket is
// writable until its send buffer is full. So once the queue is empty every wait returns at once, with nothing to do, until the
// connection ends. The answers are right, and one core is gone.
//
// write-interest-fixed gives the interest up when its queue is empty.
func writeInterest() []Variant {
	return pair(
		Variant{
			Check: "busy-loop", serve: answerWhenWritable,
			Script: []Step{send(Message), take(0, 20), aSecond()},
		},
		half{
			Name: "write-interest", Title: "keeps EPOLLOUT when everything is sent",
			Teaches: "a socket is nearly always writable: EPOLLOUT with nothing to send spins",
			Claims: []Claim{
				deliveredOften("spin", "EPOLLOUT was delivered again and again", event.Out, manyTurns),
				echoed("echo", "the client got its 20 bytes back", Message),
			},
			Expect: []ExpectedFinding{{Check: "busy-loop", Unread: AnyAmount}},
		},
		half{
			Name: "write-interest-fixed", Title: "asks for EPOLLOUT only while something is to be sent",
			Teaches: "ask for EPOLLOUT while something is left to send, and no longer",
			Claims: []Claim{
				deliveredAs("twice", "there were two deliveries: the input, and the space for the answer", event.In, event.Out),
				echoed("echo", "the client got its 20 bytes back", Message),
			},
		},
	)
}

func answerWhenWritable(s *stage) {
	var buf [64]byte
	queue := map[int]string{}
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			switch {
			case on.fd == s.listener:
				s.admit(ep, event.In)
			case on.mask&event.In != 0:
				n := s.read(on.fd, buf[:])
				if n == endOfStream {
					s.close(on.fd)
					continue
				}
				queue[on.fd] = string(buf[:n])
				s.change(ep, on.fd, event.In|event.Out)
			default:
				s.send(on.fd, queue[on.fd])
				delete(queue, on.fd)
				if !s.faulty {
					s.change(ep, on.fd, event.In) // BUG write-interest: the guilty server leaves this line out
				}
			}
		}
		s.compute(breath)
	}
}

// empty-mask: a connection that nothing is wanted of any more, and that hangs up.
//
// The server has answered, shut its side down, and asks for no events until it gets round to closing the connection: EPOLL_CTL_MOD
// with an empty mask. Then the client closes as well. EPOLLHUP and EPOLLERR are reported whether asked for or not,
// epoll_ctl(2), so every wait returns at once with an event that no line of the server looks at (netty, issue 16683, is of
// this kind).
//
// empty-mask-fixed closes on EPOLLHUP.
func emptyMask() []Variant {
	return pair(
		Variant{
			Check: "busy-loop", serve: answerAndForget,
			Script: []Step{send(Message), takeEnd(0), closing(), aSecond()},
		},
		half{
			Name: "empty-mask", Title: "ignores EPOLLHUP, which an empty mask does not turn off",
			Teaches: "EPOLLHUP and EPOLLERR are reported always: who ignores them spins",
			Claims: []Claim{
				deliveredOften("spin", "EPOLLHUP was delivered again and again", event.Hup, manyTurns),
				echoed("answer", "the client got its answer", answer),
			},
			Expect: []ExpectedFinding{{Check: "busy-loop", Unread: AnyAmount}},
		},
		half{
			Name: "empty-mask-fixed", Title: "closes on EPOLLHUP",
			Teaches: "an item that asks for nothing is still told of the hang-up",
			Claims: []Claim{
				deliveredAs("twice", "there were two deliveries: the input, and the hang-up", event.In, event.Hup),
				echoed("answer", "the client got its answer", answer),
			},
		},
	)
}

func answerAndForget(s *stage) {
	var buf [64]byte
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			switch {
			case on.fd == s.listener:
				s.admit(ep, event.In)
			case on.mask&event.In != 0:
				s.read(on.fd, buf[:])
				s.change(ep, on.fd, 0)
				s.send(on.fd, answer)
				must("shutting down", unix.Shutdown(on.fd, unix.SHUT_WR))
			case !s.faulty:
				s.close(on.fd) // BUG empty-mask: the guilty server leaves the hang-up to nobody
			}
		}
		s.compute(breath)
	}
}

// counter-unread: a level-triggered eventfd that nobody reads.
//
// Requests are worked on by another thread, which signals an eventfd when a result is there, so that the loop wakes and sends
// it. The loop sends the result and does not read the counter. As long as the counter is not 0 an eventfd is readable,
// eventfd(2), so from the first result on every wait returns at once.
//
// counter-unread-fixed reads the 8 bytes, which sets the counter to 0.
func counterUnread() []Variant {
	return pair(
		Variant{
			Check: "busy-loop", serve: workElsewhere,
			Script: []Step{send(Message), take(0, 20), aSecond()},
		},
		half{
			Name: "counter-unread", Title: "never reads the level-triggered eventfd that wakes it",
			Teaches: "a level-triggered eventfd stays ready until its counter is read",
			Claims: []Claim{
				otherDelivered("spin", "the eventfd was delivered again and again", manyTurns, noLimit),
				echoed("echo", "the client got its 20 bytes back", Message),
			},
			Expect: []ExpectedFinding{{Check: "busy-loop", Unread: AnyAmount}},
		},
		half{
			Name: "counter-unread-fixed", Title: "reads the eventfd that wakes it",
			Teaches: "reading the counter makes an eventfd quiet again",
			Claims: []Claim{
				otherDelivered("once", "the eventfd was delivered once", 1, 1),
				echoed("echo", "the client got its 20 bytes back", Message),
			},
		},
	)
}

func workElsewhere(s *stage) {
	type message struct {
		fd   int
		text string
	}
	var buf [64]byte
	jobs, results := make(chan message, 16), make(chan message, 16)
	ep, counter := s.epoll(), s.eventfd()
	s.watch(ep, s.listener, event.In)
	s.watch(ep, counter, event.In)
	s.thread(func(s *stage) {
		for job := range jobs {
			results <- job
			s.signal(counter)
		}
	})
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			switch on.fd {
			case s.listener:
				s.admit(ep, event.In)
			case counter:
				for len(results) > 0 {
					r := <-results
					s.send(r.fd, r.text)
				}
				if !s.faulty {
					_, err := unix.Read(counter, buf[:]) // BUG counter-unread: the guilty server leaves this line out
					must("reading the counter", err)
				}
			default:
				n := s.read(on.fd, buf[:])
				if n == endOfStream {
					s.close(on.fd)
					continue
				}
				jobs <- message{on.fd, string(buf[:n])}
			}
		}
		s.compute(breath)
	}
}
