package server

import (
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// et-drain: how edge-triggered is meant to be used.
//
// The client sends 20 bytes with one send. The kernel calls the item's callback once and puts it on the ready list
// once; epoll_wait hands it out once. The buffer holds 16 bytes, so the server reads 16, then 4, then EAGAIN: only
// EAGAIN proves that the queue is empty, and only after it may an edge-triggered loop go back to wait, because the
// next callback comes with new input and not before. When the client closes, EPOLLRDHUP is looked at first; nothing
// is unread by then, so close sends a FIN.
//
// The deliberate line is Reading: UntilEmpty. Make it OneRead and this is et-partial.
func etDrain() Variant {
	return Variant{
		Name:    "et-drain",
		Title:   "edge-triggered, read until EAGAIN",
		Teaches: "one wakeup is enough when every delivery drains the socket",

		Mask:    event.In | event.ET | event.RdHup | event.Hup,
		Reading: UntilEmpty, // the deliberate line
		HangUp:  BeforeInput,

		Script:  []Step{send(Message), wait(AfterFirstWait), closing()},
		Timeout: 5 * time.Second,
		Lines: []string{
			"listen on port " + PortMark, "[+] accept client " + ClientMark,
			"client socket events: 0x1", "[+] data: 0123456789012345", "[+] data: 6789",
			"[+] connection closed",
		},
		Claims: []Claim{
			wakeups("one-wakeup", "one wakeup carried all 20 bytes", 20),
			turnsRead("drained", "one delivery: the reads returned 16, 4, then EAGAIN", turnWant{event.In, []int64{16, 4, again}}),
			echoed("echo", "the client got all 20 bytes back", Message),
			hangUpFirst("hang-up", "the hang-up came as one more delivery, and the server closed without another read", 0),
			noReset("no-reset", "nothing was unread at the close, so the kernel sent a FIN and no reset"),
		},
	}
}
