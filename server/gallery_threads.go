package server

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// two-threads: one level-triggered item, two threads that wait on its instance.
//
// A level-triggered item goes back on the ready list when it is delivered, and the kernel wakes the next sleeper because the
// list is not empty. The first thread looks something up before it reads, so the second one is handed the same
// item. Both then read a record of 10 bytes from one connection at the same time, with MSG_WAITALL: each gets some of the
// bytes of both records, and what the server makes of them depends on who was quicker.
//
// two-threads-fixed adds EPOLLONESHOT: an item that was delivered is nobody else's until it is armed again.
func twoThreads() []Variant {
	return pair(
		Variant{
			Check: "concurrent-delivery", serve: shareConnection,
			Script: []Step{
				take(0, len(greeting)), send(Message[:5]), wait(AfterFirstWait), send(Message[5:]), wait(AfterSecondWait),
			},
		},
		half{
			Name: "two-threads", Title: "two threads wait for one level-triggered connection",
			Teaches: "level-triggered hands an item to every thread that waits, until it is read",
			Claims: []Claim{
				deliveredTo("both", "one arrival was delivered to both threads before either had read it", 2),
				readsOverlapped("overlap", "both threads were in a read of the connection at the same time", true),
				turns("turns", "each thread said that it would read, before either had read", 2),
			},
			Expect: []ExpectedFinding{{Check: "concurrent-delivery", Unread: AnyAmount}},
		},
		half{
			Name: "two-threads-fixed", Title: "two threads wait for one EPOLLONESHOT connection",
			Teaches: "EPOLLONESHOT gives an item to one thread, until that thread arms it again",
			Claims: []Claim{
				deliveredTo("one", "the arrival was delivered to one thread", 1),
				readsOverlapped("in-turn", "the records were read one after the other", false),
				echoed("echo", "the client got its records back, one after the other", greeting+mine+Message[:10]+mine+Message[10:]),
			},
		},
	)
}

// mine is what a thread says before it reads a record.
const mine = "!"

func shareConnection(s *stage) {
	mask := event.In | event.OneShot
	if s.faulty {
		mask = event.In // BUG two-threads: without EPOLLONESHOT the other thread is handed it as well
	}
	ep := s.epoll()
	var handed, done atomic.Int32
	worker := func(s *stage) {
		for {
			for _, on := range s.wait(ep, forever) {
				// It looks something up before it reads. That takes until the other thread has had its chance.
				handed.Add(1)
				for begin := time.Now(); handed.Load() < 2 && time.Since(begin) < s.pace/2; {
					s.sleep(aMoment)
				}
				s.send(on.fd, mine)
				record, ended := s.record(on.fd, 10)
				if ended {
					_ = unix.Close(on.fd) // the other thread may have done so
					continue
				}
				// Then it works on the record. That takes until everybody else who was handed the connection has one, too.
				done.Add(1)
				for begin := time.Now(); done.Load() < handed.Load() && time.Since(begin) < 2*s.pace; {
					s.sleep(aMoment)
				}
				s.send(on.fd, record)
				s.change(ep, on.fd, mask)
			}
		}
	}
	s.threads(1, worker)
	s.open()
	s.until(s.listener, unix.POLLIN)
	fd, _ := s.accept()
	must("making the connection blocking", unix.SetNonblock(fd, false))
	s.watch(ep, fd, mask)
	s.send(fd, greeting)
	worker(s)
}

// record waits for so many bytes.
func (s *stage) record(fd, bytes int) (text string, ended bool) {
	buf := make([]byte, bytes)
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_WAITALL)
		must("reading", s.journal.read(fd, n, err))
		if err != unix.EINTR {
			return string(buf[:max(n, 0)]), n <= 0
		}
	}
}

