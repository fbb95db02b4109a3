package server

import (
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// et-partial: the classic mistake with edge-triggered.
//
// As et-drain, but each delivery reads once. The client sends 20 bytes; the server reads 16 and goes back to wait with
// 4 bytes in the queue. No callback comes for bytes that are already there, so the server sleeps on input it has. The
// client waits out its time-out and sends the same 20 again: new input calls the callback, the queue holds 24, the
// server again reads 16, and 8 stay. Each answer is cut short, and every further request is answered with the rest of
// the one before. The client closes; the server sees EPOLLRDHUP first, and closes with 8 bytes unread: the kernel
// then sends a reset instead of a FIN (tcp_close, "unread data").
//
// The deliberate line is Reading: OneRead. Make it UntilEmpty and this is et-drain.
func etPartial() Variant {
	return Variant{
		Name:    "et-partial",
		Title:   "edge-triggered, one read a delivery",
		Teaches: "bytes left behind wake nobody until new ones come, and closing over them sends a reset",

		Mask:    event.In | event.ET | event.RdHup | event.Hup,
		Reading: OneRead, // the deliberate line
		HangUp:  BeforeInput,

		Script: []Step{
			send(Message), wait(AfterFirstWait), send(Message), wait(AfterSecondWait), closing(),
		},
		Timeout: 5 * time.Second,
		Lines: []string{
			"listen on port " + PortMark, "[+] accept client " + ClientMark,
			"client socket events: 0x1", "[+] data: 0123456789012345",
			"client socket events: 0x1", "[+] data: 6789012345678901",
			"[+] connection closed",
		},
		Claims: []Claim{
			wakeups("wakeups", "two sends, two wakeups: 20 bytes at the first, 24 at the second", 20, 24),
			turnsRead("reads", "each of the two deliveries read 16 bytes, once",
				turnWant{event.In, []int64{16}}, turnWant{event.In, []int64{16}}),
			leftUnread("left-4", "after the first read 4 bytes stayed in the queue", 0, 4, AfterFirstWait),
			quietUntilSend("quiet", "no wakeup and no delivery came until the client sent again"),
			leftUnread("left-8", "after the second read 8 bytes stayed", 1, 8, AfterSecondWait),
			echoed("echo", "the client got 32 of the 40 bytes it sent", Message+Message[:12]),
			hangUpFirst("hang-up", "the hang-up was looked at first, so the server closed with 8 bytes unread", 8),
			resetAtClose("reset", "closing with unread data sent a reset, not a FIN", 8),
		},
		Expect: []ExpectedFinding{
			{Check: "et-unread", Outcome: "rescued", Unread: 4},
			{Check: "et-unread", Outcome: "lost", Unread: 8},
			{Check: "reset-on-close", Unread: 8},
		},
	}
}
