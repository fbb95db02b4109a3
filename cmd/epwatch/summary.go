package main

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/internal/timeline"
)

// summary gathers the figures of an observation that has ended.
func (o *observation) summary(end event.Time, ended string) render.Summary {
	stats, cost := o.timeline.Stats(), o.tracer.Stats()
	s := render.Summary{
		Duration: end.Sub(o.meta.Start), Events: stats.Events, LowerBound: !cost.MissedKnown, Missed: cost.Missed,
		Reads: stats.Reads, Receives: stats.Receives, Matched: stats.Matched, Findings: o.engine.Counts(), Ended: ended,
		Unhooked: stats.Unmatched[timeline.ClassNotHooked],
		Accepted: o.engine.Accepted(), Stale: o.engine.Stale(),
		Cost: render.Cost{CPU: processorTime() - o.cpu, BPF: cost.RunTime, BPFRuns: cost.Runs},
	}
	for _, n := range cost.Lost {
		s.Lost += n
	}
	for _, class := range timeline.Classes() {
		if n := stats.Unmatched[class]; n > 0 && class != timeline.ClassNotHooked {
			s.Unmatched = append(s.Unmatched, render.Unmatched{Reason: class.String(), Count: n})
		}
	}
	if stats.Late > 0 {
		s.Unmatched = append(s.Unmatched, render.Unmatched{Reason: "event that came too late to be put in order", Count: stats.Late})
	}
	for _, v := range o.engine.Verdicts() {
		if v.Result == diagnose.UnknownNow {
			s.Unknown = append(s.Unknown, render.Unknown{Check: v.Check, Reason: v.Reason})
		}
	}
	return s
}

func (o *observation) verdicts() []render.Verdict {
	var out []render.Verdict
	for _, v := range o.engine.Verdicts() {
		out = append(out, render.Verdict{Check: v.Check, Result: string(v.Result), Reason: v.Reason})
	}
	return out
}

// processorTime returns what this process has used of the processors.
func processorTime() time.Duration {
	var used unix.Rusage
	// Asking for the own process cannot fail.
	_ = unix.Getrusage(unix.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
