package server

import (
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// oneshot: an item that fires once and is never armed again.
//
// EPOLLONESHOT clears the item's mask when it is delivered; epoll_ctl(MOD) has to set it again, and this server never
// does. The client sends 20 bytes; one delivery, one read of 16. Then it sends `end`, and then it closes: each arrival
// still calls the callback, which finds an empty mask and returns. So nobody is woken, the server never learns that
// its client is gone, and the connection sits in CLOSE_WAIT with 8 in its receive queue: 4 + 3 bytes, and the FIN,
// which counts one. When the server is interrupted the kernel closes the socket over 7 unread bytes, with a reset.
// (The documented C server echoed 17 bytes for the 16 it read, because strlen ran past its buffer. This one sends 16.)
//
// The deliberate line is the missing one: Rearm is not set. Set it and this is oneshot-rearm.
func oneshot() Variant {
	return Variant{
		Name:    "oneshot",
		Title:   "EPOLLONESHOT, never armed again",
		Teaches: "a ONESHOT item is deaf after its delivery, even to the FIN: CLOSE_WAIT, then a reset",

		Mask:    event.In | event.ET | event.RdHup | event.Hup | event.OneShot,
		Reading: OneRead,
		HangUp:  AfterInput,
		Rearm:   false, // the deliberate line

		Script: []Step{
			send(Message), wait(AfterFirstWait), send("end"), wait(AfterSecondWait), closing(), rest(BeforeInterrupt),
		},
		Timeout: time.Second,
		Lines: []string{
			"listen on port " + PortMark, "[+] accept client " + ClientMark,
			"client socket events: 0x1", "[+] data: 0123456789012345",
		},
		Claims: []Claim{
			wakeups("one-wakeup", "one wakeup carried all 20 bytes", 20),
			turnsRead("one-delivery", "one delivery, one read of 16 bytes, and never another", turnWant{event.In, []int64{16}}),
			deafToInput("deaf-to-input", "`end` came, 7 bytes were unread, and it woke nobody: the item was disarmed", 7),
			deafToFIN("deaf-to-fin", "the FIN woke nobody either"),
			echoed("echo", "the client got 16 of the 23 bytes it sent", Message[:16]),
			closeWait("close-wait", "the connection sat in CLOSE_WAIT with a receive queue of 8: 7 bytes and the FIN", 7),
			resetAtExit("reset", "when the server was interrupted the kernel sent a reset, not a FIN", 7),
		},
		Expect: []ExpectedFinding{
			{Check: "oneshot-disarmed", Outcome: "lost", Unread: 7},
			{Check: "close-wait", Unread: 7},
			{Check: "reset-on-close", Unread: 7},
		},
	}
}
