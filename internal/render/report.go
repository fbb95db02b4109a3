package render

import (
	"fmt"
	"io"
	"strings"

	"github.com/epwatch/epwatch/internal/diagnose"
)

// ReportFormat names a form in which other programs take what was found.
type ReportFormat string

// The forms of reports.
const (
	ReportJUnit ReportFormat = "junit" // a test suite, a test case for each check
	ReportSARIF ReportFormat = "sarif" // SARIF 2.1.0, a rule for each check and a result for each fault
)

// ReportFormats returns the forms of reports.
func ReportFormats() []ReportFormat { return []ReportFormat{ReportJUnit, ReportSARIF} }

// Report writes what came of an observation for another program.
func Report(w io.Writer, format ReportFormat, m *Meta, c *Conclusion) error {
	switch format {
	case ReportJUnit:
		return writeJUnit(w, m, c)
	case ReportSARIF:
		return writeSARIF(w, m, c)
	default:
		return fmt.Errorf("choosing a report: unknown format %q", string(format))
	}
}

// tell writes a group as the text does, without what needs an observation's own numbers.
func tell(g *diagnose.Group, m *Meta, c *Conclusion) string {
	var b strings.Builder
	t := newText(&b, Options{})
	t.start = m.Start
	t.group(g, m.Start.Add(c.Summary.Duration))
	_ = t.Flush() // a builder takes everything
	return b.String()
}

// headline is a group in one line.
func headline(g *diagnose.Group) string {
	words := g.Worst[0].Message
	if g.Count > 1 {
		words = growth(g) + "; the worst: " + words
	}
	return Escape(words)
}
