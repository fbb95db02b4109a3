package diagnose

import (
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

// limitErrors are the errors with which accept says that a limit is reached, by their negative numbers on Linux.
var limitErrors = map[int64]string{-12: "ENOMEM", -23: "ENFILE", -24: "EMFILE", -105: "ENOBUFS"}

// tryAgain is -EAGAIN.
const tryAgain = -11

func connections(n uint32) string { return several(n, "connection") }

// forsaken reports whether connections wait at a listener whose loops were told of them, went on, and will not be told
// again; by which item, and since when.
func forsaken(f *timeline.File) (told *timeline.Interest, since event.Time, ok bool) {
	s := f.Sock
	if f.Ended || s == nil || !s.Listening {
		return nil, 0, false
	}
	if n, known := s.Backlog(); !known || n == 0 {
		return nil, 0, false
	}
	for _, i := range f.Interests {
		if i.Mask != 0 && !i.Wants(event.In|event.RdNorm) {
			continue
		}
		switch i.Armed() {
		case timeline.No:
			continue
		case timeline.Unknown:
			return nil, 0, false
		}
		switch {
		case !i.Edge():
			return nil, 0, false // it will be handed out again and again
		case i.FromBefore():
			since = max(since, i.Found.Time)
			if told == nil {
				told = i
			}
		case i.Told():
			if !released(i) {
				return nil, 0, false
			}
			since = max(since, i.Deliverer.FreeSince())
			if told == nil || told.LastDelivery.Seq < i.LastDelivery.Seq {
				told = i
			}
		case i.LastDelivery.Seq != 0 || i.Due() == timeline.Unknown:
			return nil, 0, false
		}
		// What is left was not told at all: EPOLLEXCLUSIVE woke another. Whether it is due is asked for all of them.
	}
	if told == nil {
		return nil, 0, false
	}
	return told, max(since, s.LastAccept.Time), true
}

// released reports whether the threads that got the item have gone on to other work.
func released(i *timeline.Interest) bool {
	if i.Deliverer == nil || !i.Deliverer.MovedOn(i.LastDelivery) {
		return false
	}
	return i.Former == nil || i.Former.MovedOn(i.FormerDelivery)
}

// anyDue reports whether any item of the file is on its ready list.
func anyDue(f *timeline.File, at event.Time) bool {
	for _, i := range f.Interests {
		if i.DueAt(at) == timeline.Yes {
			return true
		}
	}
	return false
}
