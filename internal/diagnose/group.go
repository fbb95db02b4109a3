package diagnose

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// Group is the findings of one process that are the same fault: a server with one mistake makes it on every connection. The
// engine changes it while findings come; the pointer is its identity.
type Group struct {
	Fingerprint string
	Check       string
	PID         uint32
	Comm        string
	Accepted    string // why the baseline accepts the fault, empty when it does not

	Count     int             // findings that accuse
	TakenBack int             // findings of SeverityInfo
	Outcomes  map[Outcome]int // how those that accuse ended
	Files     int             // different open files that all these are about
	// First and Last are when the first and the last of them were made.
	First, Last event.Time
	// Worst are the worst of them, the worst first, at most three.
	Worst []*Finding

	open int // findings that are not over
}

// worstKept is how many examples a group has.
const worstKept = 3

type groupKey struct {
	fingerprint string
	pid         uint32
}

// groups are the groups of an engine, oldest first.
type groups struct {
	all   []*Group
	byKey map[groupKey]*Group
}

// counted is what a finding counted as when its group was told of it last.
type counted struct {
	in      bool
	info    bool
	over    bool
	outcome Outcome
}

// take counts a finding that is new or has changed.
func (gs *groups) take(f *Finding, now event.Time) {
	if f.Group == nil {
		f.Group = gs.of(f)
	}
	g := f.Group
	was := f.counted
	is := counted{in: true, info: f.Severity == SeverityInfo, over: f.End != 0, outcome: f.Outcome}
	g.count(was, -1)
	g.count(is, 1)
	f.counted = is
	if !was.in {
		g.Last = f.made
		if f.File != 0 && !f.again {
			g.Files++
		}
	}
	g.rank([]*Finding{f}, now)
}

func (g *Group) count(c counted, n int) {
	if !c.in {
		return
	}
	if !c.over {
		g.open += n
	}
	if c.info {
		g.TakenBack += n
		return
	}
	g.Count += n
	if g.Outcomes[c.outcome] += n; g.Outcomes[c.outcome] == 0 {
		delete(g.Outcomes, c.outcome)
	}
}

// of returns the group of a finding.
func (gs *groups) of(f *Finding) *Group {
	key := groupKey{f.Fingerprint, f.PID}
	if g := gs.byKey[key]; g != nil {
		return g
	}
	if len(gs.all) >= MaxFindings {
		gs.forget()
	}
	g := &Group{
		Fingerprint: f.Fingerprint, Check: f.Check, PID: f.PID, Comm: f.Comm, Accepted: f.Accepted,
		Outcomes: make(map[Outcome]int), First: f.made,
	}
	gs.byKey[key] = g
	gs.all = append(gs.all, g)
	return g
}

// forget makes room by letting go of the oldest group whose findings are all over. Its findings stay counted by check.
func (gs *groups) forget() {
	i := slices.IndexFunc(gs.all, func(g *Group) bool { return g.open == 0 })
	if i < 0 {
		return
	}
	g := gs.all[i]
	delete(gs.byKey, groupKey{g.Fingerprint, g.PID})
	gs.all = slices.Delete(gs.all, i, i+1)
}

// rank puts findings in their place among the worst.
func (g *Group) rank(fs []*Finding, now event.Time) {
	for _, f := range fs {
		if !slices.Contains(g.Worst, f) {
			g.Worst = append(g.Worst, f)
		}
	}
	slices.SortFunc(g.Worst, func(a, b *Finding) int { return worse(a, b, now) })
	if len(g.Worst) > worstKept {
		clear(g.Worst[worstKept:])
		g.Worst = g.Worst[:worstKept]
	}
}

// worse orders findings of a group: what accuses more, then what has more unread, then what lasts longer.
func worse(a, b *Finding, now event.Time) int {
	return cmp.Or(
		cmp.Compare(b.Severity.rank(), a.Severity.rank()),
		cmp.Compare(b.Unread, a.Unread),
		cmp.Compare(b.Lasts(now), a.Lasts(now)),
		cmp.Compare(a.ID, b.ID),
	)
}

func (s Severity) rank() int {
	return slices.Index([]Severity{SeverityInfo, SeverityWarning, SeverityError}, s)
}

// Severity is that of the worst of its findings.
func (g *Group) Severity() Severity {
	if len(g.Worst) == 0 {
		return SeverityInfo
	}
	return g.Worst[0].Severity
}

// Lasts returns how long the state of the finding lasted, up to now where it is not over.
func (f *Finding) Lasts(now event.Time) time.Duration {
	if f.End != 0 {
		now = f.End
	}
	return max(now.Sub(f.Start), 0)
}

// Groups returns the findings that were made so far as groups, in the order in which the first of each was found. Of ended
// findings that are not kept any more only those count as examples that were among the worst.
func (e *Engine) Groups() []*Group {
	members := make(map[*Group][]*Finding)
	for _, f := range e.findings {
		members[f.Group] = append(members[f.Group], f)
	}
	for g, fs := range members {
		g.rank(fs, e.tl.Now())
	}
	return e.groups.all
}

// Accepted returns how many of the findings that Counts counts are in the baseline.
func (e *Engine) Accepted() map[string]int {
	counts := maps.Clone(e.retiredAccepted)
	for _, f := range e.findings {
		if f.Accepted != "" && f.Severity != SeverityInfo {
			counts[f.Check]++
		}
	}
	return counts
}
