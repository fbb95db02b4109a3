package render

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/inspect"
)

// Inspection shows looks at a process: Meta first, then each look, Conclude last. It follows the same rules as a Printer.
type Inspection interface {
	Meta(*Meta)
	// Look shows one look. With Quiet, only the items that stand out.
	Look(*inspect.Report)
	Conclude(*InspectionSummary)
	// Flush writes what is held back and returns the first error of the output.
	Flush() error
}

// InspectionSummary is the figures at the end.
type InspectionSummary struct {
	Duration time.Duration
	Looks    int
	Last     *inspect.Report // nil when there was none
	Ended    string          // why it ended before its time, empty when it did not
}

// NewInspection returns an Inspection that writes to w. An unknown format is an error.
func NewInspection(w io.Writer, o Options) (Inspection, error) {
	switch o.Format {
	case FormatText, "":
		quiet := o.Quiet
		o.Quiet = true // the text's heading is for events
		return &textInspection{text: newText(w, o), quiet: quiet}, nil
	case FormatJSON:
		return &jsonInspection{jsonLines: newJSON(w), quiet: o.Quiet}, nil
	default:
		return nil, fmt.Errorf("choosing an output: unknown format %q (text or json)", string(o.Format))
	}
}

type textInspection struct {
	*text
	quiet bool
}

func (t *textInspection) Meta(m *Meta) { t.text.Meta(m) }

func (t *textInspection) Look(r *inspect.Report) {
	for _, m := range r.Missing {
		t.paragraph("!! could not read "+m.What+": "+Escape(m.Reason), "", "   ", yellow)
	}
	for n := range r.Instances {
		t.instance(&r.Instances[n])
	}
	t.verdict(r)
}

// instance writes one table.
func (t *textInspection) instance(in *inspect.Instance) {
	t.title(instanceWords(in))
	if len(in.Items) == 0 {
		t.paragraph("nothing is watched", "  ", "  ", dim)
		return
	}
	oneshot := slices.ContainsFunc(in.Items, func(it inspect.Item) bool { return it.Mask&event.OneShot != 0 })
	var shown []*inspect.Item
	cells := [][]string{itemHead(oneshot)}
	for n := range in.Items {
		it := &in.Items[n]
		if t.quiet && len(it.Suspicions) == 0 {
			continue
		}
		shown = append(shown, it)
		cells = append(cells, itemCells(it, oneshot))
	}
	if len(shown) == 0 {
		return
	}
	rows := layOut(cells)
	t.out.WriteString(t.paint.paint(dim, rows[0]) + "\n")
	for n, it := range shown {
		s := plain
		if len(it.Suspicions) > 0 {
			s = yellow
		}
		for line := range strings.SplitSeq(rows[n+1], "\n") {
			t.out.WriteString(t.paint.paint(s, line) + "\n")
		}
		for _, p := range it.Suspicions {
			t.suspicion(&p)
		}
		for _, note := range it.Notes {
			t.paragraph(note, noteIndent+"- ", noteIndent+"  ", dim)
		}
	}
}

const noteIndent = "      "

func (t *textInspection) suspicion(p *inspect.Suspicion) {
	words := p.Check + ": " + p.Message
	if p.Root != "" {
		words += " (follows from " + p.Root + ")"
	}
	t.paragraph(words, noteIndent+"! ", noteIndent+"  ", yellow)
}

func instanceWords(in *inspect.Instance) string {
	words := "epoll instance " + descriptor(in.FD)
	for _, fd := range in.Also {
		words += " = " + descriptor(fd)
	}
	words += ": " + plural(uint64(len(in.Items)), "item")
	switch {
	case !in.HasWaiters:
	case len(in.Waiters) == 0:
		words += ", no thread waits on it now"
	case len(in.Waiters) == 1:
		words += ", thread " + strconv.FormatUint(uint64(in.Waiters[0]), 10) + " waits on it"
	default:
		words += fmt.Sprintf(", %d threads wait on it", len(in.Waiters))
	}
	if len(in.Sharers) > 0 {
		words += ", shared with process " + strconv.FormatUint(uint64(in.Sharers[0]), 10)
		if more := len(in.Sharers) - 1; more > 0 {
			words += fmt.Sprintf(" and %d more", more)
		}
	}
	return words
}

// itemHead leaves out what no item of the table has.
func itemHead(oneshot bool) []string {
	head := []string{"fd", "kind", "mask", "armed", "data", "state", "unread", "send-q", "local → peer"}
	return columns(head, oneshot)
}

func columns(cells []string, oneshot bool) []string {
	const armed = 3
	if oneshot {
		return cells
	}
	return slices.Delete(cells, armed, armed+1)
}

