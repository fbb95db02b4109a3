package tracer

import (
	"fmt"
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// TestDetails holds each flag and figure against a workload that does each thing once.
func TestDetails(t *testing.T) {
	needPrivileges(t)
	for _, family := range usableFamilies(t) {
		t.Run(string(family), func(t *testing.T) {
			events, lines, _ := observe(t, "details", Options{Backend: family})
			var epfd, listener, server, duplicate, watched, other int32
			if len(lines) == 0 {
				t.Fatal("the workload said nothing")
			}
			if n, _ := fmt.Sscanf(lines[0], "details %d %d %d %d %d %d", &epfd, &listener, &server, &duplicate, &watched, &other); n != 6 {
				t.Fatalf("the workload said %q", lines)
			}
			readable := event.In | event.Pri | event.RdNorm | event.RdBand
			noticed := event.Coalesced | event.Disarmed | event.Filtered | event.Overflow | event.Waiter
			wakeup := func(fd int32, unread uint32, flags event.Flags) func(*event.Event) bool {
				return func(e *event.Event) bool {
					return e.Kind == event.KindWakeup && e.FD == fd && e.EpFD == epfd && e.Key == readable && e.Has(event.HasUnread) &&
						e.Unread == unread && e.Flags&noticed == flags
				}
			}
			receive := func(ret int64, unread uint32, peek event.Flags) func(*event.Event) bool {
				return func(e *event.Event) bool {
					return e.Kind == event.KindRecv && e.Ret == ret && e.Unread == unread && e.Flags&event.Peek == peek
				}
			}
			read := func(ret int64, peek event.Flags) func(*event.Event) bool {
				return func(e *event.Event) bool {
					return e.Kind == event.KindRead && e.Call == event.CallRecvfrom && e.FD == server && e.Ret == ret && e.Flags&event.Peek == peek
				}
			}
			for what, want := range map[string]struct {
				times int
				is    func(*event.Event) bool
			}{
				"the wakeup by 3 bytes":                         {1, wakeup(server, 3, 0)},
				"the wakeup by 4 more, coalesced":               {1, wakeup(server, 7, event.Coalesced)},
				"the peek of 7 bytes, which leaves them":        {1, receive(7, 7, event.Peek)},
				"the receive of 7 bytes":                        {1, receive(7, 0, 0)},
				"the peeking call":                              {1, read(7, event.Peek)},
				"the reading call":                              {1, read(7, 0)},
				"the wakeup that an output item ignores":        {1, wakeup(server, 1, event.Filtered)},
				"the wakeup that a spent ONESHOT item ignores":  {1, wakeup(server, 2, event.Disarmed)},
				"the listener's wakeup with one connection":     {2, wakeup(listener, 1, 0)},
				"the listener's wakeup with two, not taken yet": {1, wakeup(listener, 2, event.Coalesced)},
				"the queue of two connections": {1, func(e *event.Event) bool {
					return e.Kind == event.KindQueued && e.Has(event.HasUnread|event.Listener) && e.Unread == 2
				}},
				"MOD to an output item": {1, func(e *event.Event) bool {
					return e.Kind == event.KindEpollCtl && e.Op == event.CtlMod && e.FD == server && e.Events == event.Out|event.ET && e.Ret == 0
				}},
				"the wait of 1.5 s": {1, func(e *event.Event) bool {
					return e.Kind == event.KindWaitEnter && e.EpFD == epfd && e.Timeout == 1500*time.Millisecond && e.MaxEvents == 8
				}},
				"CLOSE_WAIT with 5 bytes and the FIN": {1, func(e *event.Event) bool {
					return e.Kind == event.KindState && e.OldState == event.Established && e.NewState == event.CloseWait && e.Unread == 5 &&
						e.Has(event.FIN|event.FINUnread)
				}},
				"shutdown": {1, func(e *event.Event) bool {
					return e.Kind == event.KindShutdown && e.FD == server && e.Op == 1 && e.Ret == 0
				}},
				"fcntl's duplicate": {1, func(e *event.Event) bool {
					return e.Kind == event.KindDup && e.Call == event.CallFcntl && e.FD == server && e.Ret == int64(duplicate)
				}},
				"the read of a watched pipe": {1, func(e *event.Event) bool {
					return e.Kind == event.KindRead && e.FD == watched && e.Ret == 3 && e.FileAddr != 0 && e.SockAddr == 0
				}},
				"no read of a pipe that nobody watches": {0, func(e *event.Event) bool {
					return e.Kind == event.KindRead && e.FD == other
				}},
				"a non-blocking accept": {1, func(e *event.Event) bool {
					return e.Kind == event.KindAccept && e.FD == listener && e.Ret == int64(server) && e.NewFileAddr != 0 && e.SockAddr != 0
				}},
			} {
				seen := 0
				for i := range events {
					if want.is(&events[i]) {
						seen++
					}
				}
				if seen != want.times {
					t.Errorf("%s was seen %d times, want %d", what, seen, want.times)
				}
			}
			if t.Failed() {
				dump(t, events)
			}
		})
	}
}

// TestSleeperIsNamed wants the wakeup of an instance on which a thread sleeps to say so, and the thread to be named.
func TestSleeperIsNamed(t *testing.T) {
	needPrivileges(t)
	for _, family := range usableFamilies(t) {
		t.Run(string(family), func(t *testing.T) {
			events := observed(t, "tour", family).events
			for i, e := range events {
				if e.Kind != event.KindWakeup || !e.Has(event.Waiter) || e.Unread != 1 || e.Has(event.Listener) {
					continue
				}
				for _, after := range events[i:] {
					if after.Kind == event.KindWoken && after.TID != 0 && after.EpollAddr == e.EpollAddr {
						return
					}
				}
				t.Error("nobody was woken after it")
			}
			t.Error("no wakeup told of a sleeper")
			dump(t, events)
		})
	}
}
