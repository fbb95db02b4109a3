package diagnose

import (
	"fmt"
	"slices"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

// Engine runs the checks over a timeline. It is used by the timeline's goroutine.
type Engine struct {
	opt      Options
	tl       *timeline.Timeline
	rules    []Rule
	contexts []*Context
	findings []*Finding
	gap      uint64
	lost     uint64
	byFile   map[event.FileID][]*Finding
}

// New returns an engine for the timeline. The caller passes it every event that the timeline observes.
func New(tl *timeline.Timeline, opt Options) *Engine {
	opt.Thresholds = opt.Thresholds.withDefaults()
	e := &Engine{opt: opt, tl: tl, byFile: make(map[event.FileID][]*Finding)}
	tl.BeforeEach(e.expire)
	for _, c := range Checks() {
		if len(opt.Only) > 0 && !slices.Contains(opt.Only, c.Code) {
			continue
		}
		ctx := &Context{Timeline: tl, Thresholds: opt.Thresholds, engine: e, check: &c}
		e.contexts = append(e.contexts, ctx)
		e.rules = append(e.rules, c.New(ctx))
	}
	return e
}

// Observe takes one event. It must be called while the timeline observes that event.
func (e *Engine) Observe(ev *event.Event) {
	if gap := e.tl.Gap(); gap.Seq != e.gap {
		e.gap = gap.Seq
		e.doubtAll(gap)
	}
	for _, r := range e.rules {
		r.Observe(ev)
	}
}

// Tick says that time went on although nothing happened. A now that the timeline is not complete up to is taken
// back to where it is.
func (e *Engine) Tick(now event.Time) { e.expire(min(now, e.tl.Now())) }

// Finish says that the observation is over.
func (e *Engine) Finish(end event.Time) {
	e.expire(min(end, e.tl.Now()))
	for _, r := range e.rules {
		r.Finish(end)
	}
}

// Findings returns what was found so far, in the order it was found.
func (e *Engine) Findings() []*Finding { return e.findings }

// Verdicts returns a line for each check that runs.
func (e *Engine) Verdicts() []Verdict {
	var vs []Verdict
	for _, c := range e.contexts {
		v := Verdict{Check: c.check.Code, Result: Clean}
		switch {
		case e.accused(c.check.Code):
			v.Result = Found
		case e.opt.Missing[c.check.Code] != "":
			v.Result, v.Reason = UnknownNow, e.opt.Missing[c.check.Code]
		case c.doubt != "":
			v.Result, v.Reason = UnknownNow, c.doubt
		}
		vs = append(vs, v)
	}
	return vs
}

func (e *Engine) accused(code string) bool {
	return slices.ContainsFunc(e.findings, func(f *Finding) bool {
		return f.Check == code && f.Severity != SeverityInfo
	})
}

func (e *Engine) expire(now event.Time) {
	for _, r := range e.rules {
		r.Expire(now)
	}
}

// doubtAll answers a loss: no check may call this observation clean, and what was found while records were already
// being lost, unknown to the check, is taken back.
func (e *Engine) doubtAll(gap timeline.Gap) {
	e.lost += uint64(gap.Records)
	reason := "events came too late to be put in order"
	switch {
	case e.lost == 1:
		reason = "1 record was lost"
	case e.lost > 1:
		reason = fmt.Sprintf("%d records were lost", e.lost)
	}
	for _, c := range e.contexts {
		c.doubt = reason
	}
	for _, f := range e.findings {
		if f.made >= gap.From && f.made <= gap.To && f.Severity != SeverityInfo && !f.fact {
			f.Severity, f.Outcome = SeverityInfo, OutcomeUnknown
			f.Message += " (taken back: records were lost meanwhile)"
			e.report(f)
		}
	}
}

func (e *Engine) report(f *Finding) {
	if e.opt.Report != nil {
		e.opt.Report(f)
	}
}

// add makes a finding public that was made at that time.
func (c *Context) add(f *Finding, made event.Time) {
	f.Check, f.made = c.check.Code, made
	if f.File != 0 {
		f.Root = c.root(f.File)
		c.engine.byFile[f.File] = append(c.engine.byFile[f.File], f)
	}
	if c.engine.opt.Comm != nil {
		f.Comm = c.engine.opt.Comm(f.PID)
	}
	f.Evidence = tidy(f.Evidence)
	c.engine.findings = append(c.engine.findings, f)
	c.engine.report(f)
}

// change makes a changed finding public.
func (c *Context) change(f *Finding) {
	f.Evidence = tidy(f.Evidence)
	c.engine.report(f)
}

// root returns the check that explains a finding on this file: the last one that is not over or ended in loss.
func (c *Context) root(file event.FileID) string {
	for _, f := range slices.Backward(c.engine.byFile[file]) {
		if slices.Contains(c.check.Doc.DependsOn, f.Check) &&
			(f.Outcome == OutcomeOngoing || f.Outcome == OutcomeLost) {
			return f.Check
		}
	}
	return ""
}

// tidy sorts the evidence, drops what is not known or said twice, and keeps it short: the beginning and the end.
func tidy(seqs []uint64) []uint64 {
	slices.Sort(seqs)
	seqs = slices.Compact(seqs)
	if len(seqs) > 0 && seqs[0] == 0 {
		seqs = seqs[1:]
	}
	if len(seqs) > maxEvidence {
		seqs = append(seqs[:maxEvidence/2:maxEvidence/2], seqs[len(seqs)-maxEvidence/2:]...)
	}
	return seqs
}
