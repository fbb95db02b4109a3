package server

import (
	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// lost-eof: the request and the end of the stream in one edge, and only the request was read.
//
// The client sends its request and the end of its stream at once, as `nc -N` does. By the time
// the server registers the connection both are there, so there is one edge-triggered delivery for both. The server reads
// the request, knows that it is complete, answers, and goes back to wait. Nothing more will ever arrive, so nothing
// wakes it: the FIN was already told of. The socket stays in CLOSE_WAIT until the process ends (seen in dotnet/runtime,
// pull request 38747).
// Its receive queue is empty, since the FIN came in the segment that was read (tcp_recvmsg, found_fin_ok), so `ss` does
// not even show that anything was left.
//
// lost-eof-fixed reads on to the end of the stream and closes.
func lostEOF() []Variant {
	return pair(
		Variant{
			Check: "close-wait", serve: answerRequests,
			Script: []Step{sendEnd(0, Message), take(0, len(answer)), rest(BeforeInterrupt)},
		},
		half{
			Name: "lost-eof", Title: "stops reading at the end of the request, and the end of the stream came with it",
			Teaches: "a FIN that came with the last bytes is never told of again: CLOSE_WAIT",
			Claims: []Claim{
				deliveredAs("one-edge", "request and end of stream came as one delivery", event.In),
				readsReturned("request", "one read took the request, and nobody read the end of the stream", 20),
				echoed("answer", "the client got its answer", answer),
				closeWaitEmpty("close-wait", "the connection sat in CLOSE_WAIT with an empty queue: the FIN went with the last byte"),
			},
			Expect: []ExpectedFinding{{Check: "close-wait"}},
		},
		half{
			Name: "lost-eof-fixed", Title: "reads on to the end of the stream, and closes",
			Teaches: "reading until 0 or EAGAIN finds the FIN that came along",
			Claims: []Claim{
				deliveredAs("one-edge", "request and end of stream came as one delivery", event.In),
				readsReturned("to-the-end", "the reads returned the request and then 0", 20, 0),
				echoed("answer", "the client got its answer", answer),
				noReset("no-reset", "the server closed, with a FIN"),
			},
		},
	)
}

const answer = "answer"

func answerRequests(s *stage) {
	var buf [64]byte
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			if on.fd == s.listener {
				if fd, ok := s.accept(); ok {
					s.until(fd, unix.POLLRDHUP) // it looks the client's name up, and everything comes meanwhile
					s.watch(ep, fd, event.In|event.ET)
				}
				continue
			}
			for {
				n := s.read(on.fd, buf[:])
				if n == endOfStream {
					s.close(on.fd)
					break
				}
				if n == nothingYet {
					break
				}
				s.send(on.fd, answer)
				if s.faulty {
					break // BUG lost-eof: the request is complete, so it does not read on, and the FIN stays unread
				}
			}
		}
	}
}
