package server

import (
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// stallScript has one client ask for something that takes long, and another one for an echo while that lasts.
func stallScript() []Step {
	script := []Step{open(1), take(0, len(greeting)), take(1, len(greeting))}
	for range 5 {
		script = append(script, sendOn(1, "echo"), take(1, 4)) // so that the loop is seen to be one
	}
	return append(script,
		send("slow"), take(0, len(busy)), sendOn(1, Message), take(1, 20), take(0, len(answer)), rest(BeforeInterrupt))
}

// blocking-call: a call that blocks, in the middle of the loop.
//
// One client's request needs a backend that takes its time, and the server asks it from the handler, with a call that waits. All
// other clients wait as long, although their input has arrived and their sockets are ready. Name look-ups, databases and locks are
// the usual ones.
//
// blocking-call-fixed makes the call on a thread of its own.
func blockingCall() []Variant {
	return pair(
		Variant{Check: "loop-stall", serve: askBackend, Script: stallScript()},
		half{
			Name: "blocking-call", Title: "waits for a backend inside the loop",
			Teaches: "a handler that blocks keeps every other client waiting",
			Claims: []Claim{
				waitedMeanwhile("stall", "the loop did not come back to wait until the work was done", 0, 0),
			},
			Expect: []ExpectedFinding{{Check: "loop-stall", Unread: AnyAmount}},
		},
		half{
			Name: "blocking-call-fixed", Title: "waits for a backend on another thread",
			Teaches: "what blocks belongs on another thread",
			Claims: []Claim{
				waitedMeanwhile("no-stall", "the loop came back to wait before the work was done", 1, noLimit),
			},
		},
	)
}

func askBackend(s *stage) {
	s.stallLoop(func(s *stage, fd int) {
		call := func(s *stage) {
			s.sleep(s.pace)
			s.send(fd, answer)
		}
		if s.faulty {
			call(s) // BUG blocking-call: it blocks the thread that everybody waits for
			return
		}
		s.thread(call)
	}, func() bool { return false })
}

// long-compute: much computing in one turn of the loop.
//
// One client's request takes a lot of computing, and the handler does all of it at once. It needs no call that blocks for the loop to
// stand still: the other clients' input is there, and nobody looks.
//
// long-compute-fixed computes in slices and looks for events in between.
func longCompute() []Variant {
	return pair(
		Variant{Check: "loop-stall", serve: computeInSlices, Script: stallScript()},
		half{
			Name: "long-compute", Title: "computes everything in one turn",
			Teaches: "a handler that computes for long keeps every other client waiting",
			Claims: []Claim{
				waitedMeanwhile("stall", "the loop did not come back to wait until the work was done", 0, 0),
			},
			Expect: []ExpectedFinding{{Check: "loop-stall", Unread: AnyAmount}},
		},
		half{
			Name: "long-compute-fixed", Title: "computes in slices, with a wait between them",
			Teaches: "work cut into slices leaves the loop to the others in between",
			Claims: []Claim{
				waitedMeanwhile("no-stall", "the loop came back to wait again and again before the work was done", 5, noLimit),
			},
		},
	)
}

func computeInSlices(s *stage) {
	slice := s.pace / 20
	if s.faulty {
		slice = s.pace // BUG long-compute: all of it in one turn
	}
	var left time.Duration
	var client int
	s.stallLoop(func(_ *stage, fd int) { left, client = s.pace, fd }, func() bool {
		if left <= 0 {
			return false
		}
		s.compute(min(slice, left))
		if left -= slice; left <= 0 {
			s.send(client, answer)
		}
		return left > 0
	})
}

// stallLoop echoes, but hands what begins with s for slow over. Each turn ends with a call of more, and waits only when that says that
// there is nothing more to do.
func (s *stage) stallLoop(slow func(*stage, int), more func() bool) {
	var buf [64]byte
	patience := forever
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, patience) {
			if on.fd == s.listener {
				if fd, ok := s.admit(ep, event.In); ok {
					s.send(fd, greeting)
				}
				continue
			}
			switch n := s.read(on.fd, buf[:]); {
			case n == endOfStream:
				s.close(on.fd)
			case n > 0 && buf[0] == 's':
				s.send(on.fd, busy)
				slow(s, on.fd)
			case n > 0:
				s.send(on.fd, string(buf[:n]))
			}
		}
		patience = forever
		if more() {
			patience = 0
		}
	}
}
