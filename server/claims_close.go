package server

import (
	"cmp"
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// hangUpFirst: the hang-up came as one delivery, and the server removed and closed the connection without reading.
func hangUpFirst(id, text string, unread uint32) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		t, ok := s.hangUpTurn()
		if !ok {
			return no(nil, "the hang-up was not delivered once")
		}
		ev := append([]uint64{t.deliver.Seq}, seqs(t.ctls)...)
		if len(t.reads) > 0 {
			return no(append(ev, seqs(t.reads)...), "the server read before it closed")
		}
		if !slices.ContainsFunc(t.ctls, isCtl(event.CtlDel)) {
			return no(ev, "the connection was not removed from the interest list")
		}
		c, ok := s.closing()
		if !ok || c.Time < t.deliver.Time {
			return no(ev, "the server did not close it then")
		}
		ev = append(ev, c.Seq)
		ok, known, why := agree(s.unreadAtEnd(unread))
		return ok, append(ev, known...), why
	})
}

// unreadAtEnd are the places that say what was unread after the FIN.
func (s *story) unreadAtEnd(want uint32) []witness {
	var ws []witness
	fin := s.finTime()
	for _, e := range s.events {
		late := e.Kind == event.KindReset || e.Kind == event.KindRelease ||
			e.Kind == event.KindWakeup && (e.Has(event.FIN) || fin != 0 && e.Time > fin)
		if late && e.Has(event.HasUnread) {
			ws = append(ws, witness{"the " + e.Kind.String(), e.Seq, e.Unread, want})
		}
	}
	return ws
}

func isCtl(op uint8) func(event.Event) bool {
	return func(e event.Event) bool { return e.Op == op && e.Ret == 0 }
}

// endRead: the hang-up came together with EPOLLIN, one read returned 0, and the server closed.
func endRead(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		t, ok := s.hangUpTurn()
		if !ok {
			return no(nil, "the hang-up was not delivered once")
		}
		ev := append([]uint64{t.deliver.Seq}, seqs(t.reads)...)
		if t.deliver.Events != event.In|event.RdHup {
			return no(ev, "it was delivered as %v", t.deliver.Events)
		}
		if !slices.Equal(t.results(), []int64{0}) {
			return no(ev, "the reads returned %v", t.results())
		}
		c, ok := s.closing()
		if !ok || c.Time < t.deliver.Time {
			return no(ev, "the server did not close it then")
		}
		return yes(append(ev, c.Seq))
	})
}

// noReset: the server's close sent a FIN, seen as the change to LAST_ACK, and no reset was sent for the connection.
func noReset(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		if rst := s.all(event.KindReset, nil); len(rst) > 0 {
			return no(seqs(rst), "a reset was sent")
		}
		c, ok := s.closing()
		if !ok {
			return no(nil, "the server did not close the connection")
		}
		fin, ok := s.entered(event.LastAck)
		if !ok {
			return no([]uint64{c.Seq}, "the connection did not enter LAST_ACK")
		}
		return yes([]uint64{fin.Seq, c.Seq})
	})
}

// resetAtClose: one reset, sent inside the server's close call.
func resetAtClose(id, text string, unread uint32) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		c, ok := s.closing()
		if !ok {
			return no(nil, "the server did not close the connection")
		}
		return s.oneReset(unread, c, s.owedTo(c))
	})
}

// owedTo reports whether an event belongs to a call: inside it, or on its way back to the program. Kernels before 6.12
// close a file only there, after the call's return was recorded (task work, kernel/task_work.c): the thread does nothing
// of its own in between.
func (s *story) owedTo(call event.Event) func(*event.Event) bool {
	end := event.Time(math.MaxInt64)
	for _, e := range s.events {
		if e.TID == call.TID && e.Seq > call.Seq && !e.Kind.Kernel() {
			end = cmp.Or(e.Start, e.Time)
			break
		}
	}
	return func(e *event.Event) bool {
		return e.Time >= call.Start && e.Time <= end && (e.Time <= call.Time || e.TID == call.TID)
	}
}

// resetAtExit: one reset, sent after the interrupt, for a socket that the server never closed.
func resetAtExit(id, text string, unread uint32) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		if c, ok := s.closing(); ok {
			return no([]uint64{c.Seq}, "the server closed the connection itself")
		}
		sig, ok := s.interrupt()
		if !ok {
			return no(nil, "no interrupt was seen")
		}
		return s.oneReset(unread, sig, func(e *event.Event) bool { return e.Time >= sig.Time })
	})
}

// interrupt returns the first sign of the interrupt: its delivery, or an exit that it caused. A signal that kills by
// default is not always delivered: the kernel may end the group straight from sending it (complete_signal in
// kernel/signal.c), and then the threads' exit status is all that tells.
func (s *story) interrupt() (event.Event, bool) {
	interrupts := func(signal uint8) bool { return signal == uint8(unix.SIGINT) || signal == uint8(unix.SIGTERM) }
	delivered := s.all(event.KindSignal, func(e *event.Event) bool { return interrupts(e.Signal) })
	exits := s.all(event.KindExit, func(e *event.Event) bool { return interrupts(uint8(e.Ret & 0x7f)) })
	switch {
	case len(delivered) > 0:
		return delivered[0], true
	case len(exits) > 0:
		return exits[0], true
	default:
		return event.Event{}, false
	}
}

// oneReset holds when exactly one reset was sent, at the right time, over so many bytes, and no FIN.
func (s *story) oneReset(unread uint32, by event.Event, timely func(*event.Event) bool) (bool, []uint64, string) {
	rst := s.all(event.KindReset, nil)
	ev := append(seqs(rst), by.Seq)
	if len(rst) != 1 {
		return no(ev, "%d resets were sent", len(rst))
	}
	if !timely(&rst[0]) {
		return no(ev, "the reset was sent at another time")
	}
	if rst[0].Has(event.HasUnread) && rst[0].Unread != unread {
		return no(ev, "it was sent over %d unread bytes instead of %d", rst[0].Unread, unread)
	}
	if fin, ok := s.entered(event.LastAck); ok {
		return no(append(ev, fin.Seq), "a FIN was sent")
	}
	return yes(ev)
}

// closeWait: before the interrupt the socket table had the connection in CLOSE_WAIT, with these bytes and the FIN.
func closeWait(id, text string, unread uint32) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		st, ok := s.closeWait()
		if !ok {
			return no(nil, "the connection did not enter CLOSE_WAIT")
		}
		ev := []uint64{st.Seq}
		row, ok := s.row(BeforeInterrupt)
		switch {
		case !ok:
			return no(ev, "the socket table %s does not have it", BeforeInterrupt)
		case row.State != event.CloseWait:
			return no(ev, "the socket table has it in %v", row.State)
		case row.RecvQueue != unread+1 || row.Unread != unread || !row.FIN:
			return no(ev, "its receive queue was %d (%d bytes)", row.RecvQueue, row.Unread)
		}
		return yes(ev)
	})
}
