package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/server"
)

// departures says where the findings differ from what the variant must give. Only the checks that ran are compared.
func departures(expected []server.ExpectedFinding, found []*diagnose.Finding, ran []string) []string {
	var out []string
	left := slices.DeleteFunc(slices.Clone(found), func(f *diagnose.Finding) bool { return f.Severity == diagnose.SeverityInfo })
	for _, want := range expected {
		if !slices.Contains(ran, want.Check) {
			continue
		}
		i := slices.IndexFunc(left, func(f *diagnose.Finding) bool { return meets(f, want) })
		if i < 0 && want.Perhaps {
			continue
		}
		if i < 0 {
			out = append(out, "expected but not found: "+describe(want.Check, want.Outcome, want.Unread))
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	for _, f := range left {
		out = append(out, "found but not expected: "+describe(f.Check, string(f.Outcome), f.Unread))
	}
	return out
}

func meets(f *diagnose.Finding, want server.ExpectedFinding) bool {
	return f.Check == want.Check && (f.Unread == want.Unread || want.Unread == server.AnyAmount) && (want.Outcome == "" || string(f.Outcome) == want.Outcome)
}

func describe(check, outcome string, unread uint32) string {
	var words []string
	if outcome != "" {
		words = append(words, outcome)
	}
	if unread != server.AnyAmount {
		words = append(words, fmt.Sprintf("%d bytes unread", unread))
	}
	if len(words) == 0 {
		return check
	}
	return check + " (" + strings.Join(words, ", ") + ")"
}

// claimsOf turns the variant's answers into what is shown. In a run that did not get to its end a claim that does not
// hold was not reached, and one that rests on no event cannot count as shown.
func claimsOf(results []server.Result, complete bool) []render.Claim {
	var out []render.Claim
	for _, r := range results {
		c := render.Claim{ID: r.ID, Text: r.Text, Answer: render.Shown, Events: r.Evidence, Why: r.Why}
		switch {
		case r.OK && (complete || len(r.Evidence) > 0):
		case complete:
			c.Answer = render.NotShown
		default:
			c.Answer, c.Why, c.Events = render.NotReached, "", nil
		}
		out = append(out, c)
	}
	return out
}

// shortfall says in one line what a complete run failed to show, empty when it showed everything.
func shortfall(c *render.Conclusion) string {
	var parts []string
	missing := 0
	for _, cl := range c.Claims {
		if cl.Answer == render.NotShown {
			missing++
		}
	}
	if missing > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d claims not shown", missing, len(c.Claims)))
	}
	if n := len(c.Departures); n > 0 {
		parts = append(parts, fmt.Sprintf("findings differ from the documented ones in %d places", n))
	}
	if c.Journal != nil && len(c.Journal.Unmatched) > 0 {
		parts = append(parts, fmt.Sprintf("%d journal entries and receives unmatched", unmatchedTotal(c.Journal.Unmatched)))
	}
	if n := unmatchedTotal(c.Summary.Unmatched); n > 0 {
		parts = append(parts, fmt.Sprintf("%d reads and receives unmatched (%s)", n, reasons(c.Summary.Unmatched)))
	}
	if c.Summary.Lost > 0 {
		parts = append(parts, fmt.Sprintf("%d records lost", c.Summary.Lost))
	}
	return strings.Join(parts, ", ")
}

func reasons(us []render.Unmatched) string {
	var parts []string
	for _, u := range us {
		parts = append(parts, fmt.Sprintf("%s: %d", u.Reason, u.Count))
	}
	return strings.Join(parts, "; ")
}

func unmatchedTotal(us []render.Unmatched) uint64 {
	var n uint64
	for _, u := range us {
		n += u.Count
	}
	return n
}

// offence returns the first check that --fail-on names and that found what nothing accepts, empty when there is none.
func (f *observeFlags) offence(s render.Summary) string {
	if f.write {
		return "" // all of it is accepted from now on
	}
	for _, code := range checkCodes() {
		if s.Findings[code] > s.Accepted[code] && (slices.Contains(f.failOn, anyCheck) || slices.Contains(f.failOn, code)) {
			return code
		}
	}
	return ""
}
