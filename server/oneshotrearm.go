package server

import (
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// oneshot-rearm: EPOLLONESHOT as it is meant.
//
// The server and the client of oneshot, with the one call that was missing: after each delivery epoll_ctl(MOD) arms
// the item again. MOD also polls the socket, and puts the item on the ready list when something is there, edge-triggered
// or not. So after the first read of 16 the 4 bytes left are delivered again, without any wakeup, and one read a
// delivery is enough: nothing can stay behind an armed item. `end` and the FIN find it armed and wake it; a read
// returns 0, and the server closes, with a FIN. It closes only at the end of the stream, because EPOLLRDHUP may
// come along with bytes that are still to be read.
//
// The deliberate line is Rearm: true. Without it this is oneshot.
func oneshotRearm() Variant {
	return Variant{
		Name:    "oneshot-rearm",
		Title:   "EPOLLONESHOT, armed again after each delivery",
		Teaches: "EPOLL_CTL_MOD arms the item and also delivers what was left",

		Mask:    event.In | event.ET | event.RdHup | event.Hup | event.OneShot,
		Reading: OneRead,
		HangUp:  AtEndOfStream,
		Rearm:   true, // the deliberate line

		Script: []Step{
			send(Message), wait(AfterFirstWait), send("end"), wait(AfterSecondWait), closing(),
		},
		Timeout: time.Second,
		Lines: []string{
			"listen on port " + PortMark, "[+] accept client " + ClientMark,
			"client socket events: 0x1", "[+] data: 0123456789012345",
			"client socket events: 0x1", "[+] data: 6789",
			"client socket events: 0x1", "[+] data: end",
			"client socket events: 0x2001", "[+] connection closed",
		},
		Claims: []Claim{
			wakeups("wakeups", "two sends, two wakeups: 20 bytes at the first, 3 at the second", 20, 3),
			turnsRead("deliveries", "three deliveries: 16 bytes, the 4 left over, then `end`",
				turnWant{event.In, []int64{16}}, turnWant{event.In, []int64{4}}, turnWant{event.In, []int64{3}}),
			rearmed("rearmed", "after each delivery EPOLL_CTL_MOD armed the item again before the next wait"),
			redelivered("redelivered", "the 4 bytes left were delivered by that call: no wakeup came in between"),
			echoed("echo", "the client got all 23 bytes back", Message+"end"),
			endRead("end", "the FIN woke the armed item: EPOLLIN|EPOLLRDHUP (0x2001) and a read of 0 bytes"),
			noReset("no-reset", "nothing was unread at the close, so the kernel sent a FIN and no reset"),
		},
	}
}
