package server

import (
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// lt: level-triggered forgives a single read.
//
// The same single read as et-partial, without EPOLLET. The client sends 20 bytes: one arrival, one callback. After
// the delivery the kernel puts a level-triggered item back on the ready list at once, and the next epoll_wait polls
// it again: 4 bytes are left, so it is delivered a second time, without a second wakeup. The wait after that polls
// once more, finds nothing, drops the item and sleeps. When the client closes, the delivery is EPOLLIN|EPOLLRDHUP
// (0x2001): EPOLLIN is looked at first, the read returns 0, and then the server closes, with a FIN.
//
// The deliberate line is the Mask, which has no event.ET. Add it and the 4 bytes stay.
func lt() Variant {
	return Variant{
		Name:    "lt",
		Title:   "level-triggered, one read a delivery",
		Teaches: "level-triggered delivers again as long as something is unread",

		Mask:    event.In | event.RdHup | event.Hup, // the deliberate line
		Reading: OneRead,
		HangUp:  AfterInput,

		Script:  []Step{send(Message), wait(AfterFirstWait), closing()},
		Timeout: 5 * time.Second,
		Lines: []string{
			"listen on port " + PortMark, "[+] accept client " + ClientMark,
			"client socket events: 0x1", "[+] data: 0123456789012345",
			"client socket events: 0x1", "[+] data: 6789",
			"client socket events: 0x2001", "[+] connection closed",
		},
		Claims: []Claim{
			wakeups("one-wakeup", "one arrival, one wakeup: all 20 bytes", 20),
			turnsRead("two-deliveries", "it was delivered twice for that: a read of 16, then one of 4",
				turnWant{event.In, []int64{16}}, turnWant{event.In, []int64{4}}),
			echoed("echo", "the client got all 20 bytes back", Message),
			endRead("end", "the end came as EPOLLIN|EPOLLRDHUP (0x2001) and a read of 0 bytes"),
			noReset("no-reset", "nothing was unread at the close, so the kernel sent a FIN and no reset"),
		},
	}
}
