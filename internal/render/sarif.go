package render

import (
	"encoding/json"
	"io"
	"slices"
	"strconv"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
)

// What of SARIF 2.1.0 is written; its section numbers are those of the OASIS standard.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID    string       `json:"id"`
		Short sarifMessage `json:"shortDescription"`
		Full  sarifMessage `json:"fullDescription"`
		Help  sarifHelp    `json:"help"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifHelp struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		Start         string              `json:"startTimeUtc,omitempty"`
		End           string              `json:"endTimeUtc,omitempty"`
		Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level   string       `json:"level"`
		Message sarifMessage `json:"message"`
		Rule    sarifRuleRef `json:"associatedRule"`
	}
	sarifRuleRef struct {
		ID    string `json:"id"`
		Index int    `json:"index"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Kind         string             `json:"kind"`
		Level        string             `json:"level"`
		Message      sarifMessage       `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Related      []sarifLocation    `json:"relatedLocations,omitempty"`
		Occurrences  int                `json:"occurrenceCount"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Flows        []sarifFlow        `json:"codeFlows,omitempty"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
		Properties   sarifProperties    `json:"properties"`
	}
	sarifLocation struct {
		ID      int            `json:"id,omitempty"`
		Logical []sarifLogical `json:"logicalLocations,omitempty"`
		Message *sarifMessage  `json:"message,omitempty"`
	}
	sarifLogical struct {
		Name      string `json:"name"`
		Qualified string `json:"fullyQualifiedName"`
		Kind      string `json:"kind"`
	}
	sarifFlow struct {
		Threads []sarifThreadFlow `json:"threadFlows"`
	}
	sarifThreadFlow struct {
		Locations []sarifStep `json:"locations"`
	}
	sarifStep struct {
		Location sarifLocation `json:"location"`
		Order    int           `json:"executionOrder"`
		Time     string        `json:"executionTimeUtc,omitempty"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	}
	sarifProperties struct {
		Outcomes map[string]int `json:"outcomes"`
		Repair   string         `json:"repair,omitempty"`
	}
)

const (
	sarifVersion = "2.1.0"
	sarifSchema  = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
	home         = "https://github.com/epwatch/epwatch"
	// printKey names the fingerprints' form: a change of what goes into one needs another number.
	printKey = "epwatch/v1"
)

// writeSARIF writes a result for each fault. There is no source code to point at: what is known is the process and the
// connection, so locations are logical ones (section 3.28.4 allows that).
func writeSARIF(w io.Writer, m *Meta, c *Conclusion) error {
	checks := diagnose.Checks()
	run := sarifRun{
		Tool: sarifTool{sarifDriver{Name: "epwatch", Version: m.Version, InformationURI: home}}, Results: []sarifResult{},
	}
	index := map[string]int{}
	for i := range checks {
		index[checks[i].Code] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRuleOf(&checks[i]))
	}
	end := m.Start.Add(c.Summary.Duration)
	inv := sarifInvocation{Successful: true, Start: m.utc(m.Start), End: m.utc(end)}
	for _, v := range c.Verdicts {
		if v.Result == string(diagnose.UnknownNow) {
			inv.Notifications = append(inv.Notifications, sarifNotification{
				Level: "warning", Message: sarifMessage{v.Check + " cannot be answered: " + v.Reason}, Rule: sarifRuleRef{v.Check, index[v.Check]},
			})
		}
	}
	run.Invocations = []sarifInvocation{inv}
	for _, g := range c.Groups {
		if len(g.Worst) > 0 {
			run.Results = append(run.Results, sarifResultOf(g, index[g.Check], m, end))
		}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(sarifLog{Schema: sarifSchema, Version: sarifVersion, Runs: []sarifRun{run}})
}

func sarifRuleOf(c *diagnose.Check) sarifRule {
	return sarifRule{
		ID: c.Code, Short: sarifMessage{c.Title}, Full: sarifMessage{c.Doc.Symptom},
		Help: sarifHelp{Text: string(Explanation(c)), Markdown: string(Page(c))},
	}
}

func sarifResultOf(g *diagnose.Group, rule int, m *Meta, end event.Time) sarifResult {
	worst := g.Worst[0]
	r := sarifResult{
		RuleID: g.Check, RuleIndex: rule, Kind: "fail", Level: sarifLevel(g.Severity()), Message: sarifMessage{headline(g)},
		Locations: []sarifLocation{{Logical: logical(worst)}}, Occurrences: max(g.Count, 1),
		Fingerprints: map[string]string{printKey: g.Fingerprint}, Properties: sarifProperties{groupLine(g).Outcomes, worst.Fix},
	}
	if g.Count == 0 { // nobody is accused, and then the level has to be none (section 3.27.10)
		r.Kind, r.Level, r.Occurrences = "informational", "none", max(g.TakenBack, 1)
	}
	for i, f := range g.Worst[1:] {
		r.Related = append(r.Related, sarifLocation{ID: i + 1, Logical: logical(f), Message: &sarifMessage{example(f, end)}})
	}
	if len(worst.Proof) > 0 {
		r.Flows = []sarifFlow{{Threads: []sarifThreadFlow{{Locations: steps(worst, m)}}}}
	}
	if g.Accepted != "" {
		r.Suppressions = []sarifSuppression{{"external", "accepted", g.Accepted}}
	}
	return r
}

func sarifLevel(s diagnose.Severity) string {
	return map[diagnose.Severity]string{diagnose.SeverityError: "error", diagnose.SeverityWarning: "warning"}[s]
}

// logical names the process of a finding and, where there is one, the connection.
func logical(f *diagnose.Finding) []sarifLogical {
	who := Escape(f.Comm)
	if who == "" {
		who = "pid " + strconv.FormatUint(uint64(f.PID), 10)
	}
	qualified := who + "[" + strconv.FormatUint(uint64(f.PID), 10) + "]"
	at := []sarifLogical{{Name: who, Qualified: qualified, Kind: "process"}}
	if f.FD == event.NoFD && !f.Local.IsValid() {
		return at
	}
	name, kind := "", "descriptor"
	if f.FD != event.NoFD {
		name = descriptor(f.FD)
	}
	if f.Local.IsValid() {
		kind = "listener"
		name = joinWords(name, f.Local.String())
		if f.Peer.IsValid() && f.Peer.Port() != 0 {
			kind = "connection"
			name += " ← " + f.Peer.String()
		}
	}
	return slices.Insert(at, 0, sarifLogical{Name: name, Qualified: qualified + "/" + name, Kind: kind})
}

func joinWords(a, b string) string {
	if a == "" {
		return b
	}
	return a + " " + b
}

// steps are the events of a proof.
func steps(f *diagnose.Finding, m *Meta) []sarifStep {
	n := names{}
	var out []sarifStep
	for i := range f.Proof {
		ev := &f.Proof[i]
		p, first := n.words(ev), f.Proof[0].Time
		who, _ := side(ev.Kind)
		words := Escape(since(first, ev.Time) + " " + who + ": " + p.what + " " + p.detail)
		out = append(out, sarifStep{Location: sarifLocation{Message: &sarifMessage{words}}, Order: i + 1, Time: m.utc(ev.Time)})
	}
	return out
}

// utc places a point of the timeline on the wall clock, in SARIF's form (section 3.9); empty when that is not known.
func (m *Meta) utc(at event.Time) string {
	if m.Wall.IsZero() {
		return ""
	}
	return m.Wall.Add(at.Sub(m.Start)).UTC().Format("2006-01-02T15:04:05.000Z")
}
