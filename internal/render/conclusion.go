package render

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
)

func (t *text) Meta(m *Meta) {
	t.start = m.Start
	parts := []string{"epwatch " + m.Version, m.Command}
	for i, p := range m.Processes {
		t.comms[p.PID] = p.Comm
		if i >= maxNamed {
			continue
		}
		who := "pid " + strconv.FormatUint(uint64(p.PID), 10)
		if p.Comm != "" {
			who += " (" + Escape(p.Comm) + ")"
		}
		parts = append(parts, who)
	}
	if n := len(m.Processes); n > maxNamed {
		parts = append(parts, "and "+strconv.Itoa(n-maxNamed)+" more")
	}
	if len(m.Processes) == 1 {
		t.mainPID = m.Processes[0].PID
	}
	parts = append(parts, "kernel "+m.Kernel)
	if h := families(m.Hooks); h != "" {
		parts = append(parts, "hooks: "+h)
	}
	t.paragraph(strings.Join(parts, " · "), "", "  ", dim)
	for _, check := range slices.Sorted(maps.Keys(m.Missing)) {
		t.paragraph("!! "+check+" cannot be answered here: "+m.Missing[check], "", "   ", yellow)
	}
	if t.quiet {
		return
	}
	t.paragraph(padLeft("no", numberWidth)+" "+padLeft("ms", timeWidth)+"  "+padRight("side", sideWidth)+"  what", "", "", dim)
}

// maxNamed is how many processes the header names.
const maxNamed = 8

