package server

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// two-threads: one level-triggered item, two threads that wait on its instance.
//
// A level-triggered item goes back on the ready list when it is delivered, and the kernel wakes the next sleeper because the list is not
// empty. So while the first thread is busy with the request, and has not read it yet, the second one is handed the
// same item. Both work on one connection at once: their reads share out one stream, and their answers mix.
//
// two-threads-fixed adds EPOLLONESHOT: an item that was delivered is nobody else's until it is armed again.
func twoThreads() []Variant {
	return pair(
		Variant{
			Check: "concurrent-delivery", serve: shareConnection,
			Script: []Step{take(0, len(greeting)), send(Message), take(0, 20), rest(BeforeInterrupt)},
		},
		half{
			Name: "two-threads", Title: "two threads wait for one level-triggered connection",
			Teaches: "level-triggered hands one item to every thread that waits, until somebody has read it",
			Claims: []Claim{
				deliveredTo("both", "one arrival was delivered to both threads before either had read it", 2),
				echoed("echo", "the client got its 20 bytes back", greeting+Message),
			},
			Expect: []ExpectedFinding{{Check: "concurrent-delivery", Unread: AnyAmount}},
		},
		half{
			Name: "two-threads-fixed", Title: "two threads wait for one EPOLLONESHOT connection",
			Teaches: "EPOLLONESHOT gives an item to one thread, until that thread arms it again",
			Claims: []Claim{
				deliveredTo("one", "the arrival was delivered to one thread", 1),
				echoed("echo", "the client got its 20 bytes back", greeting+Message),
			},
		},
	)
}

func shareConnection(s *stage) {
	mask := event.In | event.OneShot
	if s.faulty {
		mask = event.In // BUG two-threads: without EPOLLONESHOT the other thread is handed it as well
	}
	ep := s.epoll()
	worker := func(s *stage) {
		for {
			for _, on := range s.wait(ep, forever) {
				s.sleep(s.pace / 4) // it looks something up before it reads
				if s.echo(on.fd) {
					_ = unix.Close(on.fd) // the other thread may have done so
					continue
				}
				s.change(ep, on.fd, mask)
			}
		}
	}
	s.thread(worker)
	s.open()
	s.until(s.listener, unix.POLLIN)
	fd, _ := s.accept()
	s.watch(ep, fd, mask)
	s.send(fd, greeting)
	worker(s)
}

// herd: every thread watches the listener, and every connection wakes them all.
//
// Four threads have an epoll instance each, and the same listener in all of them. A connection calls the callbacks of all four
// items; four threads wake, one accepts, and three find an empty queue. With as many threads as processors and many short
// connections a large part of the machine does nothing but this.
//
// herd-fixed registers the listener with EPOLLEXCLUSIVE: one arrival wakes one of those who sleep.
func herd() []Variant {
	script := []Step{take(0, len(answer)), takeEnd(0)}
	for i := 1; i <= herdRounds; i++ {
		script = append(script, open(i), takeEnd(i), closeOn(i))
	}
	script = append(script, rest(BeforeInterrupt))
	return pair(
		Variant{Check: "thundering-herd", serve: acceptTogether, Script: script},
		half{
			Name: "herd", Title: "four threads watch one listener",
			Teaches: "every connection wakes everyone who watches the listener, and all but one find nothing",
			Claims: []Claim{
				accepted("accepted", "every connection was accepted once", herdRounds+1),
				acceptsFailed("in-vain", "most accepts found nothing", herdRounds, unix.EAGAIN),
			},
			Expect: []ExpectedFinding{{Check: "thundering-herd", Unread: AnyAmount}},
		},
		half{
			Name: "herd-fixed", Title: "four threads watch one listener, with EPOLLEXCLUSIVE",
			Teaches: "EPOLLEXCLUSIVE wakes one of those who watch the listener",
			Claims:  []Claim{accepted("accepted", "every connection was accepted once", herdRounds+1)},
		},
	)
}

const (
	herdThreads = 4
	herdRounds  = 40
)

func acceptTogether(s *stage) {
	mask := event.In | event.Exclusive
	if s.faulty {
		mask = event.In // BUG herd: without EPOLLEXCLUSIVE every connection wakes all threads
	}
	ready := make(chan bool)
	worker := func(s *stage) {
		ep := s.epoll()
		s.watch(ep, s.listener, mask)
		ready <- true
		for {
			s.wait(ep, forever)
			s.sleep(2 * time.Millisecond) // there was something else to do first
			if fd, ok := s.accept(); ok {
				s.send(fd, answer)
				s.close(fd)
			}
		}
	}
	for range herdThreads {
		s.thread(worker)
		<-ready
	}
	s.open()
	select {}
}
