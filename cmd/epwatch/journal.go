package main

import (
	"cmp"
	"slices"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/server"
)

// The classes of what stays unmatched.
const (
	entryWithoutReceive = "read in the journal that the kernel side did not see"
	receiveWithoutEntry = "receive that is not in the journal"
)

// matchJournal joins the server's own word for its reads with what the kernel handed out, one to one: the same descriptor,
// the same result, and inside the time between the thread's entry before and this one. Where no receive of nothing was seen
// at all, the hook of this kernel cannot see them, and reads that returned nothing stand outside the comparison.
func matchJournal(records []server.Record, events []event.Event, lost uint64) *render.Journal {
	receives := receivesOf(events)
	empty := slices.ContainsFunc(receives, func(e event.Event) bool { return e.Ret <= 0 })
	j := &render.Journal{Receives: len(receives), Lost: lost}

	reads := slices.Clone(records)
	slices.SortStableFunc(reads, func(a, b server.Record) int { return cmp.Compare(a.Time, b.Time) })
	before := map[uint32]event.Time{}
	missing := uint64(0)
	for _, r := range reads {
		after := before[r.TID]
		before[r.TID] = r.Time
		if r.Kind == server.Listening || (r.Result <= 0 && !empty) {
			continue
		}
		i := slices.IndexFunc(receives, func(e event.Event) bool {
			return e.FD == r.FD && e.Ret == int64(r.Result) && after < e.Time && e.Time <= r.Time
		})
		if i < 0 && r.Kind == server.SpliceDone {
			continue // nobody claims to have seen it
		}
		j.Entries++
		if i < 0 {
			missing++
			continue
		}
		j.Matched++
		receives = slices.Delete(receives, i, i+1)
	}
	if missing > 0 {
		j.Unmatched = append(j.Unmatched, render.Unmatched{Reason: entryWithoutReceive, Count: missing})
	}
	if n := len(receives); n > 0 {
		j.Unmatched = append(j.Unmatched, render.Unmatched{Reason: receiveWithoutEntry, Count: uint64(n)})
	}
	return j
}

func receivesOf(events []event.Event) []event.Event {
	var out []event.Event
	for i := range events {
		if e := &events[i]; e.Kind == event.KindRecv && !e.Has(event.Peek) && !neverReturned(e.Ret) {
			out = append(out, *e)
		}
	}
	return out
}

// neverReturned reports whether a signal cut the call short with one of the kernel's own codes for a restart
// (include/linux/errno.h): the program was not told, as when it dies in a read that blocks.
func neverReturned(ret int64) bool { return ret <= -512 && ret >= -516 }
