package main

import (
	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/internal/timeline"
	"github.com/epwatch/epwatch/server"
)

// conclude gathers what came of the run. Conductor and tracer have ended.
func (e *experiment) conclude(end event.Time) *render.Conclusion {
	facts := &server.Facts{
		Events: e.events, ServerLines: e.inbox.server, Client: e.outcome.client, Tables: momentTables(e.outcome.tables),
	}
	c := &render.Conclusion{
		Claims:   claimsOf(server.Evaluate(e.variant, facts), e.outcome.complete),
		Findings: e.engine.Findings(),
		Tables:   e.outcome.tables,
		Summary:  e.summary(end),
	}
	c.Journal = matchJournal(e.inbox.records, e.events, c.Summary.Lost)
	if e.outcome.complete {
		c.Departures = departures(e.variant.Expect, c.Findings, e.answered())
	}
	return c
}

// answered returns the checks whose answer means something in this run.
func (e *experiment) answered() []string {
	var codes []string
	for _, v := range e.engine.Verdicts() {
		if v.Result != diagnose.UnknownNow {
			codes = append(codes, v.Check)
		}
	}
	return codes
}

func (e *experiment) summary(end event.Time) render.Summary {
	stats, cost := e.timeline.Stats(), e.tracer.Stats()
	s := render.Summary{
		Duration: end.Sub(e.meta.Start), Events: stats.Events, LowerBound: !cost.MissedKnown, Missed: cost.Missed,
		Reads: stats.Reads, Receives: stats.Receives, Matched: stats.Matched, Findings: map[string]int{},
		Ended: e.outcome.ended,
	}
	if e.outcome.failed != nil {
		s.Ended = e.outcome.failed.Error()
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
	for _, f := range e.engine.Findings() {
		if f.Severity != diagnose.SeverityInfo {
			s.Findings[f.Check]++
		}
	}
	for _, v := range e.engine.Verdicts() {
		if v.Result == diagnose.UnknownNow {
			s.Unknown = append(s.Unknown, render.Unknown{Check: v.Check, Reason: v.Reason})
		}
	}
	return s
}

func momentTables(tables []render.Table) []server.MomentTable {
	var out []server.MomentTable
	for _, t := range tables {
		m := server.MomentTable{Moment: t.Moment}
		for _, s := range t.Sockets {
			m.Sockets = append(m.Sockets, server.SocketRow{
				State: s.State, Local: s.Local, Peer: s.Peer, RecvQueue: s.RecvQueue, Unread: s.Unread, FIN: s.FIN,
			})
		}
		out = append(out, m)
	}
	return out
}
