package main

import (
	"testing"

	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/server"
)

// TestTrialJudge: what counts as expected, as unknown, and as a failure.
func TestTrialJudge(t *testing.T) {
	guilty := server.Variant{
		Name: "g", Check: "close-wait", Claims: make([]server.Claim, 1), Expect: []server.ExpectedFinding{{Check: "close-wait"}},
	}
	innocent := server.Variant{Name: "i", Check: "close-wait", Claims: make([]server.Claim, 1)}
	said := func(change func(*traceOutput)) *traceOutput {
		o := &traceOutput{claims: []traceLine{{ID: []byte(`"a"`), Answer: render.Shown}}}
		o.meta.Type, o.summary.Type = "meta", "summary"
		o.meta.Missing = map[string]string{}
		change(o)
		return o
	}
	unknown := func(o *traceOutput) {
		o.summary.Checks = []render.Verdict{{Check: "close-wait", Result: "unknown", Reason: "why"}}
	}
	missing := func(o *traceOutput) { unknown(o); o.meta.Missing["close-wait"] = "why" }
	unseen := func(o *traceOutput) { o.claims[0].Answer, o.claims[0].Why = render.NotShown, "it was not" }
	departs := func(o *traceOutput) { o.summary.Departures = []string{"expected but not found: close-wait"} }
	other := func(o *traceOutput) {
		o.summary.Checks = []render.Verdict{{Check: "et-unread", Result: "unknown", Reason: "why"}}
	}
	for _, c := range []struct {
		name     string
		v        server.Variant
		change   func(*traceOutput)
		success  bool
		result   trialResult
		findings string
		reason   string
	}{
		{"as expected", guilty, func(*traceOutput) {}, true, trialOK, "yes", ""},
		{"a claim was not shown", guilty, unseen, false, trialFailed, "yes", "words; claim a: it was not"},
		{"other findings", guilty, departs, false, trialFailed, "no", "words; expected but not found: close-wait"},
		{"a guilty server's check has no hook", guilty, missing, true, trialUnknown, "unknown", "close-wait: why"},
		{"it has no hook, and a claim was not shown", guilty, func(o *traceOutput) { missing(o); unseen(o) }, false, trialFailed, "unknown",
			"words; claim a: it was not"},
		{"a guilty server's check could have answered", guilty, unknown, true, trialFailed, "no", "close-wait: why"},
		{"an innocent's check could not answer", innocent, unknown, true, trialUnknown, "unknown", "close-wait: why"},
		{"a check that it is not about", innocent, other, true, trialOK, "yes", ""},
		{"it ended before its summary", innocent, func(o *traceOutput) { o.summary.Type = "" }, false, trialFailed, "no", "words"},
	} {
		t.Run(c.name, func(t *testing.T) {
			words := ""
			if !c.success {
				words = "words"
			}
			var got trial
			got.judge(c.v, said(c.change), c.success, words)
			if got.Result != c.result || got.Findings != c.findings || got.Reason != c.reason {
				t.Errorf("%+v", got)
			}
		})
	}
}
