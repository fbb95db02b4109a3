package diagnose

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

// A rate is counted over one second, and a finding that rests on one is over when no bad second came for a while: load comes
// and goes.
const (
	ratePeriod = time.Second
	rateGrace  = 10 * time.Second
)

// rated is the finding of a rate, through bad seconds and good ones.
type rated struct {
	finding *Finding
	seconds int        // that were bad
	last    event.Time // the end of the last of these
	tell    int        // at how many seconds it is told again
}

// worse takes a bad second. message says it, the number of bad seconds so far included.
func (t *rated) worse(c *Context, f *Finding, at event.Time, message func(*rated) string) {
	t.seconds++
	t.last = at
	switch {
	case t.finding == nil:
		t.finding, t.tell = f, 2
		f.Severity, f.Outcome = SeverityWarning, OutcomeOngoing
		f.Message = message(t)
		c.add(f, at)
		return
	case t.finding.Outcome != OutcomeOngoing:
		t.finding.Outcome, t.finding.End = OutcomeOngoing, 0
	case t.seconds < t.tell:
		return
	}
	t.tell = 2 * t.seconds
	t.finding.Message = message(t)
	c.change(t.finding)
}

// over ends the finding. It stays a warning: what it cost until then was for nothing.
func (t *rated) over(c *Context, message func(*rated) string) {
	if t.finding == nil || t.finding.Outcome != OutcomeOngoing {
		return
	}
	t.finding.Outcome, t.finding.End = OutcomeOver, t.last
	t.finding.Message = message(t)
	c.change(t.finding)
}

// calm ends the finding when the last bad second is long ago.
func (t *rated) calm(c *Context, now event.Time, message func(*rated) string) {
	if now.Sub(t.last) > rateGrace {
		t.over(c, message)
	}
}

// badSeconds says how many seconds were bad, nothing for the first.
func (t *rated) badSeconds() string {
	if t.seconds < 2 {
		return ""
	}
	return fmt.Sprintf(", and as bad in %d seconds so far", t.seconds)
}

// filesInOrder returns the files of a map by age, so that nothing depends on the map's order.
func filesInOrder[T any](m map[*timeline.File]T) []*timeline.File {
	return slices.SortedFunc(maps.Keys(m), func(a, b *timeline.File) int { return int(a.ID) - int(b.ID) })
}

// endedFiles returns those that are no more.
func endedFiles[T any](m map[*timeline.File]T) []*timeline.File {
	var ended []*timeline.File
	for f := range m {
		if f.Ended {
			ended = append(ended, f)
		}
	}
	slices.SortFunc(ended, func(a, b *timeline.File) int { return int(a.ID) - int(b.ID) })
	return ended
}
