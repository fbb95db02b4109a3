package main

import (
	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/render"
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
		Groups:   e.engine.Groups(),
		Verdicts: e.verdicts(),
		Tables:   e.outcome.tables,
		Summary:  e.summary(end, e.ended()),
	}
	c.Summary.Early = c.Summary.Ended != ""
	c.Journal = matchJournal(e.inbox.records, e.events, c.Summary.Lost)
	if e.outcome.complete {
		c.Departures = departures(e.variant.Expect, c.Findings, e.answered())
	}
	return c
}

func (e *experiment) ended() string {
	if e.outcome.failed != nil {
		return e.outcome.failed.Error()
	}
	return e.outcome.ended
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
