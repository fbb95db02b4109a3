package diagnose

import (
	"cmp"
	"fmt"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

// spinner is a thread whose waits return for nothing.
type spinner struct {
	th *timeline.Thread
	// One period: when it began and how many records had been lost then; the turns for nothing in it, how many of these did not
	// want to sleep, and how long they took.
	from   event.Time
	lost   int
	turns  int
	polled int
	idle   time.Duration
	last   event.Time // the end of the latest
	items  map[*timeline.Interest]*stuck

	// What was found, nil when nothing is.
	found   *stuck
	finding *Finding
	why     reason
	others  int           // items that are no better
	polling bool          // the waits do not want to sleep
	most    int           // turns of the worst second
	share   float64       // and their part of the thread's time then
	tell    time.Duration // how long it lasts when it is told again
	margin  int           // records that may be lost before the last period proves nothing
	proven  event.Time    // the end of that period
}

// stuck is an item that is handed out for nothing.
type stuck struct {
	item     *timeline.Interest
	since    event.Time // the first turn
	ready    event.Time // it has been ready since
	mark     uint64     // the delivery that says so
	gaps     int
	turns    int        // of the period
	bits     event.Mask // that each of these reported
	evidence [5]uint64
}

func (l *spinner) begin(at event.Time, lost int) {
	l.from, l.lost, l.turns, l.polled, l.idle = at, lost, 0, 0, 0
	for i, s := range l.items {
		if s.turns == 0 && s != l.found {
			delete(l.items, i)
		}
		s.turns, s.bits = 0, ^event.Mask(0)
	}
}

// count adds a turn for nothing.
func (l *spinner) count(ev *event.Event, gaps int) {
	entered := l.th.Last.Entered
	l.turns++
	if l.th.Last.Polling {
		l.polled++
	}
	l.idle += ev.Time.Sub(max(entered, l.from))
	l.last = ev.Time
	for _, i := range l.th.Handling {
		s := l.items[i]
		if s == nil {
			s = &stuck{item: i, since: entered, ready: i.Ready.Time, mark: i.Ready.Seq, gaps: gaps, bits: ^event.Mask(0)}
			s.evidence = [5]uint64{i.Found.Seq, i.Added.Seq, i.LastWakeup.Seq, i.Ready.Seq, i.LastDelivery.Seq}
			l.items[i] = s
		}
		if s.mark != i.Ready.Seq && s.gaps == gaps {
			s.ready, s.since = i.Ready.Time, entered // it was not ready in between
		}
		s.mark, s.gaps = i.Ready.Seq, gaps
		s.turns++
		s.bits &= i.Delivered
	}
}

// holds reports whether the item was ready for the whole period, and handed out.
func (l *spinner) holds(s *stuck) bool { return s.turns > 0 && s.ready <= l.from && !s.item.Ended }

// worst returns the item that was handed out most, nil if none was ready for the whole period.
func (l *spinner) worst() *stuck {
	var worst *stuck
	for _, s := range l.items {
		if l.holds(s) && (worst == nil || s.compare(worst) < 0) {
			worst = s
		}
	}
	return worst
}

// like returns how many other items are about as bad.
func (l *spinner) like(found *stuck) int {
	others := 0
	for _, s := range l.items {
		if s != found && l.holds(s) && 10*s.turns >= found.turns {
			others++
		}
	}
	return others
}

// compare puts what was handed out more often first, and the older file.
func (s *stuck) compare(o *stuck) int {
	return cmp.Or(cmp.Compare(o.turns, s.turns), cmp.Compare(s.item.File.ID, o.item.File.ID), cmp.Compare(s.item.FD, o.item.FD))
}

func (l *spinner) severity() Severity {
	if l.polling {
		return SeverityInfo
	}
	return SeverityWarning
}

// takeBack takes a finding back when so many records were lost in the time that it rests on that it is not proven any more.
func (l *spinner) takeBack(r *busyRule, lost int, from event.Time) {
	if l.found == nil || from > l.proven {
		return
	}
	l.margin -= lost
	if f := l.finding; l.margin < 0 && f.Outcome == OutcomeOngoing {
		f.Severity, f.Outcome = SeverityInfo, OutcomeUnknown
		f.Message += takenBack
		r.c.change(f)
	}
}

// says tells a spin that lasts.
func (l *spinner) says() string {
	words := fmt.Sprintf("%s: %s, so %d waits a second return at once (%s): %.0f %% of thread %d's time, for %s now", l.who(), l.why.text,
		l.most, l.why.bits, 100*l.share, l.th.TID, span(l.last.Sub(l.finding.Start)))
	if l.polling {
		words += "; they have a zero time-out, so the loop may spin on purpose"
	}
	return words
}

func (l *spinner) who() string {
	switch l.others {
	case 0:
		return l.finding.who()
	case 1:
		return l.finding.who() + " and one other"
	default:
		return fmt.Sprintf("%s and %d others", l.finding.who(), l.others)
	}
}

// stop ends the finding: the item is not handed out for nothing any more.
func (l *spinner) stop(c *Context) {
	f := l.finding
	if l.found == nil {
		return
	}
	i := l.found.item
	l.found, l.finding = nil, nil
	if f.Outcome != OutcomeOngoing {
		return
	}
	f.End = l.proven
	if i.Ended || l.last.Sub(l.proven) < spinPeriod {
		f.End = l.last
	}
	f.Outcome = OutcomeOver
	how := "then it stopped"
	if i.Ended {
		how = "until it was taken off the list"
		f.Evidence = append(f.Evidence, i.EndedAt.Seq)
	}
	if i.File.Ended {
		how = "until it was closed"
		if i.File.EndedBy == timeline.EndExit {
			how, f.Outcome = "until the process ended", OutcomeOngoing
		}
	}
	l.finding = f
	f.Message = fmt.Sprintf("%s: %s, so for %s %d waits a second returned at once (%s): %.0f %% of thread %d's time, %s", l.who(),
		l.why.text, span(f.End.Sub(f.Start)), l.most, l.why.bits, 100*l.share, l.th.TID, how)
	l.finding = nil
	c.change(f)
}
