package server

import (
	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// early-reply: an answer given before the request was read, and a close right behind it.
//
// The client sends 8 bytes of header and 12 of body. The header is enough to refuse the request, so the server answers and
// closes, with the body unread. The kernel sends a reset instead of a FIN. Whatever of the answer the client has not yet read may be
// thrown away by its kernel: clients of such a server see "connection reset by peer" now and then where they should see the
// refusal (hyper, issue 3078; RFC 9112, section 9.6).
//
// early-reply-fixed shuts its side down after the answer, reads to the end of the stream, and then closes.
func earlyReply() []Variant {
	return pair(
		Variant{Check: "reset-on-close", serve: refuse, Script: []Step{send(Message), takeEnd(0), closing(), pause()}},
		half{
			Name: "early-reply", Title: "answers and closes with the rest of the request unread",
			Teaches: "closing over unread input sends a reset, and the reset can overtake the answer",
			Claims: []Claim{
				readsReturned("header", "one read took 8 bytes of 20", 8),
				resetAtClose("reset", "closing with 12 bytes unread sent a reset, not a FIN", 12),
				clientReset("client", "the client's connection was reset"),
			},
			Expect: []ExpectedFinding{{Check: "reset-on-close", Unread: 12}},
		},
		half{
			Name: "early-reply-fixed", Title: "answers, shuts down, reads to the end, and closes",
			Teaches: "a lingering close gives the client its answer and a FIN",
			Claims: []Claim{
				readsReturned("drained", "after the answer it read the 12 bytes left, and the end of the stream", 8, 12, 0),
				noneSent("no-reset", "no reset was sent", event.KindReset),
				echoed("answer", "the client got the answer", refusal),
				clientEOF("client", "the client's connection ended in order"),
			},
		},
	)
}

const refusal = "too large"

func refuse(s *stage) {
	const header = 8
	var buf [64]byte
	refused := map[int]bool{}
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			switch {
			case on.fd == s.listener:
				s.admit(ep, event.In)
			case refused[on.fd]:
				if s.read(on.fd, buf[:]) == endOfStream {
					delete(refused, on.fd)
					s.close(on.fd)
				}
			default:
				s.read(on.fd, buf[:header])
				s.send(on.fd, refusal)
				if s.faulty {
					s.close(on.fd) // BUG early-reply: the rest of the request is unread
					continue
				}
				must("shutting down", unix.Shutdown(on.fd, unix.SHUT_WR))
				refused[on.fd] = true
			}
		}
	}
}

// hup-first: a hang-up handled before the data that came with it.
//
// The client sends 20 bytes and the end of its stream in one segment, so one delivery says EPOLLIN and EPOLLRDHUP. The server
// looks at EPOLLRDHUP first, concludes that the client is gone, and closes. The client's last request was never read, and
// the client, which is still there and waits for its answer, gets a reset (netty, issue 4317).
//
// hup-first-fixed reads first and closes at the end of the stream.
func hangUpBeforeData() []Variant {
	return pair(
		Variant{Check: "reset-on-close", serve: watchHangUps, Script: []Step{sendEnd(0, Message), takeEnd(0), closing(), pause()}},
		half{
			Name: "hup-first", Title: "closes on EPOLLRDHUP before it has read",
			Teaches: "EPOLLRDHUP means that the client sends no more, not that it has sent nothing",
			Claims: []Claim{
				deliveredAs("one-delivery", "data and hang-up came as one delivery", event.In|event.RdHup),
				hangUpFirst("unread", "the server closed without a read, with 20 bytes unread", 20),
				resetAtClose("reset", "the kernel sent a reset, not a FIN", 20),
				echoed("echo", "the client got nothing back", ""),
				clientReset("client", "the client's connection was reset"),
			},
			Expect: []ExpectedFinding{{Check: "reset-on-close", Unread: 20}},
		},
		half{
			Name: "hup-first-fixed", Title: "reads to the end of the stream before it closes",
			Teaches: "data first: the end of the stream is where a read returns 0",
			Claims: []Claim{
				deliveredAs("one-delivery", "data and hang-up came as one delivery", event.In|event.RdHup),
				readsReturned("to-the-end", "the reads returned the 20 bytes and then 0", 20, 0),
				noReset("no-reset", "the close sent a FIN and no reset"),
				echoed("echo", "the client got all 20 bytes back", Message),
				clientEOF("client", "the client's connection ended in order"),
			},
		},
	)
}

func watchHangUps(s *stage) {
	ep := s.epoll()
	s.watch(ep, s.listener, event.In)
	s.open()
	for {
		for _, on := range s.wait(ep, forever) {
			if on.fd == s.listener {
				s.admit(ep, event.In|event.RdHup)
				continue
			}
			// BUG hup-first: the hang-up is looked at before the data that came with it
			if s.faulty && on.mask&event.RdHup != 0 || s.echo(on.fd) {
				s.unwatch(ep, on.fd)
				s.close(on.fd)
			}
		}
	}
}
