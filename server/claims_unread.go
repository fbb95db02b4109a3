package server

import (
	"github.com/epwatch/epwatch/internal/event"
)

// witness is one place that says how many bytes were unread, and the number it should say.
type witness struct {
	what      string
	seq       uint64 // 0 for the socket table
	got, want uint32
}

// agree holds when there is a witness and all say what they should.
func agree(ws []witness) (bool, []uint64, string) {
	var ev []uint64
	for _, w := range ws {
		if w.seq != 0 {
			ev = append(ev, w.seq)
		}
	}
	for _, w := range ws {
		if w.got != w.want {
			return no(ev, "%s says %d bytes unread instead of %d", w.what, w.got, w.want)
		}
	}
	if len(ws) == 0 {
		return no(nil, "nothing says how many bytes were unread")
	}
	return yes(ev)
}

// leftUnread: after the reads of input delivery i so many bytes were in the queue. Which witnesses there are depends on
// the hooks: the receive itself, the next wakeup, what was there at the end, the
// socket table.
func leftUnread(id, text string, i int, bytes uint32, moment string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		turns := s.inputTurns()
		if i >= len(turns) || len(turns[i].reads) == 0 {
			return no(nil, "there was no read %d", i+1)
		}
		return agree(s.witnesses(i, turns[i], bytes, moment))
	})
}

func (s *story) witnesses(i int, t turn, bytes uint32, moment string) []witness {
	var ws []witness
	last := t.reads[len(t.reads)-1]
	for _, e := range s.all(event.KindRecv, within(last)) {
		if e.Has(event.HasUnread) && !e.Has(event.Peek) {
			ws = append(ws, witness{"the receive", e.Seq, e.Unread, bytes})
		}
	}
	if next := s.arrivals(); i+1 < len(next) && i+1 < len(s.Client.Sent) {
		more := uint32(len(s.Client.Sent[i+1].Text))
		ws = append(ws, witness{"the next wakeup", next[i+1].Seq, next[i+1].Unread, bytes + more})
	}
	if i == len(s.inputTurns())-1 {
		ws = append(ws, s.unreadAtEnd(bytes)...)
	}
	if row, ok := s.row(moment); ok {
		ws = append(ws, witness{"the socket table " + moment, 0, row.Unread, bytes})
	}
	return ws
}

// within keeps what happened inside a call.
func within(call event.Event) func(*event.Event) bool {
	return func(e *event.Event) bool { return e.Time >= call.Start && e.Time <= call.Time }
}

// quietUntilSend: after the first delivery's read nothing woke the thread until the client's second send.
func quietUntilSend(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		if len(s.turns) == 0 || len(s.turns[0].reads) == 0 || len(s.Client.Sent) < 2 {
			return no(nil, "there was no read, or no second send")
		}
		read, sent := s.turns[0].reads[0], s.Client.Sent[1].Time
		if read.Time >= sent {
			return no(seqs([]event.Event{read}), "the first read came after the second send")
		}
		between := func(e *event.Event) bool { return e.Time > read.Time && e.Time < sent }
		early := append(s.all(event.KindWakeup, between), s.all(event.KindDeliver, between)...)
		if len(early) > 0 {
			return no(seqs(early), "%d wakeups or deliveries came before it", len(early))
		}
		asleep := s.all(event.KindWaitEnter, between)
		if len(asleep) == 0 {
			return no(nil, "the thread did not go back to wait")
		}
		after := s.all(event.KindWakeup, func(e *event.Event) bool { return e.Time >= sent })
		if len(after) == 0 {
			return no(seqs(asleep), "nothing woke it after the send either")
		}
		return yes(seqs([]event.Event{read}, asleep[len(asleep)-1:], after[:1]))
	})
}

// drainedBeforeWait: the last read before each wait that may block found nothing.
func drainedBeforeWait(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		var ev []uint64
		var last *event.Event
		for i := range s.events {
			e := &s.events[i]
			switch {
			case e.Kind == event.KindRead:
				last = e
			case e.Kind == event.KindClose:
				last = nil // nothing can be left in a closed socket
			case e.Kind == event.KindWaitEnter && e.Timeout < 0 && last != nil:
				if last.Ret > 0 {
					return no([]uint64{last.Seq, e.Seq}, "it waited after a read of %d bytes", last.Ret)
				}
				ev = append(ev, last.Seq, e.Seq)
			}
		}
		if len(ev) == 0 {
			return no(nil, "no wait followed a read")
		}
		return yes(ev)
	})
}
