package server

import (
	"slices"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// deliveredAs: the connection was delivered so often, with these masks.
func deliveredAs(id, text string, want ...event.Mask) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		var got []event.Mask
		var ev []uint64
		for _, t := range s.turns {
			got, ev = append(got, t.deliver.Events), append(ev, t.deliver.Seq)
		}
		if !slices.Equal(got, want) {
			return no(ev, "it was delivered as %v instead of %v", got, want)
		}
		return yes(ev)
	})
}

// readsReturned: all reads of the connection, whichever thread did them, in order.
func readsReturned(id, text string, want ...int64) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		reads := s.all(event.KindRead, nil)
		var got []int64
		for _, e := range reads {
			got = append(got, e.Ret)
		}
		if !slices.Equal(got, want) {
			return no(seqs(reads), "the reads returned %v instead of %v", got, want)
		}
		return yes(seqs(reads))
	})
}

// noneSent: the connection's events hold none of a kind.
func noneSent(id, text string, kind event.Kind) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		if es := s.all(kind, nil); len(es) > 0 {
			return no(seqs(es), "there were %d", len(es))
		}
		return yes([]uint64{s.accept.Seq})
	})
}

// clientReset and clientEOF: how the client's end of the connection ended.
func clientReset(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		if !s.Client.Reset {
			return no(nil, "it was not")
		}
		return yes(seqs(s.all(event.KindReset, nil)))
	})
}

func clientEOF(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		if !s.Client.EOF || s.Client.Reset {
			return no(nil, "it did not")
		}
		return yes([]uint64{s.accept.Seq})
	})
}

// received: so many bytes came back.
func received(id, text string, want int) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		writes := s.all(event.KindWrite, nil)
		if got := len(s.Client.Echo()); got != want {
			return no(seqs(writes), "it got %d bytes instead of %d", got, want)
		}
		return yes(few(seqs(writes)))
	})
}

// deliveredTo: so many threads were handed the connection before the first read of its input.
func deliveredTo(id, text string, threads int) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		var ev []uint64
		tids := map[uint32]bool{}
		for _, e := range s.events {
			if e.Kind == event.KindRead {
				break
			}
			if e.Kind == event.KindDeliver {
				tids[e.TID] = true
				ev = append(ev, e.Seq)
			}
		}
		if len(tids) != threads {
			return no(ev, "it was delivered to %d threads", len(tids))
		}
		return yes(ev)
	})
}

// turns: so many writes came before the first read of the connection was over, besides the greeting.
func turns(id, text string, n int) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		reads := s.all(event.KindRead, nil)
		if len(reads) == 0 {
			return no(nil, "nobody read")
		}
		said := s.all(event.KindWrite, func(e *event.Event) bool { return e.Time < reads[0].Time })
		if len(said) != n+1 {
			return no(seqs(said), "there were %d", len(said)-1)
		}
		return yes(seqs(said, reads[:1]))
	})
}

// readsOverlapped: two threads were, or were never, inside a read of the connection at the same time.
func readsOverlapped(id, text string, want bool) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		reads := s.all(event.KindRead, func(e *event.Event) bool { return e.Ret > 0 })
		for _, a := range reads {
			for _, b := range reads {
				if a.TID < b.TID && a.Start < b.Time && b.Start < a.Time {
					ev := []uint64{a.Seq, b.Seq}
					if !want {
						return no(ev, "two of them overlapped")
					}
					return yes(ev)
				}
			}
		}
		if want || len(reads) == 0 {
			return no(seqs(reads), "no two of them overlapped")
		}
		return yes(seqs(reads))
	})
}

// ignoredWakeups: input came that the kernel ignored because the item was disarmed.
func ignoredWakeups(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		ignored := s.all(event.KindWakeup, func(e *event.Event) bool { return e.Has(event.Disarmed) })
		if len(ignored) == 0 {
			return no(nil, "there was none")
		}
		return yes(seqs(ignored))
	})
}

// movedOnFirst: after the first delivery its thread waited again before anybody had read.
func movedOnFirst(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		reads := s.all(event.KindRead, nil)
		if len(s.turns) == 0 || len(reads) == 0 {
			return no(nil, "nothing was delivered, or nothing read")
		}
		told := s.turns[0].deliver
		waits := s.all(event.KindWaitEnter, func(e *event.Event) bool { return e.TID == told.TID && e.Seq > told.Seq })
		if len(waits) == 0 || waits[0].Time > reads[0].Time || reads[0].TID == told.TID {
			return no([]uint64{told.Seq, reads[0].Seq}, "it did not")
		}
		return yes([]uint64{told.Seq, waits[0].Seq, reads[0].Seq})
	})
}

