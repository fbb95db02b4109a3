package server

import (
	"slices"

	"github.com/epwatch/epwatch/internal/event"
)

// deafToInput: input came after the first delivery, its wakeup was ignored because the item was disarmed, and nothing
// was delivered any more.
func deafToInput(id, text string, unread uint32) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		if len(s.turns) == 0 {
			return no(nil, "nothing was delivered at all")
		}
		ignored := s.beforeFIN(func(e *event.Event) bool { return e.Has(event.Disarmed) })
		ev := seqs(ignored)
		if len(ignored) == 0 {
			return no(ev, "no input came on the disarmed item")
		}
		if last := ignored[len(ignored)-1]; !last.Has(event.HasUnread) || last.Unread != unread {
			return no(ev, "%d bytes were unread then instead of %d", last.Unread, unread)
		}
		if later := s.turns[1:]; len(later) > 0 {
			return no(append(ev, later[0].deliver.Seq), "it was delivered")
		}
		return yes(ev)
	})
}

// deafToFIN: the FIN came, every wakeup by it was ignored, and nothing was delivered after it. How many wakeups are seen
// (none, one or two) depends on the hooks.
func deafToFIN(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		st, ok := s.closeWait()
		if !ok {
			return no(nil, "the FIN was not seen")
		}
		woken := s.all(event.KindWakeup, func(e *event.Event) bool { return e.Has(event.FIN) || e.Time >= st.Time })
		ev := append([]uint64{st.Seq}, seqs(woken)...)
		if slices.ContainsFunc(woken, func(e event.Event) bool { return !e.Has(event.Disarmed) }) {
			return no(ev, "its wakeup was not ignored")
		}
		if late := s.all(event.KindDeliver, func(e *event.Event) bool { return e.Time >= st.Time }); len(late) > 0 {
			return no(append(ev, seqs(late)...), "it was delivered")
		}
		return yes(ev)
	})
}

// rearmed: every delivery but the hang-up ends with an EPOLL_CTL_MOD.
func rearmed(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		turns := s.inputTurns()
		if len(turns) == 0 {
			return no(nil, "nothing was delivered")
		}
		var ev []uint64
		for i, t := range turns {
			at := slices.IndexFunc(t.ctls, isCtl(event.CtlMod))
			if at < 0 {
				return no(append(ev, t.deliver.Seq), "delivery %d was not followed by it", i+1)
			}
			ev = append(ev, t.deliver.Seq, t.ctls[at].Seq)
		}
		return yes(ev)
	})
}

// redelivered: between the first two deliveries there was an EPOLL_CTL_MOD and no wakeup.
func redelivered(id, text string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		turns := s.inputTurns()
		if len(turns) < 2 || !slices.ContainsFunc(turns[0].ctls, isCtl(event.CtlMod)) {
			return no(nil, "there was no second delivery, or no call before it")
		}
		first, second := turns[0].deliver, turns[1].deliver
		between := s.all(event.KindWakeup, func(e *event.Event) bool {
			return e.Time > first.Time && e.Time < second.Time
		})
		if len(between) > 0 {
			return no(seqs(between), "a wakeup came in between")
		}
		return yes(append(seqs(turns[0].ctls), second.Seq))
	})
}
