package render

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
)

// live is what was said of a group while it grew.
type live struct {
	first   int // the finding that was shown in full
	words   string
	shown   event.Time
	pending *diagnose.Group // nil when there is nothing new to say
}

// liveKey is a group, or a finding that has none.
type liveKey struct {
	group *diagnose.Group
	id    int
}

// updateEvery is how often a growing group is spoken of: often enough that everything that is found is told within a second, also
// when events are read late.
const updateEvery = 750 * time.Millisecond

// Finding shows the first finding of a group in full and what becomes of it. The others are counted, and told of in one line
// for all of them.
func (t *text) Finding(at event.Time, f *diagnose.Finding) {
	key := liveKey{group: f.Group}
	if f.Group == nil {
		key.id = f.ID
	}
	words := string(f.Severity) + string(f.Outcome) + f.Message
	l := t.live[key]
	switch {
	case l == nil:
		if len(t.live) >= maxFindings {
			clear(t.live)
			t.due = t.due[:0]
		}
		t.live[key] = &live{first: f.ID, words: words, shown: at}
		t.say(at, f)
		t.proof(f, at, sideColumn)
		t.repair(f, sideColumn)
	case l.first == f.ID && (f.Group == nil || f.Group.Count+f.Group.TakenBack == 1):
		if l.words != words {
			l.words, l.shown = words, at
			t.say(at, f)
		}
	default:
		if l.pending == nil {
			t.due = append(t.due, l)
		}
		l.pending = f.Group
	}
	t.Tick(at)
}

// say writes a finding's one sentence.
func (t *text) say(at event.Time, f *diagnose.Finding) {
	t.release()
	mark, s := findingMark(f.Severity)
	words := f.Check + ": " + Escape(f.Message)
	if f.Accepted != "" {
		words += " (accepted: " + Escape(f.Accepted) + ")"
	}
	t.lines(row{number: mark, time: t.at(at), style: s, detail: words}, sideColumn, sideColumn)
}

// Tick says what has grown, of each group about once a second.
func (t *text) Tick(at event.Time) {
	kept := t.due[:0]
	for _, l := range t.due {
		if at.Sub(l.shown) < updateEvery {
			kept = append(kept, l)
			continue
		}
		g := l.pending
		l.pending = nil
		words := g.Check + ": " + growth(g) + worstOf(g, at)
		if g.Accepted != "" {
			words += " (accepted)"
		}
		if words == l.words {
			continue
		}
		l.words, l.shown = words, at
		t.release()
		mark, s := findingMark(g.Severity())
		t.lines(row{number: mark, time: t.at(at), style: s, detail: words}, sideColumn, sideColumn)
	}
	clear(t.due[len(kept):])
	t.due = kept
}

// growth says how many findings a group has, how fast they came, and what became of them.
func growth(g *diagnose.Group) string {
	if g.Count == 0 {
		return counted(g.TakenBack, g) + ", all taken back"
	}
	words := counted(g.Count, g)
	if pace := rate(g); pace != "" {
		words += " " + pace
	}
	var became []string
	all := len(g.Outcomes) == 1 && g.Count > 1
	for _, o := range slices.Sorted(maps.Keys(g.Outcomes)) {
		switch {
		case o == diagnose.OutcomeUnknown:
		case all:
			became = append(became, "all "+string(o))
		default:
			became = append(became, strconv.Itoa(g.Outcomes[o])+" "+string(o))
		}
	}
	if len(became) > 0 {
		words += ", " + strings.Join(became, ", ")
	}
	if g.TakenBack > 0 {
		words += "; " + strconv.Itoa(g.TakenBack) + " more taken back"
	}
	return words
}

// counted says how many n findings of a group are.
func counted(n int, g *diagnose.Group) string {
	switch {
	case len(g.Worst) == 0 || !g.Worst[0].Peer.IsValid() || g.Files == 0:
		return plural(uint64(n), "time")
	case g.Files >= g.Count+g.TakenBack:
		return plural(uint64(n), "connection")
	default:
		return plural(uint64(n), "time") + " on " + plural(uint64(g.Files), "connection")
	}
}

// rate says how fast a group's findings came, as a rate where they are enough for one.
func rate(g *diagnose.Group) string {
	const enough = 10
	n, in := g.Count+g.TakenBack, g.Last.Sub(g.First)
	switch {
	case n < 2:
		return ""
	case in < time.Millisecond:
		return "at once"
	case in < time.Second || n < enough:
		return "within " + lasted(in)
	}
	perSecond := float64(n-1) / in.Seconds()
	if perSecond < 1 {
		return "at " + strconv.FormatFloat(perSecond*60, 'f', 0, 64) + " a minute"
	}
	return "at " + strconv.FormatFloat(perSecond, 'f', 0, 64) + " a second"
}