// families sums up where the hooks sit: the family of most of them, and the events of the others.
func families(hooks []Hook) string {
	events := map[string][]string{}
	for _, h := range hooks {
		if h.Family == "" {
			continue
		}
		if !slices.Contains(events[h.Family], h.Event) {
			events[h.Family] = append(events[h.Family], h.Event)
		}
	}
	order := slices.SortedFunc(maps.Keys(events), func(a, b string) int {
		if d := len(events[b]) - len(events[a]); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for i, family := range order {
		if i > 0 {
			order[i] = family + " for " + strings.Join(events[family], ", ")
		}
	}
	return strings.Join(order, "; ")
}

// findingMark says how loud a finding is, in signs for a plain page and in colour for a terminal.
func findingMark(f *diagnose.Finding) (string, style) {
	switch f.Severity {
	case diagnose.SeverityError:
		return "!!", red
	case diagnose.SeverityWarning:
		return "!", yellow
	default:
		return "i", plain
	}
}

func (t *text) Conclude(c *Conclusion) {
	t.release()
	t.claims(c.Claims)
	t.journal(c.Journal)
	t.findings(c.Findings)
	t.verdicts(c.Verdicts)
	t.tables(c.Tables)
	t.summary(c)
}

func (t *text) claims(claims []Claim) {
	if len(claims) == 0 {
		return
	}
	t.title("Claims")
	for _, c := range claims {
		mark, s := "✓", green
		words := c.Text
		switch c.Answer {
		case NotShown:
			mark, s = "✗", red
		case NotReached:
			mark, s = "–", dim
			words += " (not reached)"
		default:
		}
		if e := numbers(c.Events); e != "" {
			words += "  [" + e + "]"
		}
		t.paragraph(words, "  "+t.paint.paint(s, mark)+" ", "    ", plain)
		if c.Answer == NotShown && c.Why != "" {
			t.paragraph(Escape(c.Why), "      ", "      ", red)
		}
	}
}

// numbers lists events by their place, as the first column shows it.
func numbers(seqs []uint64) string {
	words := make([]string, 0, len(seqs))
	for _, s := range seqs {
		words = append(words, strconv.FormatUint(s, 10))
	}
	return strings.Join(words, " ")
}

func (t *text) journal(j *Journal) {
	if j == nil {
		return
	}
	missing := uint64(0)
	for _, u := range j.Unmatched {
		missing += u.Count
	}
	t.title("Journal")
	t.paragraph("journal: "+plural(uint64(j.Entries), "read")+", kernel: "+plural(uint64(j.Receives), "receive")+", "+
		strconv.Itoa(j.Matched)+" matched, "+strconv.FormatUint(missing, 10)+" unmatched, "+
		strconv.FormatUint(j.Lost, 10)+" lost", "  ", "  ", plain)
	for _, u := range j.Unmatched {
		t.paragraph(strconv.FormatUint(u.Count, 10)+" "+u.Reason, "  ✗ ", "    ", red)
	}
}

func (t *text) findings(found []*diagnose.Finding) {
	t.title("Findings")
	if len(found) == 0 {
		t.paragraph("none", "  ", "  ", plain)
	}
	shown := map[string]int{}
	for _, f := range found {
		what := f.Check
		if f.Severity == diagnose.SeverityInfo {
			what += " (info)"
		}
		if shown[what]++; shown[what] > maxShown {
			continue
		}
		mark, s := findingMark(f)
		head := f.Check
		if f.Outcome != "" {
			head += " (" + string(f.Outcome) + ")"
		}
		t.out.WriteString("  " + t.paint.paint(s, padRight(mark, 2)+" "+head) + "\n")
		t.paragraph(Escape(f.Message), "     ", "     ", plain)
		t.paragraph(t.where(f), "     ", "     ", dim)
		if f.Root != "" {
			t.paragraph("follows from "+f.Root, "     ", "     ", plain)
		}
		t.stack(f.Stack)
		if f.Fix != "" {
			t.paragraph(f.Fix, "     repair: ", "             ", plain)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(shown)) {
		if more := shown[what] - maxShown; more > 0 {
			t.paragraph("and "+strconv.Itoa(more)+" more of "+what+" like these (--format json has them all)", "  ", "  ", plain)
		}
	}
}

// maxShown is how many findings of a check the closing part shows; all of them were shown when they were made.
const maxShown = 20

func (t *text) verdicts(verdicts []Verdict) {
	if len(verdicts) == 0 {
		return
	}
	t.title("Checks")
	cells := make([][]string, 0, len(verdicts))
	for _, v := range verdicts {
		cells = append(cells, []string{v.Check, v.Result, v.Reason})
	}
	for i, line := range Align(cells) {
		s := plain
		switch verdicts[i].Result {
		case string(diagnose.Found):
			s = red
		case string(diagnose.UnknownNow):
			s = yellow
		}
		t.paragraph(line, "  ", "    ", s)
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

func (t *text) summary(c *Conclusion) {
	s := &c.Summary
	t.title("Summary")
	parts := []string{seconds(s.Duration), plural(s.total(), "event")}
	parts = append(parts, plural(s.Reads, "read"), plural(s.Receives, "receive"), strconv.FormatUint(s.Matched, 10)+" matched")
	for _, u := range s.Unmatched {
		parts = append(parts, strconv.FormatUint(u.Count, 10)+" unmatched: "+u.Reason)
	}
	t.paragraph(strings.Join(parts, ", "), "  ", "  ", plain)
	t.kinds(s)
	t.loss(s)
	t.cost(s)
	if len(c.Verdicts) == 0 {
		for _, u := range s.Unknown {
			t.paragraph("unknown: "+u.Check+": "+u.Reason, "  ", "  ", yellow)
		}
	}
	switch {
	case s.Ended != "" && s.Early:
		t.paragraph("ended early: "+s.Ended, "  ", "  ", yellow)
	case s.Ended != "":
		t.paragraph("ended: "+s.Ended, "  ", "  ", plain)
	}
	for _, d := range c.Departures {
		t.paragraph(d, "  ✗ ", "    ", red)
	}
}

// kinds counts the events by kind, the most frequent first.
func (t *text) kinds(s *Summary) {
	order := slices.SortedFunc(maps.Keys(s.Events), func(a, b event.Kind) int {
		if n := cmp.Compare(s.Events[b], s.Events[a]); n != 0 {
			return n
		}
		return cmp.Compare(a, b)
	})
	var parts []string
	for _, k := range order {
		parts = append(parts, k.String()+" "+strconv.FormatUint(s.Events[k], 10))
	}
	if len(parts) > 0 {
		t.paragraph("events: "+strings.Join(parts, ", "), "  ", "    ", plain)
	}
}

func (t *text) cost(s *Summary) {
	parts := []string{
		strconv.FormatFloat(s.rate(), 'f', 0, 64) + " events/s",
		"epwatch took " + milliseconds(s.Cost.CPU) + " of processor time",
	}
	if s.Cost.BPFRuns > 0 {
		parts = append(parts, "its programs in the kernel "+milliseconds(s.Cost.BPF)+" in "+plural(s.Cost.BPFRuns, "run"))
	}
	t.paragraph(strings.Join(parts, ", "), "  ", "    ", plain)
}

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64) + " ms"
}

func (t *text) loss(s *Summary) {
	words, loud := "nothing lost", plain
	if s.Lost > 0 {
		words, loud = "lost "+plural(s.Lost, "record")+" (raise --buffer)", red
	}
	switch {
	case s.Missed > 0:
		words, loud = words+"; the kernel skipped "+plural(s.Missed, "program run"), yellow
	case s.LowerBound:
		words += "; this kernel does not count what it skips"
	}
	t.paragraph(words, "  ", "  ", loud)
}

func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
}

func (t *text) title(words string) {
	t.out.WriteString("\n" + t.paint.paint(bold, words) + "\n")
}

// paragraph writes words behind a first indent, and what does not fit behind the next one. The first indent may hold
// colour; its width is that of next where it does.
func (t *text) paragraph(words, first, next string, s style) {
	room := Columns - max(width(next), 0)
	if !strings.Contains(first, "\x1b") {
		room = Columns - max(width(first), width(next))
	}
	for i, line := range Wrap(words, room) {
		indent := next
		if i == 0 {
			indent = first
		}
		t.out.WriteString(indent + t.paint.paint(s, line) + "\n")
	}
}
