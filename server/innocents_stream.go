package server

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// back-pressure: input held back because the output does not go.
//
// The client asks for far more than a socket holds and does not read it. The server's write is short; it stops asking for
// input, asks for output space instead, and leaves the client's next request unread for as long as that takes. When the client reads,
// the rest goes out, and the server asks for input again.
func backPressure() Variant {
	return Variant{
		Name: "back-pressure", Title: "level-triggered, leaves requests unread while its answers do not go",
		Teaches: "input that nobody asks for may lie unread: it holds the client back",
		Check:   "et-unread", serve: answerMuch,
		Script: []Step{
			send(Message), pause(), sendOn(0, Message), pause(), pause(), take(0, 2*muchBytes), pause(),
		},
		Claims: []Claim{
			heldBack("held", "the second request lay unread while the item asked for output space alone"),
			received("all", "the client got both answers in full", 2*muchBytes),
		},
	}
}

// muchBytes is more than the send and the receive buffer of a connection grow to by default (net.ipv4.tcp_wmem, tcp_rmem).
const muchBytes = 12 << 20

func answerMuch(s *stage) {
	var buf [64]byte
	much := strings.Repeat("0123456789abcdef", muchBytes/16)
	left := map[int]string{}
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			if on.fd == s.listener {
				s.admit(ep, event.In)
				continue
			}
			if on.mask&event.In != 0 {
				if s.read(on.fd, buf[:]) == endOfStream {
					s.close(on.fd)
					continue
				}
				left[on.fd] = much
			}
			left[on.fd] = s.sendSome(on.fd, left[on.fd])
			if left[on.fd] == "" {
				s.change(ep, on.fd, event.In)
			} else {
				s.change(ep, on.fd, event.Out)
			}
		}
	}
}

// half-close: a client that has sent all it will, and a server that goes on answering.
//
// The end of the client's stream is the end of its request, as in HTTP/1.0 or with `nc -N`. The server has read it, and takes its
// time over a long answer. The connection is in CLOSE_WAIT all the while, and that is as it should be.
func halfClose() Variant {
	return Variant{
		Name: "half-close", Title: "answers for long after the client has ended its stream",
		Teaches: "CLOSE_WAIT is no fault while the server still uses the connection",
		Check:   "close-wait", serve: answerInPieces,
		Script: []Step{send(Message), finish(0), takeEnd(0), closing(), pause()},
		Claims: []Claim{
			stateLasted("close-wait", "the connection was in CLOSE_WAIT for most of the client's time-out"),
			received("pieces", "the client got all pieces of its answer", halfClosePieces*len(answer)),
			noReset("no-reset", "the server closed, with a FIN"),
			clientEOF("client", "the client's connection ended in order"),
		},
	}
}

const halfClosePieces = 10

func answerInPieces(s *stage) {
	var buf [64]byte
	pieces := map[int]int{}
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		patience := forever
		if len(pieces) > 0 {
			patience = s.pace / halfClosePieces
		}
		for _, on := range s.wait(ep, patience) {
			if on.fd == s.listener {
				s.admit(ep, event.In)
				continue
			}
			if s.read(on.fd, buf[:]) == endOfStream {
				s.unwatch(ep, on.fd)
				pieces[on.fd] = halfClosePieces
			}
		}
		for fd := range pieces {
			s.send(fd, answer)
			if pieces[fd]--; pieces[fd] == 0 {
				delete(pieces, fd)
				s.close(fd)
			}
		}
	}
}

// linger-reset: a reset on purpose.
//
// SO_LINGER with time 0 makes close send a reset instead of a FIN. Servers use it to get rid of a connection without TIME_WAIT, and
// balancers to tell a client to go elsewhere. Everything was read, so nothing is lost.
func lingerReset() Variant {
	return Variant{
		Name: "linger-reset", Title: "reads everything, answers, and resets on purpose",
		Teaches: "a reset is a fault only when input was lost with it",
		Check:   "reset-on-close", serve: resetOnPurpose,
		Script: []Step{send(Message), takeEnd(0), closing(), pause()},
		Claims: []Claim{
			readsReturned("read", "the request was read in full", 20),
			resetAtClose("reset", "the close sent a reset with nothing unread", 0),
			clientReset("client", "the client's connection was reset"),
		},
	}
}