// heldBack: input lay unread while the item's mask asked for output space alone.
func heldBack(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		asked := s.all(event.KindEpollCtl, func(e *event.Event) bool { return e.Op == event.CtlMod && e.Events&^event.Private == event.Out })
		if len(asked) == 0 || len(s.Client.Sent) < 2 {
			return no(nil, "it never did")
		}
		reads := s.all(event.KindRead, func(e *event.Event) bool { return e.Ret > 0 })
		if len(reads) != 2 || reads[1].Time.Sub(s.Client.Sent[1].Time) < lasting(s) {
			return no(seqs(reads), "the second request was read at once")
		}
		return yes([]uint64{asked[0].Seq, reads[1].Seq})
	})
}

// lasting is half of the client's time-out, and so the threshold of a trace's checks.
func lasting(s *story) time.Duration { return s.Client.Timeout / 2 }

// closeWaitEmpty: before the interrupt the socket table had the connection in CLOSE_WAIT with nothing in its queue.
func closeWaitEmpty(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		st, ok := s.closeWait()
		if !ok {
			return no(nil, "the connection did not enter CLOSE_WAIT")
		}
		row, ok := s.row(BeforeInterrupt)
		switch {
		case !ok:
			return no([]uint64{st.Seq}, "the socket table %s does not have it", BeforeInterrupt)
		case row.State != event.CloseWait || row.RecvQueue != 0:
			return no([]uint64{st.Seq}, "the socket table has it in %v with a receive queue of %d", row.State, row.RecvQueue)
		}
		return yes([]uint64{st.Seq})
	})
}

// stateLasted: between CLOSE_WAIT and the close lay more than half of the client's time-out.
func stateLasted(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		st, ok := s.closeWait()
		c, closed := s.closing()
		if !ok || !closed {
			return no(nil, "it did not enter CLOSE_WAIT, or was not closed")
		}
		ev := []uint64{st.Seq, c.Seq}
		if d := c.Time.Sub(st.Time); d < lasting(s) {
			return no(ev, "it lasted %v", d)
		}
		return yes(ev)
	})
}

// waitedMeanwhile: between the server's second write to the connection and its third, which begin and end the work, the loop waited so
// often.
func waitedMeanwhile(id, text string, least, most int) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		writes := s.all(event.KindWrite, nil)
		if len(writes) < 3 {
			return no(seqs(writes), "there were %d writes", len(writes))
		}
		waits := s.all(event.KindWaitEnter, func(e *event.Event) bool { return e.Time > writes[1].Time && e.Time < writes[2].Time })
		ev := append([]uint64{writes[1].Seq}, few(seqs(waits))...)
		ev = append(ev, writes[2].Seq)
		if n := len(waits); n < least || n > most {
			return no(ev, "it waited %d times", n)
		}
		return yes(ev)
	})
}

// peeked: there were two looks with MSG_PEEK before the first read that took anything.
func peeked(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		var looks []event.Event
		for _, e := range s.events {
			if e.Kind == event.KindRecv && !e.Has(event.Peek) && e.Ret > 0 {
				break
			}
			if e.Kind == event.KindRecv && e.Has(event.Peek) {
				looks = append(looks, e)
			}
		}
		if len(looks) != 2 {
			return no(seqs(looks), "there were %d looks", len(looks))
		}
		return yes(seqs(looks))
	})
}

// spliced: each of two deliveries was drained by splice.
func spliced(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		var ev []uint64
		var got []int64
		for _, e := range s.all(event.KindRead, func(e *event.Event) bool { return e.Call == event.CallSplice }) {
			got, ev = append(got, e.Ret), append(ev, e.Seq)
		}
		if want := []int64{20, again, 20, again}; !slices.Equal(got, want) {
			return no(ev, "it returned %v", got)
		}
		return yes(ev)
	})
}

// sentFile: the connection was written by sendfile.
func sentFile(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		sent := s.all(event.KindWrite, func(e *event.Event) bool { return e.Call == event.CallSendfile && e.Ret > 0 })
		if len(sent) == 0 {
			return no(nil, "it was not")
		}
		return yes(few(seqs(sent)))
	})
}