// crowd: a pool of threads that waits for one level-triggered connection.
//
// Four threads wait on one instance. Each message of the client is delivered to all that sleep, because a level-triggered item
// stays on the ready list until somebody has read it. One of them reads the message, and the others' reads find nothing.
// The answers are right; three calls of four are for nothing, and so are the switches between threads that they took.
//
// crowd-fixed registers the connection with EPOLLET: one arrival is one delivery.
func crowd() []Variant {
	script := []Step{take(0, len(greeting))}
	for range crowdRounds {
		script = append(script, send("0123456789"), take(0, 10))
	}
	script = append(script, rest(BeforeInterrupt))
	return pair(
		Variant{Check: "spurious-wakeup", serve: poolOfFour, Script: script},
		half{
			Name: "crowd", Title: "a pool of threads waits for one level-triggered connection",
			Teaches: "a level-triggered item wakes a whole pool, and all but one find nothing",
			Claims: []Claim{
				deliveredOften("often", "there were far more deliveries than messages", event.In, 2*crowdRounds),
				received("all", "the client got everything back", len(greeting)+10*crowdRounds),
			},
			Expect: []ExpectedFinding{
				{Check: "spurious-wakeup", Unread: AnyAmount}, {Check: "thundering-herd", Unread: AnyAmount, Perhaps: true},
			},
		},
		half{
			Name: "crowd-fixed", Title: "a pool of threads waits for one edge-triggered connection",
			Teaches: "with EPOLLET one arrival is delivered to one thread of a pool",
			Claims: []Claim{
				counted("once", "there was one delivery for each message", crowdRounds, crowdRounds, func(s *story, e *event.Event) bool {
					return e.Kind == event.KindDeliver && e.FD == s.fd
				}),
				received("all", "the client got everything back", len(greeting)+10*crowdRounds),
			},
		},
	)
}

// crowdRounds keeps below what thundering-herd counts as one.
const crowdRounds = 150

func poolOfFour(s *stage) {
	mask := event.In | event.ET
	if s.faulty {
		mask = event.In // BUG crowd: level-triggered, it is delivered to all who wait
	}
	ep := s.epoll()
	worker := func(s *stage) {
		for {
			for _, on := range s.wait(ep, forever) {
				s.sleep(aMoment)
				text, ended := s.drain(on.fd)
				if ended {
					_ = unix.Close(on.fd) // another thread may have done so
				}
				if text != "" {
					s.sleep(aMoment) // it works on it
					s.send(on.fd, text)
				}
			}
		}
	}
	s.threads(3, worker)
	s.open()
	s.until(s.listener, unix.POLLIN)
	fd, _ := s.accept()
	s.watch(ep, fd, mask)
	s.send(fd, greeting)
	worker(s)
}

// aMoment is what a thread does first, and long enough for the others to be woken.
const aMoment = time.Millisecond

// herd: every thread watches the listener, and every connection wakes them all.
//
// Eight threads have an epoll instance each, and the same listener in all of them. A connection calls the callbacks of all eight
// items; eight threads wake, one accepts, and seven find an empty queue. With as many threads as processors and many short
// connections a large part of the machine does nothing but this.
//
// herd-fixed registers the listener with EPOLLEXCLUSIVE: one arrival wakes one of those who sleep. A thread that was just not
// asleep still looks when it comes back, and may find nothing.
func herd() []Variant {
	script := []Step{take(0, len(answer)), takeEnd(0)}
	for i := 1; i <= herdRounds; i++ {
		script = append(script, open(i), takeEnd(i), closeOn(i))
	}
	script = append(script, rest(BeforeInterrupt))
	return pair(
		Variant{Check: "thundering-herd", serve: acceptTogether, Script: script},
		half{
			Name: "herd", Title: "eight threads watch one listener",
			Teaches: "a connection wakes everyone who watches the listener; all but one in vain",
			Claims: []Claim{
				accepted("accepted", "every connection was accepted once", herdRounds+1),
				acceptsFailed("in-vain", "two accepts of three, or more, found nothing", 2*herdRounds, noLimit, unix.EAGAIN),
			},
			Expect: []ExpectedFinding{
				{Check: "thundering-herd", Unread: AnyAmount}, {Check: "spurious-wakeup", Unread: AnyAmount},
			},
		},
		half{
			Name: "herd-fixed", Title: "eight threads watch one listener, with EPOLLEXCLUSIVE",
			Teaches: "EPOLLEXCLUSIVE wakes one of those who watch the listener",
			Claims: []Claim{
				accepted("accepted", "every connection was accepted once", herdRounds+1),
				acceptsFailed("few-in-vain", "at most one accept of two found nothing", 0, herdRounds, unix.EAGAIN),
			},
		},
	)
}

const (
	herdThreads = 8
	herdRounds  = 200
)

func acceptTogether(s *stage) {
	mask := event.In | event.Exclusive
	if s.faulty {
		mask = event.In // BUG herd: without EPOLLEXCLUSIVE every connection wakes all threads
	}
	s.threads(herdThreads, func(s *stage) {
		ep := s.epoll()
		s.watch(ep, s.listener, mask)
		for {
			s.wait(ep, forever)
			s.sleep(aMoment)
			if fd, ok := s.accept(); ok {
				s.sleep(aMoment) // it works on it
				s.send(fd, answer)
				must("closing", unix.Close(fd))
			}
		}
	})
	s.open()
	select {}
}
