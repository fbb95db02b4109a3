package render

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/diagnose"
)

// reported is an observation with every kind of answer: a fault on many connections, an accepted one, one that was taken back, a
// check that is clean and one that is unknown.
func reported() (*Meta, *Conclusion) {
	many := testGroup(500, guilty(1), guilty(2), guilty(3))
	accepted := guilty(4)
	accepted.Check, accepted.Accepted, accepted.Fingerprint = "reset-on-close", "issue 7: <both> sides & \x1b[2J", "reset-on-close/epwatch/accepted"
	accepted.Comm = "]]>\x01<b>"
	info := guilty(5)
	info.Check, info.Severity, info.FD, info.Proof = "oneshot-disarmed", diagnose.SeverityInfo, -1, nil
	return testMeta(), &Conclusion{
		Groups: []*diagnose.Group{many, testGroup(1, accepted), testGroup(2, info)},
		Verdicts: []Verdict{
			{"et-unread", "found", ""}, {"oneshot-disarmed", "clean", ""}, {"close-wait", "unknown", `no hook for "state" & <more>`},
			{"reset-on-close", "found", ""},
		},
		Summary: Summary{
			Duration: 2210 * time.Millisecond, Findings: map[string]int{"et-unread": 500, "reset-on-close": 1},
			Accepted: map[string]int{"reset-on-close": 1},
		},
	}
}

