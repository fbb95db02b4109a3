package server

import (
	"slices"

	"github.com/epwatch/epwatch/internal/event"
)

// innocents are servers that do on purpose what looks like a mistake, and must give no finding at all. Draining, one read
// under level-triggered, fair turns and armed-again EPOLLONESHOT are among the documented variants, and the repaired twins
// are innocents, too.
func innocents() []Variant {
	return slices.Concat(
		[]Variant{poolRearm(), readerThread(), pollFirst(), wakerET()},
		[]Variant{backPressure(), halfClose(), lingerReset(), peekFirst(), spliceEcho(), sendFile()},
	)
}

// pool-rearm: an EPOLLONESHOT item that stays disarmed while a worker has it.
//
// The loop hands each delivery to a worker and waits again. More input arrives while the worker works; the item is disarmed, so it
// wakes nobody, as it should: the worker reads everything and arms the item again.
func poolRearm() Variant {
	return Variant{
		Name: "pool-rearm", Title: "EPOLLONESHOT, armed again by a worker when it is done",
		Teaches: "arming an item again reports what came while it was disarmed",
		Check:   "oneshot-disarmed", serve: handToWorker,
		Script: []Step{send(Message[:10]), take(0, len(busy)), send(Message[10:]), take(0, 20), pause()},
		Claims: []Claim{
			ignoredWakeups("ignored", "input came while the worker had the item, and was ignored"),
			movedOnFirst("moved-on", "the loop waited again before the worker had read"),
			echoed("echo", "the client got all 20 bytes back", busy+Message),
		},
	}
}

func handToWorker(s *stage) {
	const mask = event.In | event.RdHup | event.OneShot
	jobs := make(chan int)
	ep := s.epoll()
	s.thread(func(s *stage) {
		for fd := range jobs {
			s.send(fd, busy)
			s.sleep(s.pace / 4) // that is its work
			if s.echo(fd) {
				s.close(fd)
				continue
			}
			s.change(ep, fd, mask)
		}
	})
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			if on.fd != s.listener {
				jobs <- on.fd
				continue
			}
			s.admit(ep, mask)
		}
	}
}

// reader-thread: one thread waits, another one reads.
//
// The poller hands an edge-triggered connection over and goes back to wait while all of its input is still unread. That is no
// fault: the reader drains it a little later.
func readerThread() Variant {
	return Variant{
		Name: "reader-thread", Title: "edge-triggered, one thread waits and another one reads",
		Teaches: "who waits need not be who reads, as long as somebody reads until EAGAIN",
		Check:   "et-unread", serve: handToReader,
		Script: []Step{send(Message), take(0, 20), send(Message), take(0, 20), pause()},
		Claims: []Claim{
			movedOnFirst("moved-on", "the loop waited again before the reader had read"),
			echoed("echo", "the client got all 40 bytes back", Message+Message),
		},
	}
}

func handToReader(s *stage) {
	jobs := make(chan int)
	ep := s.epoll()
	s.thread(func(s *stage) {
		for fd := range jobs {
			s.sleep(s.pace / 4) // it is busy with another one
			if s.echo(fd) {
				s.close(fd)
			}
		}
	})
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			if on.fd != s.listener {
				jobs <- on.fd
				continue
			}
			s.admit(ep, event.In|event.ET)
		}
	}
}

// poll-first: a wait that may not block before the one that may.
//
// Many loops look with time-out 0 first and do their own chores when nothing is there. The thread asks for new work twice
// for each turn, and comes back with nothing from most of its waits.
func pollFirst() Variant {
	return Variant{
		Name: "poll-first", Title: "edge-triggered, a wait with time-out 0 before each that blocks",
		Teaches: "a wait that finds nothing is not a loop that spins",
		Check:   "busy-loop", serve: lookThenWait,
		Script: []Step{send(Message), take(0, 20), pause(), send(Message), take(0, 20), pause()},
		Claims: []Claim{
			emptyWaits("looks", "waits with time-out 0 found nothing", 1),
			turnsRead("drained", "each delivery was drained", turnWant{event.In, []int64{20, again}}, turnWant{event.In, []int64{20, again}}),
			echoed("echo", "the client got all 40 bytes back", Message+Message),
		},
	}
}

func lookThenWait(s *stage) {
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		found := s.wait(ep, 0)
		if len(found) == 0 {
			found = s.wait(ep, forever)
		}
		for _, on := range found {
			if on.fd == s.listener {
				s.admit(ep, event.In|event.ET)
				continue
			}
			if s.echo(on.fd) {
				s.close(on.fd)
			}
		}
	}
}

// et-waker: an edge-triggered eventfd that is never read.
//
// Other threads wake the loop by adding to an eventfd. Registered edge-triggered, each addition is one delivery, and there is
// no need to read the counter: it has no other use. Several runtimes wake their loops this way.
func wakerET() Variant {
	return Variant{
		Name: "et-waker", Title: "edge-triggered eventfd as an alarm, never read",
		Teaches: "edge-triggered, a counter need not be read to be told of the next addition",
		Check:   "busy-loop", serve: workWithWaker,
		Script: []Step{
			send(Message), take(0, 20), send(Message), take(0, 20), send(Message), take(0, 20), pause(),
		},
		Claims: []Claim{
			otherDelivered("alarms", "three signals were three deliveries of the eventfd", 3, 3),
			echoed("echo", "the client got all 60 bytes back", Message+Message+Message),
		},
	}
}

func workWithWaker(s *stage) {
	type message struct {
		fd   int
		text string
	}
	var buf [64]byte
	jobs, results := make(chan message, 16), make(chan message, 16)
	ep, counter := s.epoll(), s.eventfd()
	s.watch(ep, s.listener, event.In)
	s.watch(ep, counter, event.In|event.ET)
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
			default:
				n := s.read(on.fd, buf[:])
				if n == endOfStream {
					s.close(on.fd)
					continue
				}
				jobs <- message{on.fd, string(buf[:n])}
			}
		}
	}
}
