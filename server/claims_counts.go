package server

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// few keeps the evidence of what happens again and again short.
func few(seqs []uint64) []uint64 { return seqs[:min(len(seqs), 6)] }

// noLimit is a count without an upper bound.
const noLimit = 1 << 30

// counted: between least and most events of the whole run are as keep says. What keep is asked about begins with the first
// accept, and without one nothing is claimed.
func counted(id, text string, least, most int, keep func(*story, *event.Event) bool) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		var ev []uint64
		for i := range s.Events {
			if keep(s, &s.Events[i]) {
				ev = append(ev, s.Events[i].Seq)
			}
		}
		if n := len(ev); n < least || n > most {
			return no(few(ev), "there were %d", n)
		}
		if len(ev) == 0 {
			ev = []uint64{s.accept.Seq}
		}
		return yes(few(ev))
	})
}

func accepted(id, text string, n int) Claim {
	return counted(id, text, n, n, func(_ *story, e *event.Event) bool { return e.Kind == event.KindAccept && e.Ret >= 0 })
}

func acceptsFailed(id, text string, least, most int, why unix.Errno) Claim {
	return counted(id, text, least, most, func(_ *story, e *event.Event) bool {
		return e.Kind == event.KindAccept && e.Ret == -int64(why)
	})
}

func listenerTold(id, text string, n int) Claim {
	return counted(id, text, n, n, func(s *story, e *event.Event) bool {
		return e.Kind == event.KindDeliver && e.FD == s.accept.FD
	})
}

// deliveredOften: the connection was delivered with exactly this mask, least times.
func deliveredOften(id, text string, mask event.Mask, least int) Claim {
	return counted(id, text, least, noLimit, func(s *story, e *event.Event) bool {
		return e.Kind == event.KindDeliver && e.FD == s.fd && e.Events == mask
	})
}

// otherDelivered: what is neither the listener nor a connection was delivered so often.
func otherDelivered(id, text string, least, most int) Claim {
	return counted(id, text, least, most, func(s *story, e *event.Event) bool {
		return e.Kind == event.KindDeliver && e.FD != s.accept.FD && e.FD != s.fd
	})
}

// otherRead: the reads of what is no connection returned this.
func otherRead(id, text string, want ...int64) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		var got []int64
		var ev []uint64
		for i := range s.Events {
			if e := &s.Events[i]; e.Kind == event.KindRead && e.FD != s.fd {
				got, ev = append(got, e.Ret), append(ev, e.Seq)
			}
		}
		if !slices.Equal(got, want) {
			return no(few(ev), "they returned %v instead of %v", got, want)
		}
		return yes(few(ev))
	})
}

// deliveredToClosed: so many deliveries carry the number that the server closed, after it did.
func deliveredToClosed(id, text string, least, most int) Claim {
	return counted(id, text, least, most, func(s *story, e *event.Event) bool {
		closed := s.all(event.KindClose, func(c *event.Event) bool { return c.FD == s.fd })
		return len(closed) > 0 && e.Kind == event.KindDeliver && e.Time > closed[0].Time && e.Data&0xffffffff == uint64(s.fd)
	})
}

// emptyWaits: so many waits with time-out 0 returned nothing.
func emptyWaits(id, text string, least int) Claim {
	return counted(id, text, least, noLimit, func(s *story, e *event.Event) bool {
		return e.Kind == event.KindWaitReturn && e.Ret == 0
	})
}
