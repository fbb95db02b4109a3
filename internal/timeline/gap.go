package timeline

import "github.com/epwatch/epwatch/internal/event"

// Gap is a loss of records.
type Gap struct {
	Seq     uint64     // the first event that is known not to be touched by it; 0 means there was none
	From    event.Time // the last record of that CPU before the loss; 0 means not known
	To      event.Time // when the loss was noticed
	CPU     uint16
	Records uint32 // 0 for an event that came later than the window
}

// noteLoss opens a gap when the event says that records before it were lost.
func (t *Timeline) noteLoss(ev *event.Event) {
	from := event.Time(0)
	if int(ev.CPU) < len(t.cpus) {
		from = t.cpus[ev.CPU]
	}
	if ev.Lost > 0 {
		t.stats.Lost += uint64(ev.Lost)
		ev.Flags |= event.AfterGap
		t.openGap(ev, ev.Seq, from)
	}
	if ev.Kind == event.KindSched {
		return // may be an answer from outside, which came after no record of that CPU
	}
	for int(ev.CPU) >= len(t.cpus) {
		t.cpus = append(t.cpus, 0)
	}
	t.cpus[ev.CPU] = max(t.cpus[ev.CPU], ev.Time)
}

// openGap makes everything known so far unknown. Nothing is touched for that: each piece of knowledge carries the
// sequence number it was learnt with, and what was learnt before the gap does not count any more.
func (t *Timeline) openGap(ev *event.Event, seq uint64, from event.Time) {
	t.gap = Gap{Seq: seq, From: from, To: ev.Time, CPU: ev.CPU, Records: ev.Lost}
	t.stats.Gaps++
	for _, th := range t.threads {
		t.giveUp(th, maxTime, ClassLost)
	}
}

// fresh reports whether something learnt with the event seq still holds: it was learnt at all, and no records
// were lost since.
func (t *Timeline) fresh(seq uint64) bool { return seq != 0 && seq >= t.gap.Seq }

// Tri is a truth value that may be unknown.
type Tri uint8

// The values of a Tri.
const (
	Unknown Tri = iota
	No
	Yes
)

// String returns "unknown", "no" or "yes".
func (v Tri) String() string { return [...]string{"unknown", "no", "yes"}[v] }