func itemCells(it *inspect.Item, oneshot bool) []string {
	cells := []string{
		strconv.Itoa(int(it.FD)), orDash(it.Kind), watched(it.Mask), "yes", data(it), orDash(it.State), "-", "-", place(it),
	}
	if !it.Armed {
		cells[3] = "no"
	}
	if s := it.Sock; s != nil {
		cells[6] = pending(s)
		if s.HasSent {
			cells[7] = strconv.FormatUint(uint64(s.SendQueue), 10)
		}
	}
	return columns(cells, oneshot)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return Escape(s)
}

// watched leaves out the two events that the kernel adds to every mask.
func watched(m event.Mask) string { return (m &^ (event.Err | event.Hup)).String() }

// data writes what most programs put there, the descriptor, as such.
func data(it *inspect.Item) string {
	if it.Data == uint64(it.FD) {
		return strconv.FormatUint(it.Data, 10)
	}
	return hex(it.Data)
}

// pending splits the receive queue into bytes and the FIN; of a listener it is the accept queue and its limit.
func pending(s *inspect.Socket) string {
	n := strconv.FormatUint(uint64(s.Unread), 10)
	switch {
	case s.Datagrams && s.Unread > 0:
		return "some"
	case s.State == event.Listen && s.Limit > 0:
		return n + "/" + strconv.FormatUint(uint64(s.Limit), 10)
	case s.FIN:
		return n + " + FIN"
	default:
		return n
	}
}

// place says where a socket is connected, or which file it is.
func place(it *inspect.Item) string {
	s := it.Sock
	switch {
	case s != nil && s.Local.IsValid() && (s.State == event.Listen || s.Peer.Port() == 0):
		return s.Local.String()
	case s != nil && s.Local.IsValid():
		return s.Local.String() + " → " + s.Peer.String()
	case it.Kind == "file" || strings.HasPrefix(it.Kind, "unix"):
		return Escape(it.Name)
	default:
		return ""
	}
}

// layOut aligns all columns but the last, which gets a line of its own in every row when it does not fit everywhere.
func layOut(cells [][]string) []string {
	last := len(cells[0]) - 1
	heads := make([][]string, len(cells))
	wide := 0
	for n, row := range cells {
		heads[n] = row[:last]
		wide = max(wide, width(row[last]))
	}
	lines := alignRight(heads)
	head := 0
	for _, l := range lines {
		head = max(head, width(l))
	}
	for n, row := range cells {
		switch where := row[last]; {
		case where == "":
		case head+2+wide <= Columns:
			lines[n] = padRight(lines[n], head+2) + where
		case n > 0:
			lines[n] += "\n" + noteIndent + where
		default:
			lines[n] += "  (" + where + " below)"
		}
		lines[n] = strings.TrimRight(lines[n], " ")
	}
	return lines
}

// alignRight aligns as Align does, with the descriptors to the right and two spaces in front.
func alignRight(rows [][]string) []string {
	wide := 0
	for _, cells := range rows {
		wide = max(wide, width(cells[0]))
	}
	padded := make([][]string, 0, len(rows))
	for _, cells := range rows {
		padded = append(padded, append([]string{"  " + padLeft(cells[0], wide)}, cells[1:]...))
	}
	return Align(padded)
}

func (t *textInspection) verdict(r *inspect.Report) {
	found := r.Suspicions()
	t.out.WriteString("\n")
	over := fmt.Sprintf("%s, two samples %d ms apart", plural(uint64(r.Items()), "item"), r.Sample.Milliseconds())
	if len(found) == 0 {
		s, words := green, "nothing suspicious: "
		if len(r.Missing) > 0 {
			s, words = plain, "nothing suspicious in what could be read: "
		}
		t.paragraph(words+over, "", "  ", s)
		return
	}
	var parts []string
	for _, check := range slices.Sorted(maps.Keys(found)) {
		parts = append(parts, check+" "+strconv.Itoa(found[check]))
	}
	t.paragraph("suspicious: "+strings.Join(parts, ", ")+" ("+over+")", "", "  ", yellow)
	fixes := map[string]string{}
	for _, in := range r.Instances {
		for _, it := range in.Items {
			for _, p := range it.Suspicions {
				fixes[p.Check] = p.Fix
			}
		}
	}
	for _, check := range slices.Sorted(maps.Keys(fixes)) {
		t.paragraph("repair of "+check+": "+fixes[check], "  ", "    ", plain)
	}
}

func (t *textInspection) Conclude(s *InspectionSummary) {
	if s.Ended != "" {
		t.paragraph("ended: "+Escape(s.Ended), "", "  ", dim)
	}
}
