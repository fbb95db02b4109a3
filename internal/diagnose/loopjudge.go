package diagnose

import (
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// stalls are the slow turns of one thread. One finding tells of all of them: a server that is slow once is slow again.
type stalls struct {
	finding      *Finding
	own, foreign int           // how many were the program's doing, and how many were others'
	total        time.Duration // of those that the severity rests on
	longest      time.Duration
	message      string // of the one that is told, without the count
	untold       bool
	// before and beforeMessage are the finding as it was before the turn that it tells of now.
	before        *Finding
	beforeMessage string
}

// judge tells of a turn that is not over.
func (r *loopStallRule) judge(t *loopTurn, at event.Time) {
	if t.parts.waitUnseen() {
		r.c.Unknown("a thread sleeps in a wait whose entry was not recorded")
		t.forget()
		return
	}
	s := &t.stalls
	foreign := r.isForeign(t)
	switch {
	case t.telling || s.finding == nil:
	case foreign:
		return // it counts when it is over
	case s.own > 0 && at.Sub(t.begun.Time) < max(s.longest, lookAgain):
		return // one of many
	}
	if !t.telling && s.finding != nil {
		kept := *s.finding
		kept.Evidence = slices.Clone(kept.Evidence)
		s.before, s.beforeMessage = &kept, s.message
	}
	t.telling = true
	r.say(t, foreign, "has not come back to wait for "+span(at.Sub(t.begun.Time))+" so far")
	s.finding.Outcome, s.finding.End = OutcomeOngoing, 0
	r.tell(t, at)
}

// over ends a turn, at the thread's next wait or its end.
func (r *loopStallRule) over(t *loopTurn, ev *event.Event) {
	if t.due == 0 || t.parts.waitUnseen() {
		return
	}
	waits := r.stalled(t, ev.Time)
	switch {
	case waits && ev.Time.Sub(t.waiters.since) >= r.threshold:
	case !t.sure:
		return
	case ev.Kind == event.KindExit:
		t.waiters.until = ev.Time
	case !waits:
		// The thread has turned to them in the same turn, or they have gone.
		t.waiters.until = max(t.waiters.until, min(t.waiters.example.File.LastCall.Time, ev.Time))
	}
	foreign := r.isForeign(t) || leaves(ev)
	s := &t.stalls
	took := ev.Time.Sub(t.begun.Time)
	first := s.count(foreign, took)
	switch {
	case t.telling && foreign && s.own > 0:
		*s.finding, s.message = *s.before, s.beforeMessage
	case first || took > s.longest || t.telling:
		r.say(t, foreign, "did not come back to wait for "+span(took)+lastWords(ev))
		s.finding.Evidence = append(s.finding.Evidence, ev.Seq)
		s.longest = max(s.longest, took)
	}
	s.before = nil
	s.finding.Outcome, s.finding.End = OutcomeOver, ev.Time
	if !t.telling && bits.OnesCount(uint(s.own+s.foreign)) != 1 {
		s.untold = true
		return
	}
	s.finding.Message = s.message + s.words()
	r.tell(t, ev.Time)
}

// leaves reports whether a thread ends by itself: then its loop was over, and it did not stall.
func leaves(ev *event.Event) bool { return ev.Kind == event.KindExit && ev.Ret&0x7f == 0 }

func lastWords(ev *event.Event) string {
	switch {
	case ev.Kind != event.KindExit:
		return ""
	case leaves(ev):
		return " until it ended by itself"
	default:
		return " until it was killed by " + signalName(uint8(ev.Ret&0x7f))
	}
}

// count adds a turn, and reports whether it is the first that the severity rests on.
func (s *stalls) count(foreign bool, took time.Duration) (first bool) {
	n := &s.own
	if foreign {
		n = &s.foreign
	}
	*n++
	if foreign && s.own > 0 {
		return false
	}
	if *n == 1 {
		s.total, s.longest = 0, 0
	}
	s.total += took
	return *n == 1
}

// tell makes public what was said.
func (r *loopStallRule) tell(t *loopTurn, at event.Time) {
	s := &t.stalls
	s.untold = false
	if s.finding.ID == 0 {
		r.c.add(s.finding, at)
		return
	}
	r.c.change(s.finding)
}

// isForeign reports whether the items would not have waited as long as the threshold, had others not taken the thread's time.
func (r *loopStallRule) isForeign(t *loopTurn) bool {
	return t.parts.at != 0 && t.waiters.until.Sub(t.waiters.since)-t.parts.foreign() < r.threshold
}

// say fills in what the finding says of a turn.
func (r *loopStallRule) say(t *loopTurn, foreign bool, how string) {
	s, w := &t.stalls, &t.waiters
	example := newFinding(w.example.File, w.example)
	if s.finding == nil {
		s.finding = example
		example.PID, example.TID, example.Start = t.thread.PID, t.thread.TID, t.begun.Time
		example.Unread = unreadOr(w.example.File, 0)
	}
	f := s.finding
	f.Severity, f.Fix = SeverityWarning, t.parts.fix(foreign)
	if foreign && s.own == 0 {
		f.Severity = SeverityInfo
	}
	f.Stack = t.parts.stack()
	f.Evidence = append(f.Evidence[:0], t.begun.Seq)
	f.Evidence = append(f.Evidence, w.seqs...)
	f.Evidence = append(f.Evidence, t.parts.seqs...)
	who := example.who()
	if w.example.File.Sock.Listening {
		who = "a connection to accept on " + who
	}
	items := fmt.Sprintf("%d ready items waited up to %s, %s among them", w.count, span(w.until.Sub(w.since)), who)
	switch {
	case w.count == 1:
		items = fmt.Sprintf("a ready item waited for %s: %s", span(w.until.Sub(w.since)), who)
	case w.more:
		items = "at least " + items
	}
	s.message = fmt.Sprintf("thread %d of epoll fd %d %s, and %s; %s", f.TID, f.EpFD, how, items, t.parts.words())
	if f.EpFD == event.NoFD {
		s.message = fmt.Sprintf("thread %d %s, and %s; %s", f.TID, how, items, t.parts.words())
	}
	f.Message = s.message
}

// words add how many turns there were.
func (s *stalls) words() string {
	n := s.own
	if n == 0 {
		n = s.foreign
	}
	if n < 2 {
		return ""
	}
	return fmt.Sprintf("; the longest of %d such turns, %s in all", n, span(s.total))
}
