package server

import (
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// et-fair: draining without starving the others.
//
// Reading until EAGAIN lets a client that sends faster than the server reads keep the loop for itself. Real servers
// read at most 64 KiB from one socket, put it on a list of their own, and go on with the next: edge-triggered will not
// say again that something is left, so the server must remember it. The list is served before the next wait blocks:
// while it is not empty epoll_wait is called with time-out 0, only to look for new events. The client of the
// experiment sends 20 bytes, which one turn takes, so what is seen is et-drain with the end of the stream read
// properly: EPOLLIN|EPOLLRDHUP (0x2001), a read of 0, a FIN.
//
// The deliberate line is Reading: OneTurn, with the pending list behind it.
func etFair() Variant {
	return Variant{
		Name:    "et-fair",
		Title:   "edge-triggered, at most 64 KiB a turn, pending list",
		Teaches: "how a correct edge-triggered loop drains and stays fair",

		Mask:    event.In | event.ET | event.RdHup | event.Hup,
		Reading: OneTurn, // the deliberate line
		HangUp:  AtEndOfStream,

		Script:  []Step{send(Message), wait(AfterFirstWait), closing()},
		Timeout: 5 * time.Second,
		Lines: []string{
			"listen on port " + PortMark, "[+] accept client " + ClientMark,
			"client socket events: 0x1", "[+] data: 0123456789012345", "[+] data: 6789",
			"client socket events: 0x2001", "[+] connection closed",
		},
		Claims: []Claim{
			wakeups("one-wakeup", "one wakeup carried all 20 bytes", 20),
			turnsRead("one-turn", "one turn took them: the reads returned 16, 4, then EAGAIN", turnWant{event.In, []int64{16, 4, again}}),
			drainedBeforeWait("nothing-pending", "no wait could block while something was unread"),
			echoed("echo", "the client got all 20 bytes back", Message),
			endRead("end", "the end came as EPOLLIN|EPOLLRDHUP (0x2001) and a read of 0 bytes"),
			noReset("no-reset", "nothing was unread at the close, so the kernel sent a FIN and no reset"),
		},
	}
}
