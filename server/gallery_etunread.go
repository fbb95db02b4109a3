package server

import "github.com/epwatch/epwatch/internal/event"

// short-read: a read that got less than the buffer holds, taken for the end of the input.
//
// epoll(7) offers a shortcut: a read that returns fewer bytes than were asked for has emptied the socket, so EAGAIN need
// not be seen. This server wants to be fair and asks for 16 bytes a time, but compares what it got with the size of its buffer
// of 64. Every read looks short to it. The client sends 20 bytes; the server reads 16, believes that nothing is left, and goes
// back to wait with 4 bytes in the queue of an edge-triggered item. The client waits for the rest of its echo for ever. (A read
// can also be short for the kernel's own reasons: it stops at urgent data, tcp_recvmsg in net/ipv4/tcp.c.)
//
// short-read-fixed reads until EAGAIN.
func shortRead() []Variant {
	return pair(
		Variant{Check: "et-unread", serve: readShares, Script: []Step{send(Message), wait(BeforeInterrupt)}},
		half{
			Name: "short-read", Title: "takes a short read for an empty socket",
			Teaches: "a read that did not fill the buffer does not prove that the socket is empty",
			Claims: []Claim{
				wakeups("one-wakeup", "one wakeup carried all 20 bytes", 20),
				turnsRead("one-read", "one delivery, one read of 16 bytes, and never another", turnWant{event.In, []int64{16}}),
				leftUnread("left-4", "4 bytes stayed in the queue", 0, 4, BeforeInterrupt),
				echoed("echo", "the client got 16 of its 20 bytes back", Message[:16]),
				resetAtExit("reset", "when the server was interrupted the kernel sent a reset over them", 4),
			},
			Expect: []ExpectedFinding{
				{Check: "et-unread", Outcome: "lost", Unread: 4}, {Check: "reset-on-close", Unread: 4},
			},
		},
		half{
			Name: "short-read-fixed", Title: "reads on until EAGAIN",
			Teaches: "only EAGAIN proves that an edge-triggered socket is empty",
			Claims: []Claim{
				wakeups("one-wakeup", "one wakeup carried all 20 bytes", 20),
				turnsRead("drained", "one delivery: the reads returned 16, 4, then EAGAIN", turnWant{event.In, []int64{16, 4, again}}),
				echoed("echo", "the client got all 20 bytes back", Message),
			},
		},
	)
}

func readShares(s *stage) {
	const share = 16
	var buf [64]byte
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			if on.fd == s.listener {
				s.admit(ep, event.In|event.RdHup|event.ET)
				continue
			}
			for {
				n := s.read(on.fd, buf[:share])
				if n == endOfStream {
					s.close(on.fd)
					break
				}
				if n == nothingYet {
					break
				}
				s.send(on.fd, string(buf[:n]))
				if s.faulty && n < len(buf) {
					break // BUG short-read: it was the share that cut the read short, not the end of the input
				}
			}
		}
	}
}
