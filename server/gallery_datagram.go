package server

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// datagram-once: one datagram read for an edge that stood for four.
//
// The server has its work done by another one, which it asks over UDP: four questions for a request of 20 bytes, and four
// answers, one datagram each. They come faster than the loop comes back to its wait, so that one delivery stands for all four.
// The server reads one datagram a delivery, as a level-triggered loop may. Three answers stay in the socket's queue, and
// the client waits for the rest of its echo until some later answer pushes the next one out: from then on every client gets what belongs
// to an earlier one.
//
// datagram-once-fixed reads until EAGAIN.
func datagramOnce() []Variant {
	return pair(
		Variant{Check: "et-unread", serve: askByDatagrams, Script: []Step{send(Message), wait(BeforeInterrupt)}},
		half{
			Name: "datagram-once", Title: "edge-triggered UDP socket, one datagram a delivery",
			Teaches: "one edge can stand for many datagrams: read until EAGAIN",
			Claims: []Claim{
				otherDelivered("one-edge", "the four datagrams were one delivery", 1, 1),
				otherRead("one-read", "one read took one datagram, and never another", 5),
				echoed("echo", "the client got 5 of its 20 bytes back", Message[:datagramBytes]),
			},
			Expect: []ExpectedFinding{{Check: "et-unread", Outcome: "lost", Unread: 3}},
		},
		half{
			Name: "datagram-once-fixed", Title: "edge-triggered UDP socket, reads until EAGAIN",
			Teaches: "only EAGAIN proves that no datagram is left",
			Claims: []Claim{
				otherDelivered("one-edge", "the four datagrams were one delivery", 1, 1),
				otherRead("drained", "the reads returned 5, four times, then EAGAIN", 5, 5, 5, 5, again),
				echoed("echo", "the client got all 20 bytes back", Message),
			},
		},
	)
}

const datagramBytes = 5

func askByDatagrams(s *stage) {
	var buf [64]byte
	client := -1
	ep := s.epoll()
	answers, backend := s.datagrams()
	s.watch(ep, answers, event.In|event.ET)
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			switch on.fd {
			case s.listener:
				client, _ = s.admit(ep, event.In)
			case answers:
				for {
					n, err := unix.Read(answers, buf[:])
					if err == unix.EAGAIN {
						break
					}
					must("reading an answer", err)
					s.send(client, string(buf[:n]))
					if s.faulty {
						break // BUG datagram-once: an edge is not one datagram
					}
				}
			default:
				n := s.read(on.fd, buf[:])
				if n == endOfStream {
					s.close(on.fd)
					continue
				}
				for at := 0; at < n; at += datagramBytes {
					before := s.queued(answers)
					must("answering", unix.Send(backend, buf[at:min(at+datagramBytes, n)], 0))
					for s.queued(answers) == before {
						s.sleep(time.Millisecond) // on a busy machine the loopback device takes its time
					}
				}
				s.sleep(s.pace / 50) // what the kernel does with the last one besides is over by then
			}
		}
	}
}

// datagrams makes a non-blocking UDP socket, and another one from which it gets what is sent there.
func (s *stage) datagrams() (to, from int) {
	var fds [2]int
	for i := range fds {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		must("making a UDP socket", err)
		must("binding a UDP socket", unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
		fds[i] = fd
	}
	for i, fd := range fds {
		peer, err := unix.Getsockname(fds[1-i])
		must("asking for an address", err)
		must("connecting a UDP socket", unix.Connect(fd, peer))
	}
	return fds[0], fds[1]
}

// queued is how much memory the socket's unread datagrams take.
func (s *stage) queued(fd int) int {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MEMINFO) // the first of its numbers, SK_MEMINFO_RMEM_ALLOC
	must("asking for a queue's memory", err)
	return n
}