func worstOf(g *diagnose.Group, now event.Time) string {
	if len(g.Worst) == 0 {
		return ""
	}
	return "; worst " + example(g.Worst[0], now)
}

// example says of one finding where it is and how bad.
func example(f *diagnose.Finding, now event.Time) string {
	var where []string
	if f.FD != event.NoFD {
		where = append(where, descriptor(f.FD))
	}
	if f.Local.IsValid() && f.Peer.IsValid() {
		where = append(where, "("+f.Local.String()+" ← "+f.Peer.String()+")")
	}
	words := strings.Join(where, " ") + ":"
	if f.Unread > 0 {
		words += " " + f.Left()
	}
	if d := f.Lasts(now); f.Start != 0 && d > 0 {
		words += " for " + lasted(d)
	}
	return strings.TrimSuffix(words, ":")
}

// repair says what to change, and what to change first.
func (t *text) repair(f *diagnose.Finding, indent int) {
	space := strings.Repeat(" ", indent)
	if f.Fix != "" {
		t.paragraph(f.Fix, space+"repair: ", space+"        ", plain)
	}
	if f.Root != "" {
		t.paragraph("follows from "+f.Root, space, space, plain)
	}
}

// findingMark says how loud a finding is, in signs for a plain page and in colour for a terminal.
func findingMark(severity diagnose.Severity) (string, style) {
	switch severity {
	case diagnose.SeverityError:
		return "!!", red
	case diagnose.SeverityWarning:
		return "!", yellow
	default:
		return "i", plain
	}
}

// maxShown is how many groups of a check the closing part shows.
const maxShown = 20

// groups closes with each fault once, its worst case in full.
func (t *text) groups(groups []*diagnose.Group, end event.Time) {
	t.title("Findings")
	if len(groups) == 0 {
		t.paragraph("none", "  ", "  ", plain)
	}
	shown := map[string]int{}
	for _, g := range groups {
		if shown[g.Check]++; shown[g.Check] <= maxShown && len(g.Worst) > 0 {
			t.group(g, end)
		}
	}
	for _, check := range slices.Sorted(maps.Keys(shown)) {
		if more := shown[check] - maxShown; more > 0 {
			t.paragraph("and "+strconv.Itoa(more)+" more of "+check+", of other programs or processes (--format json has them all)",
				"  ", "  ", plain)
		}
	}
}

func (t *text) group(g *diagnose.Group, end event.Time) {
	const indent = 5
	space := strings.Repeat(" ", indent)
	worst := g.Worst[0]
	head := g.Check
	switch {
	case g.Count+g.TakenBack > 1:
		head += ": " + growth(g)
	case worst.Outcome != "":
		head += " (" + string(worst.Outcome) + ")"
	}
	mark, s := findingMark(g.Severity())
	t.paragraph(head, "  "+t.paint.paint(s, padRight(mark, 2))+" ", space, s)
	if g.Accepted != "" {
		t.paragraph("accepted by the baseline: "+Escape(g.Accepted), space, space, yellow)
	}
	t.paragraph(Escape(worst.Message), space, space, plain)
	t.proof(worst, end, indent)
	t.stack(worst.Stack)
	t.repair(worst, indent)
	for i, f := range g.Worst[1:] {
		lead := space + "next worst: "
		if i > 0 {
			lead = space + "            "
		}
		t.paragraph(example(f, end), lead, space+"            ", plain)
	}
	t.paragraph(t.where(worst), space, space, dim)
	if g.Fingerprint != "" {
		t.paragraph("fingerprint "+g.Fingerprint, space, space, dim)
	}
}

// where says whose finding it is, since when, and which events prove it.
func (t *text) where(f *diagnose.Finding) string {
	var parts []string
	if f.PID != 0 {
		who := "pid " + strconv.FormatUint(uint64(f.PID), 10)
		if f.Comm != "" {
			who += " (" + Escape(f.Comm) + ")"
		}
		parts = append(parts, who)
	}
	if f.TID != 0 && f.TID != f.PID {
		parts = append(parts, "thread "+strconv.FormatUint(uint64(f.TID), 10))
	}
	if f.EpFD != event.NoFD {
		parts = append(parts, "epoll "+descriptor(f.EpFD))
	}
	if f.Start != 0 {
		when := "from " + t.at(f.Start)
		if f.End != 0 {
			when += " to " + t.at(f.End)
		}
		parts = append(parts, when+" ms")
	}
	if e := numbers(f.Evidence); e != "" {
		parts = append(parts, "events "+e)
	}
	if f.Snapshot {
		parts = append(parts, "how it came about was not seen")
	}
	return strings.Join(parts, ", ")
}
