package render

import (
	"encoding/xml"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/epwatch/epwatch/internal/diagnose"
)

// The elements that programs which read JUnit's XML agree on. There is no standard: attributes are those that Ant's and Jenkins' schemas share.
type (
	junitSuites struct {
		XMLName  xml.Name `xml:"testsuites"`
		Name     string   `xml:"name,attr"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Errors   int      `xml:"errors,attr"`
		Skipped  int      `xml:"skipped,attr"`
		Time     string   `xml:"time,attr"`
		Suites   []junitSuite
	}
	junitSuite struct {
		XMLName    xml.Name        `xml:"testsuite"`
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr,omitempty"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		XMLName xml.Name      `xml:"testcase"`
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Skipped *junitSkipped `xml:"skipped"`
		Failure *junitFailure `xml:"failure"`
		Out     *junitText    `xml:"system-out"`
	}
	junitText struct {
		Text string `xml:",cdata"`
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
	junitFailure struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",cdata"`
	}
)

// writeJUnit writes a test case for each check: failed when it found something that nothing accepts, skipped when it could not be
// answered.
func writeJUnit(w io.Writer, m *Meta, c *Conclusion) error {
	took := strconv.FormatFloat(c.Summary.Duration.Seconds(), 'f', 3, 64)
	s := junitSuite{
		Name: "epwatch " + Escape(m.Command), Time: took,
		Properties: []junitProperty{{"epwatch", m.Version}, {"kernel", m.Kernel}},
	}
	if !m.Wall.IsZero() {
		s.Timestamp = m.Wall.UTC().Format(time.DateOnly + "T" + time.TimeOnly)
	}
	for i := range c.Verdicts {
		tc := junitCaseOf(&c.Verdicts[i], m, c)
		s.Tests++
		switch {
		case tc.Failure != nil:
			s.Failures++
		case tc.Skipped != nil:
			s.Skipped++
		}
		s.Cases = append(s.Cases, tc)
	}
	all := junitSuites{
		Name: "epwatch", Tests: s.Tests, Failures: s.Failures, Skipped: s.Skipped, Time: took, Suites: []junitSuite{s},
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func junitCaseOf(v *Verdict, m *Meta, c *Conclusion) junitCase {
	tc := junitCase{Class: "epwatch", Name: v.Check, Time: "0"}
	if v.Result == string(diagnose.UnknownNow) {
		tc.Skipped = &junitSkipped{Message: "unknown: " + v.Reason}
		return tc
	}
	var lines, bodies, accepted []string
	for _, g := range c.Groups {
		switch {
		case g.Check != v.Check || g.Count == 0 || len(g.Worst) == 0:
		case g.Accepted != "":
			accepted = append(accepted, tell(g, m, c))
		default:
			lines, bodies = append(lines, headline(g)), append(bodies, tell(g, m, c))
		}
	}
	if len(accepted) > 0 {
		tc.Out = &junitText{"\n" + strings.Join(accepted, "\n")}
	}
	switch {
	case len(lines) > 0:
		tc.Failure = &junitFailure{Type: v.Check, Message: strings.Join(lines, "; "), Text: "\n" + strings.Join(bodies, "\n")}
	case v.Result == string(diagnose.Found) && len(accepted) == 0:
		tc.Failure = &junitFailure{Type: v.Check, Message: strconv.Itoa(c.Summary.Findings[v.Check]) + " found"}
	}
	return tc
}
