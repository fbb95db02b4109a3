package diagnose

import (
	"fmt"
	"maps"
	"slices"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

// Engine runs the checks over a timeline. It is used by the timeline's goroutine.
type Engine struct {
	opt      Options
	tl       *timeline.Timeline
	rules    []Rule
	byKind   [][]Rule // of those, who is shown events of the kind
	expirers []expirer
	contexts []*Context
	findings []*Finding
	made     int            // findings in all
	retired  map[string]int // findings that are kept no more, by check, without those of SeverityInfo
	gap      uint64
	lost     uint64
	byFile   map[event.FileID][]*Finding

	groups          groups
	services        services
	met             map[string]bool // fingerprints of the baseline that were found
	retiredAccepted map[string]int  // of the retired, those in the baseline
}

// New returns an engine for the timeline. The caller passes it every event that the timeline observes.
func New(tl *timeline.Timeline, opt Options) *Engine {
	opt.Thresholds = opt.Thresholds.withDefaults()
	e := &Engine{
		opt: opt, tl: tl, byFile: make(map[event.FileID][]*Finding), retired: make(map[string]int),
		groups: groups{byKey: make(map[groupKey]*Group)}, services: make(services),
		met: make(map[string]bool), retiredAccepted: make(map[string]int),
		byKind: make([][]Rule, slices.Max(event.Kinds())+1),
	}
	tl.BeforeEach(e.expire)
	for _, c := range Checks() {
		if len(opt.Only) > 0 && !slices.Contains(opt.Only, c.Code) {
			continue
		}
		ctx := &Context{Timeline: tl, Thresholds: opt.Thresholds, engine: e, check: &c}
		e.contexts = append(e.contexts, ctx)
		e.enlist(c.New(ctx))
	}
	return e
}

func (e *Engine) enlist(r Rule) {
	e.rules = append(e.rules, r)
	if x, ok := r.(expirer); ok {
		e.expirers = append(e.expirers, x)
	}
	kinds := event.Kinds()
	if p, ok := r.(picky); ok {
		kinds = p.Kinds()
	}
	for _, k := range kinds {
		e.byKind[k] = append(e.byKind[k], r)
	}
}

// Observe takes one event. It must be called while the timeline observes that event.
func (e *Engine) Observe(ev *event.Event) {
	shown := e.byKind[ev.Kind]
	if seq := e.tl.GapSeq(); seq != e.gap {
		e.gap = seq
		e.doubtAll(e.tl.Gap())
		shown = e.rules
	}
	if ev.Has(event.AfterGap) {
		shown = e.rules
	}
	if ev.Kind == event.KindUnseen {
		e.unseen(ev)
	}
	e.services.learn(ev, e.tl.Subject())
	for _, r := range shown {
		r.Observe(ev)
	}
}

// unseen answers calls that are not followed: what a process did by them no check can know.
func (e *Engine) unseen(ev *event.Event) {
	what := "makes calls that are not followed"
	switch {
	case ev.Has(event.Compat):
		what = "makes 32-bit calls, which are not followed"
	case ev.Call == event.CallIOUring:
		what = "uses io_uring, whose operations are not followed"
	}
	for _, c := range e.contexts {
		c.Unknown(fmt.Sprintf("process %d %s", ev.PID, what))
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

// Findings returns what was found so far, in the order it was found. Of the findings that are over the latest are kept
// only, MaxFindings in all; Counts counts every one.
func (e *Engine) Findings() []*Finding { return e.findings }

// MaxFindings is how many findings are kept, unless more are not over yet.
const MaxFindings = 1000

// Counts returns how many findings each check made, without those of SeverityInfo.
func (e *Engine) Counts() map[string]int {
	counts := maps.Clone(e.retired)
	for _, f := range e.findings {
		if f.Severity != SeverityInfo {
			counts[f.Check]++
		}
	}
	return counts
}

// retire makes room for a finding by letting go of the oldest one that is over.
func (e *Engine) retire() {
	i := slices.IndexFunc(e.findings, func(f *Finding) bool { return f.End != 0 })
	if len(e.findings) < MaxFindings || i < 0 {
		return
	}
	f := e.findings[i]
	if f.Severity != SeverityInfo {
		e.retired[f.Check]++
		if f.Accepted != "" {
			e.retiredAccepted[f.Check]++
		}
	}
	e.findings = slices.Delete(e.findings, i, i+1)
	left := slices.DeleteFunc(e.byFile[f.File], func(other *Finding) bool { return other == f })
	if len(left) == 0 {
		delete(e.byFile, f.File)
		return
	}
	e.byFile[f.File] = left
}

// Verdicts returns a line for each check that runs.
func (e *Engine) Verdicts() []Verdict {
	var vs []Verdict
	found, accepted := e.Counts(), e.Accepted()
	for _, c := range e.contexts {
		v := Verdict{Check: c.check.Code, Result: Clean}
		switch {
		case found[c.check.Code] > 0:
			v.Result = Found
			if accepted[c.check.Code] == found[c.check.Code] {
				v.Reason = "all of it is accepted by the baseline"
			}
		case e.opt.Missing[c.check.Code] != "":
			v.Result, v.Reason = UnknownNow, e.opt.Missing[c.check.Code]
		case c.doubt != "":
			v.Result, v.Reason = UnknownNow, c.doubt
		}
		vs = append(vs, v)
	}
	return vs
}

func (e *Engine) expire(now event.Time) {
	for _, r := range e.expirers {
		r.Expire(now)
	}
}

// takenBack is said of a finding whose proof was lost.
const takenBack = " (taken back: records were lost meanwhile)"

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
		if f.made >= gap.From && f.made <= gap.To && f.Severity != SeverityInfo && !f.fact && !f.robust {
			f.Severity, f.Outcome = SeverityInfo, OutcomeUnknown
			f.Message += takenBack
			e.tell(f)
		}
	}
}

// tell makes a finding public that is new or has changed.
func (e *Engine) tell(f *Finding) {
	f.Evidence = tidy(f.Evidence)
	if f.Proof != nil || len(e.findings) <= MaxFindings {
		f.prove(e.tl)
	}
	if f.End != 0 {
		f.file = nil // it is the timeline's, and may go
	}
	e.groups.take(f, e.tl.Now())
	if e.opt.Report != nil {
		e.opt.Report(f)
	}
}

// add makes a finding public that was made at that time.
func (c *Context) add(f *Finding, made event.Time) {
	c.engine.retire()
	c.engine.made++
	f.ID, f.Check, f.made = c.engine.made, c.check.Code, made
	if c.engine.opt.Comm != nil {
		f.Comm = c.engine.opt.Comm(f.PID)
	}
	f.Fingerprint = fingerprint(f, c.engine.services.has)
	if f.File != 0 {
		f.Root = c.root(f.File)
		f.again = slices.ContainsFunc(c.engine.byFile[f.File], func(other *Finding) bool { return other.Fingerprint == f.Fingerprint })
		c.engine.byFile[f.File] = append(c.engine.byFile[f.File], f)
	}
	if f.Accepted = c.engine.opt.Baseline.comment(f.Fingerprint); f.Accepted != "" {
		c.engine.met[f.Fingerprint] = true
	}
	c.engine.findings = append(c.engine.findings, f)
	c.engine.tell(f)
	c.engine.explain(f)
}

// explain makes a new finding the root of those on its file that were told first although it is what they follow from: a
// snapshot may meet a socket before the item that watches it.
func (e *Engine) explain(root *Finding) {
	if root.File == 0 || root.Outcome != OutcomeOngoing {
		return
	}
	for _, f := range e.byFile[root.File] {
		if f.Root != "" || f.Outcome != OutcomeOngoing || root.Start > f.made {
			continue
		}
		for _, c := range e.contexts {
			if c.check.Code == f.Check && slices.Contains(c.check.Doc.DependsOn, root.Check) {
				f.Root = root.Check
				e.tell(f)
			}
		}
	}
}

// change makes a changed finding public.
func (c *Context) change(f *Finding) { c.engine.tell(f) }

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