func report(t *testing.T, f ReportFormat) []byte {
	t.Helper()
	m, c := reported()
	var out bytes.Buffer
	if err := Report(&out, f, m, c); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnknownReport(t *testing.T) {
	m, c := reported()
	if err := Report(io.Discard, "pdf", m, c); err == nil {
		t.Error("there is no such report")
	}
}

// TestJUnit: one case for each check; found fails, unknown is skipped with its reason, accepted and taken back pass.
func TestJUnit(t *testing.T) {
	text := report(t, ReportJUnit)
	golden(t, "report.xml", text)
	var got struct {
		Suites []struct {
			Name      string `xml:"name,attr"`
			Tests     int    `xml:"tests,attr"`
			Failures  int    `xml:"failures,attr"`
			Skipped   int    `xml:"skipped,attr"`
			Errors    int    `xml:"errors,attr"`
			Timestamp string `xml:"timestamp,attr"`
			Cases     []struct {
				Class   string `xml:"classname,attr"`
				Name    string `xml:"name,attr"`
				Failure []struct {
					Message string `xml:"message,attr"`
					Text    string `xml:",chardata"`
				} `xml:"failure"`
				Skipped []struct {
					Message string `xml:"message,attr"`
				} `xml:"skipped"`
				Out string `xml:"system-out"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	d.Strict = true
	if err := d.Decode(&got); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if len(got.Suites) != 1 {
		t.Fatalf("%d suites", len(got.Suites))
	}
	s := got.Suites[0]
	if s.Tests != 4 || s.Failures != 1 || s.Skipped != 1 || s.Errors != 0 || s.Timestamp != "2023-11-14T22:13:20" {
		t.Errorf("the suite is %+v", s)
	}
	for i, want := range []struct {
		name, failure, skipped, out string
	}{
		{"et-unread", "500 connections", "", ""},
		{"oneshot-disarmed", "", "", ""},
		{"close-wait", "", `unknown: no hook for "state" & <more>`, ""},
		{"reset-on-close", "", "", "accepted by the baseline: issue 7: <both> sides & \\x1b[2J"},
	} {
		c := s.Cases[i]
		failure, skipped := "", ""
		for _, f := range c.Failure {
			failure = f.Message
			if !strings.Contains(f.Text, "repair:") || !strings.Contains(f.Text, "│") {
				t.Errorf("%s has no repair or no proof: %s", c.Name, f.Text)
			}
		}
		for _, k := range c.Skipped {
			skipped = k.Message
		}
		if c.Class != "epwatch" || c.Name != want.name || skipped != want.skipped || (failure == "") != (want.failure == "") ||
			!strings.Contains(failure, want.failure) || !strings.Contains(c.Out, want.out) || (c.Out == "") != (want.out == "") {
			t.Errorf("case %d is %+v, want %+v", i, c, want)
		}
	}
}

// The properties that SARIF 2.1.0 gives to the objects that are written; it forbids all others.
var sarifProperty = map[string]string{
	"log":                "$schema version runs",
	"run":                "tool invocations results",
	"tool":               "driver",
	"driver":             "name version informationUri rules",
	"rule":               "id shortDescription fullDescription help helpUri defaultConfiguration",
	"text":               "text markdown",
	"invocation":         "executionSuccessful startTimeUtc endTimeUtc toolExecutionNotifications",
	"notification":       "level message associatedRule",
	"reference":          "id index",
	"result":             "ruleId ruleIndex kind level message locations relatedLocations occurrenceCount partialFingerprints codeFlows suppressions properties",
	"location":           "id logicalLocations message",
	"logical":            "name fullyQualifiedName kind",
	"suppression":        "kind status justification",
	"codeFlow":           "threadFlows",
	"threadFlow":         "locations",
	"threadFlowLocation": "location executionOrder executionTimeUtc",
}

// sarifChecker holds a log against the rules of the standard that a wrong log would most likely break.
type sarifChecker struct{ faults []string }

func (s *sarifChecker) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// object returns v as an object of that kind, with what it must have.
func (s *sarifChecker) object(v any, kind string, required ...string) map[string]any {
	o, ok := v.(map[string]any)
	if !ok {
		s.fault("%s is %T", kind, v)
		return map[string]any{}
	}
	for name := range o {
		if !slices.Contains(strings.Fields(sarifProperty[kind]), name) {
			s.fault("%s has no property %s", kind, name)
		}
	}
	for _, name := range required {
		if o[name] == nil {
			s.fault("%s lacks %s", kind, name)
		}
	}
	return o
}

func (s *sarifChecker) oneOf(what string, v any, words ...string) string {
	word, _ := v.(string)
	if !slices.Contains(words, word) {
		s.fault("%s is %v", what, v)
	}
	return word
}

func (s *sarifChecker) text(v any) {
	o := s.object(v, "text", "text")
	if text, _ := o["text"].(string); text == "" {
		s.fault("a message is empty")
	}
}

func (s *sarifChecker) date(v any) {
	if v == nil {
		return
	}
	word, _ := v.(string)
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", word); err != nil {
		s.fault("a time is %v", v)
	}
}

func items(v any) []any {
	list, _ := v.([]any)
	return list
}

func (s *sarifChecker) location(v any, ids map[float64]bool) {
	o := s.object(v, "location")
	if id, ok := o["id"].(float64); ok {
		if ids[id] {
			s.fault("location %v is there twice", id)
		}
		ids[id] = true
	}
	if o["message"] != nil {
		s.text(o["message"])
	}
	for _, l := range items(o["logicalLocations"]) {
		s.object(l, "logical", "name", "fullyQualifiedName", "kind")
	}
	if o["message"] == nil && len(items(o["logicalLocations"])) == 0 {
		s.fault("a location is nowhere")
	}
}

func (s *sarifChecker) log(text []byte) {
	var parsed any
	if err := json.Unmarshal(text, &parsed); err != nil {
		s.fault("%v", err)
		return
	}
	log := s.object(parsed, "log", "version", "runs")
	if log["version"] != "2.1.0" {
		s.fault("version %v", log["version"])
	}
	for _, r := range items(log["runs"]) {
		run := s.object(r, "run", "tool", "results")
		driver := s.object(s.object(run["tool"], "tool", "driver")["driver"], "driver", "name")
		var ids []string
		for _, r := range items(driver["rules"]) {
			rule := s.object(r, "rule", "id")
			id, _ := rule["id"].(string)
			if slices.Contains(ids, id) {
				s.fault("rule %s is there twice", id)
			}
			ids = append(ids, id)
			for _, part := range []string{"shortDescription", "fullDescription", "help"} {
				s.text(rule[part])
			}
		}
		for _, i := range items(run["invocations"]) {
			inv := s.object(i, "invocation", "executionSuccessful")
			s.date(inv["startTimeUtc"])
			s.date(inv["endTimeUtc"])
			for _, n := range items(inv["toolExecutionNotifications"]) {
				note := s.object(n, "notification", "message")
				s.text(note["message"])
				s.oneOf("level", note["level"], "none", "note", "warning", "error")
				s.points(s.object(note["associatedRule"], "reference"), "id", "index", ids)
			}
		}
		for _, r := range items(run["results"]) {
			s.result(r, ids)
		}
	}
}

// points holds a rule's name against its place.
func (s *sarifChecker) points(o map[string]any, name, place string, ids []string) {
	n, ok := o[place].(float64)
	if !ok || int(n) < 0 || int(n) >= len(ids) || ids[int(n)] != o[name] {
		s.fault("rule %v is not at place %v", o[name], o[place])
	}
}

func (s *sarifChecker) result(v any, ids []string) {
	r := s.object(v, "result", "message", "ruleId")
	s.points(r, "ruleId", "ruleIndex", ids)
	s.text(r["message"])
	kind := s.oneOf("kind", r["kind"], "notApplicable", "pass", "fail", "review", "open", "informational")
	level := s.oneOf("level", r["level"], "none", "note", "warning", "error")
	if (kind == "fail") == (level == "none") {
		s.fault("kind %s with level %s", kind, level)
	}
	if n, _ := r["occurrenceCount"].(float64); n < 1 {
		s.fault("it occurred %v times", r["occurrenceCount"])
	}
	prints, _ := r["partialFingerprints"].(map[string]any)
	if len(prints) == 0 {
		s.fault("no fingerprint")
	}
	for _, p := range prints {
		if word, _ := p.(string); word == "" {
			s.fault("a fingerprint is %v", p)
		}
	}
	places := map[float64]bool{}
	for _, l := range slices.Concat(items(r["locations"]), items(r["relatedLocations"])) {
		s.location(l, places)
	}
	for _, x := range items(r["suppressions"]) {
		sup := s.object(x, "suppression", "kind")
		s.oneOf("suppression", sup["kind"], "inSource", "external")
		s.oneOf("status", sup["status"], "accepted", "underReview", "rejected")
	}
	for _, f := range items(r["codeFlows"]) {
		for _, th := range items(s.object(f, "codeFlow", "threadFlows")["threadFlows"]) {
			for i, l := range items(s.object(th, "threadFlow", "locations")["locations"]) {
				step := s.object(l, "threadFlowLocation", "location")
				s.location(step["location"], map[float64]bool{})
				s.date(step["executionTimeUtc"])
				if step["executionOrder"] != float64(i+1) {
					s.fault("step %d has the order %v", i+1, step["executionOrder"])
				}
			}
		}
	}
}

func TestSARIF(t *testing.T) {
	text := report(t, ReportSARIF)
	var s sarifChecker
	s.log(text)
	if len(s.faults) > 0 {
		t.Errorf("%s\n%s", strings.Join(s.faults, "\n"), text)
	}
	var got sarifLog
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	run := got.Runs[0]
	if len(run.Tool.Driver.Rules) != len(diagnose.Checks()) {
		t.Errorf("%d rules", len(run.Tool.Driver.Rules))
	}
	var said []string
	for _, r := range run.Results {
		said = append(said, fmt.Sprint(r.RuleID, " ", r.Kind, " ", r.Level, " ", r.Occurrences, " ", r.Fingerprints["epwatch/v1"], " ", len(r.Suppressions),
			" ", len(r.Related), " ", len(r.Flows)))
	}
	want := []string{
		"et-unread fail warning 500 et-unread/epwatch/accepted/ET 0 2 1",
		"reset-on-close fail warning 1 reset-on-close/epwatch/accepted 1 0 1",
		"oneshot-disarmed informational none 2 et-unread/epwatch/accepted/ET 0 0 0",
	}
	if !slices.Equal(said, want) {
		t.Errorf("results:\n%s", strings.Join(said, "\n"))
	}
	at := run.Results[0].Locations[0].Logical
	if len(at) != 2 || at[0].Kind != "connection" || at[1].Kind != "process" || !strings.HasPrefix(at[0].Qualified, at[1].Qualified+"/") {
		t.Errorf("the first is at %+v", at)
	}
	if n := run.Invocations[0].Notifications; len(n) != 1 || !strings.Contains(n[0].Message.Text, "close-wait") {
		t.Errorf("what is unknown: %+v", n)
	}
}

// TestSARIFOfNothing: a log without results has an empty list, which says that there was nothing and not that nobody looked.
func TestSARIFOfNothing(t *testing.T) {
	var out bytes.Buffer
	if err := Report(&out, ReportSARIF, &Meta{}, &Conclusion{}); err != nil {
		t.Fatal(err)
	}
	var s sarifChecker
	s.log(out.Bytes())
	if len(s.faults) > 0 || !strings.Contains(out.String(), `"results": []`) {
		t.Errorf("%v\n%s", s.faults, out.String())
	}
}

// TestSARIFCheckerFinds makes sure that the comparison can fail.
func TestSARIFCheckerFinds(t *testing.T) {
	good := string(report(t, ReportSARIF))
	for _, change := range [][2]string{
		{`"2.1.0"`, `"2.0.0"`}, {`"ruleIndex": 0`, `"ruleIndex": 1`}, {`"kind": "fail"`, `"kind": "failed"`}, {`"level": "warning"`, `"level": "bad"`},
		{`"occurrenceCount": 500`, `"occurrenceCount": 0`}, {`"kind": "external"`, `"kind": "known"`}, {`"ruleId"`, `"ruleID"`},
		{`"epwatch/v1": "et-unread/epwatch/accepted/ET"`, `"epwatch/v1": ""`}, {`"executionSuccessful"`, `"successful"`}, {`.210Z`, `.21`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			// The end of a time depends on the clock that testMeta sets.
			t.Errorf("there is no %s", change[0])
			continue
		}
		var s sarifChecker
		s.log([]byte(bad))
		if len(s.faults) == 0 {
			t.Errorf("%s passes", change[1])
		}
	}
}
