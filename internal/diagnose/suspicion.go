package diagnose

import (
	"iter"
	"slices"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

// suspicion is a state that is wrong if it lasts. With its finding made, it waits for the outcome.
type suspicion struct {
	file     *timeline.File
	interest *timeline.Interest
	since    event.Time // the clock
	ripe     event.Time // when it becomes a finding
	unread   uint32
	tid      uint32
	evidence []uint64
	finding  *Finding
	woken    timeline.Mark // new input came after it began
	told     timeline.Mark // and was delivered
	waiting  bool          // the item is due: not wrong yet
	read     bool          // bytes were seen to be read before
	snapshot bool          // its beginning was not seen: it was so when the observation began
}

// suspicions are the open ones of a check, by what they are about.
type suspicions[K comparable] struct {
	open map[K]*suspicion
	next event.Time // nothing gets ripe before; 0 means there is nothing
}

func newSuspicions[K comparable]() suspicions[K] {
	return suspicions[K]{open: make(map[K]*suspicion)}
}

// start begins or restarts the clock of a suspicion.
func (s *suspicions[K]) start(k K, c *suspicion, since event.Time, threshold time.Duration) {
	c.since, c.ripe = since, since.Add(threshold)
	s.open[k] = c
	if s.next == 0 || c.ripe < s.next {
		s.next = c.ripe
	}
}

// drop forgets a suspicion.
func (s *suspicions[K]) drop(k K) { delete(s.open, k) }

// expired gives the suspicions that are ripe at that time and have no finding yet, oldest first, until there are no
// more: the loop's body may restart their clocks.
func (s *suspicions[K]) expired(now event.Time) iter.Seq[*suspicion] {
	return func(yield func(*suspicion) bool) {
		for s.next != 0 && s.next <= now {
			for _, c := range s.ripe(now) {
				if !yield(c) {
					return
				}
			}
		}
	}
}

func (s *suspicions[K]) ripe(now event.Time) []*suspicion {
	var ripe []*suspicion
	s.next = 0
	for _, c := range s.open {
		switch {
		case c.finding != nil:
		case c.ripe <= now:
			ripe = append(ripe, c)
		case s.next == 0 || c.ripe < s.next:
			s.next = c.ripe
		}
	}
	slices.SortFunc(ripe, func(a, b *suspicion) int {
		if a.ripe != b.ripe {
			return int(a.ripe - b.ripe)
		}
		return int(a.file.ID) - int(b.file.ID)
	})
	return ripe
}

// forgetAll drops every suspicion without a finding: records were lost, and what it rests on may be wrong.
func (s *suspicions[K]) forgetAll() {
	for k, c := range s.open {
		if c.finding == nil {
			delete(s.open, k)
		}
	}
}

// gapWatch notices losses for a rule.
type gapWatch struct{ seq uint64 }

func (g *gapWatch) isNew(tl *timeline.Timeline) bool {
	seq := tl.GapSeq()
	if seq == g.seq {
		return false
	}
	g.seq = seq
	return true
}

// inOrder returns the open suspicions by the age of their files, so that nothing depends on the order of a map.
func (s *suspicions[K]) inOrder() []*suspicion {
	all := make([]*suspicion, 0, len(s.open))
	for _, c := range s.open {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *suspicion) int { return int(a.file.ID) - int(b.file.ID) })
	return all
}

// unreadOr returns the unread bytes of a file's socket, or otherwise when they are not known.
func unreadOr(f *timeline.File, otherwise uint32) uint32 {
	if f.Sock != nil {
		if n, known := f.Sock.Unread(); known {
			return n
		}
	}
	return otherwise
}
