package server

import "github.com/epwatch/epwatch/internal/event"

// rearm-skipped: an EPOLLONESHOT item that is armed again only when there was something to read.
//
// The server registers each connection for input and output space, with EPOLLONESHOT. The first delivery says EPOLLOUT
// alone, at once: a new socket can be written. The server greets its client, sees that there is nothing to read, and leaves the
// handler early, past the line that arms the item again. From then on the item is deaf: the client's 20 bytes arrive,
// the callback finds an empty mask, and nobody is woken. A telephony library did this whenever a delivery left it nothing to
// process (pjproject, pull request 3018).
//
// rearm-skipped-fixed arms the item again whatever there was to do.
func rearmSkipped() []Variant {
	return pair(
		Variant{
			Check: "oneshot-disarmed", serve: greetThenEcho,
			Script: []Step{take(0, len(greeting)), send(Message), wait(AfterFirstWait), pause()},
		},
		half{
			Name: "rearm-skipped", Title: "EPOLLONESHOT, not armed again when there was nothing to read",
			Teaches: "every delivery disarms an EPOLLONESHOT item, also one with nothing to do",
			Claims: []Claim{
				deliveredAs("output", "the first delivery was EPOLLOUT alone, and there was no other", event.Out),
				deafToInput("deaf", "20 bytes came and woke nobody: the item was disarmed", 20),
				echoed("echo", "the client got the greeting and nothing back", greeting),
				resetAtExit("reset", "when the server was interrupted the kernel sent a reset over them", 20),
			},
			Expect: []ExpectedFinding{
				{Check: "oneshot-disarmed", Outcome: "lost", Unread: 20}, {Check: "reset-on-close", Unread: 20},
			},
		},
		half{
			Name: "rearm-skipped-fixed", Title: "EPOLLONESHOT, armed again after every delivery",
			Teaches: "a handler that leaves early must arm its item, too",
			Claims: []Claim{
				deliveredAs("both", "EPOLLOUT was delivered, and then the input", event.Out, event.In),
				rearmed("rearmed", "after each delivery EPOLL_CTL_MOD armed the item again"),
				echoed("echo", "the client got the greeting and all 20 bytes back", greeting+Message),
			},
		},
	)
}

// greeting is the first word of servers that speak first: the client knows then how far they are.
const greeting = "welcome"

func greetThenEcho(s *stage) {
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			if on.fd == s.listener {
				s.admit(ep, event.In|event.Out|event.RdHup|event.OneShot)
				continue
			}
			if on.mask&event.Out != 0 {
				s.send(on.fd, greeting)
				if s.faulty && on.mask&event.In == 0 {
					continue // BUG rearm-skipped: nothing to read, so it leaves past the line that arms the item again
				}
			}
			if on.mask&event.In != 0 && s.echo(on.fd) {
				s.close(on.fd)
				continue
			}
			s.change(ep, on.fd, event.In|event.RdHup|event.OneShot)
		}
	}
}