func resetOnPurpose(s *stage) {
	var buf [64]byte
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			if on.fd == s.listener {
				s.admit(ep, event.In)
				continue
			}
			if s.read(on.fd, buf[:]) > 0 {
				s.send(on.fd, answer)
			}
			must("asking for a reset", unix.SetsockoptLinger(on.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
			s.close(on.fd)
		}
	}
}

// peek-first: looks with MSG_PEEK, and reads when the message is complete.
//
// The first half of a message is looked at and left in the queue of an edge-triggered item. The server knows of it and waits for
// the other half, whose arrival is an edge of its own.
func peekFirst() Variant {
	return Variant{
		Name: "peek-first", Title: "edge-triggered, MSG_PEEK until a message is complete",
		Teaches: "bytes that the program has looked at and left are not forgotten",
		Check:   "et-unread", serve: peekThenRead,
		Script: []Step{send(Message[:10]), pause(), send(Message[10:]), take(0, 20), pause()},
		Claims: []Claim{
			wakeups("wakeups", "two halves, two wakeups: 10 bytes at the first, 20 at the second", 10, 20),
			peeked("peeks", "both times it looked first"),
			echoed("echo", "the client got all 20 bytes back", Message),
		},
	}
}

func peekThenRead(s *stage) {
	var buf [len(Message)]byte
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			if on.fd == s.listener {
				s.admit(ep, event.In|event.ET)
				continue
			}
			n, _, err := unix.Recvfrom(on.fd, buf[:], unix.MSG_PEEK)
			if err == nil && 0 < n && n < len(buf) {
				continue
			}
			if s.echo(on.fd) {
				s.close(on.fd)
			}
		}
	}
}

// splice-echo: moves bytes from socket to socket through a pipe, without a read.
//
// splice(2) takes the bytes off the receive queue in the kernel. There is no read and no write, and yet everything is drained until
// EAGAIN.
func spliceEcho() Variant {
	return Variant{
		Name: "splice-echo", Title: "edge-triggered, drained with splice",
		Teaches: "a socket can be drained without a read",
		Check:   "et-unread", serve: spliceBack,
		Script: []Step{send(Message), take(0, 20), pause(), send(Message), take(0, 20), pause()},
		Claims: []Claim{
			spliced("spliced", "splice took 20 bytes and then found nothing, for each of two deliveries"),
			echoed("echo", "the client got all 40 bytes back", Message+Message),
		},
	}
}

func spliceBack(s *stage) {
	var pipe [2]int
	must("making a pipe", unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			if on.fd == s.listener {
				s.admit(ep, event.In|event.ET)
				continue
			}
			for {
				n := s.splice(on.fd, pipe[1])
				if n == nothingYet {
					break
				}
				if n == endOfStream {
					s.close(on.fd)
					break
				}
				_, err := unix.Splice(pipe[0], nil, on.fd, nil, n, 0)
				must("splicing back", err)
			}
		}
	}
}

// send-file: answers with sendfile, and asks for output space only while something is left.
func sendFile() Variant {
	return Variant{
		Name: "send-file", Title: "answers with sendfile",
		Teaches: "EPOLLOUT asked for while a file is being sent is no loop that spins",
		Check:   "busy-loop", serve: answerWithFile,
		Script: []Step{send(Message), take(0, fileBytes), send(Message), take(0, fileBytes), pause()},
		Claims: []Claim{
			received("all", "the client got the file twice", 2*fileBytes),
			sentFile("sendfile", "sendfile sent it"),
		},
	}
}

const fileBytes = 8 << 20

func answerWithFile(s *stage) {
	var buf [64]byte
	file, err := unix.MemfdCreate("answer", unix.MFD_CLOEXEC)
	must("making a file", err)
	must("making a file", unix.Ftruncate(file, fileBytes))
	left := map[int]int{}
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			if on.fd == s.listener {
				s.admit(ep, event.In)
				continue
			}
			if left[on.fd] == 0 {
				if s.read(on.fd, buf[:]) == endOfStream {
					s.close(on.fd)
					continue
				}
				left[on.fd] = fileBytes
			}
			for left[on.fd] > 0 {
				offset := int64(fileBytes - left[on.fd])
				n, err := unix.Sendfile(on.fd, file, &offset, left[on.fd])
				if err == unix.EAGAIN {
					break
				}
				must("sending the file", err)
				left[on.fd] -= n
			}
			if left[on.fd] > 0 {
				s.change(ep, on.fd, event.Out)
			} else {
				s.change(ep, on.fd, event.In)
			}
		}
	}
}
