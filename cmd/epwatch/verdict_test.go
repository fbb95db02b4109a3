package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/server"
)

func found(check, outcome string, unread uint32) *diagnose.Finding {
	return &diagnose.Finding{Check: check, Severity: diagnose.SeverityError, Outcome: diagnose.Outcome(outcome), Unread: unread}
}

func TestDepartures(t *testing.T) {
	all := []string{"et-unread", "reset-on-close", "close-wait"}
	want := []server.ExpectedFinding{
		{Check: "et-unread", Outcome: "rescued", Unread: 4}, {Check: "et-unread", Outcome: "lost", Unread: 8},
		{Check: "reset-on-close", Unread: 8},
	}
	exact := []*diagnose.Finding{
		found("reset-on-close", "lost", 8), found("et-unread", "lost", 8), found("et-unread", "rescued", 4),
	}
	withdrawn := found("close-wait", "self-resumed", 0)
	withdrawn.Severity = diagnose.SeverityInfo
	for _, c := range []struct {
		name  string
		found []*diagnose.Finding
		ran   []string
		want  []string
	}{
		{"exactly those", exact, all, nil},
		{"a withdrawn one accuses nobody", append([]*diagnose.Finding{withdrawn}, exact...), all, nil},
		{"one too few", exact[:2], all, []string{"expected but not found: et-unread (rescued, 4 bytes unread)"}},
		{"one too many", append([]*diagnose.Finding{found("close-wait", "", 1)}, exact...), all,
			[]string{"found but not expected: close-wait (1 bytes unread)"}},
		{"another outcome", []*diagnose.Finding{exact[0], exact[1], found("et-unread", "lost", 4)}, all,
			[]string{"expected but not found: et-unread (rescued, 4 bytes unread)", "found but not expected: et-unread (lost, 4 bytes unread)"}},
		{"the same one does not count twice", []*diagnose.Finding{exact[0], exact[1], exact[1]}, all,
			[]string{"expected but not found: et-unread (rescued, 4 bytes unread)", "found but not expected: et-unread (lost, 8 bytes unread)"}},
		{"a check that did not run is not expected to find", exact[1:], []string{"et-unread"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, departures(want, c.found, c.ran)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestClaimsOf(t *testing.T) {
	results := []server.Result{
		{ID: "a", OK: true, Evidence: []uint64{3}},
		{ID: "b", OK: true},
		{ID: "c", Why: "no"},
	}
	answers := func(complete bool) []render.Answer {
		var out []render.Answer
		for _, c := range claimsOf(results, complete) {
			out = append(out, c.Answer)
		}
		return out
	}
	if diff := cmp.Diff([]render.Answer{render.Shown, render.Shown, render.NotShown}, answers(true)); diff != "" {
		t.Errorf("a complete run: -want +got:\n%s", diff)
	}
	// Nothing happened so far, so "no reset" would be an empty truth.
	if diff := cmp.Diff([]render.Answer{render.Shown, render.NotReached, render.NotReached}, answers(false)); diff != "" {
		t.Errorf("an interrupted run: -want +got:\n%s", diff)
	}
}

func TestShortfall(t *testing.T) {
	one := []render.Unmatched{{Reason: "x", Count: 2}}
	for _, c := range []struct {
		name string
		c    render.Conclusion
		want string
	}{
		{"nothing", render.Conclusion{Claims: []render.Claim{{Answer: render.Shown}}, Journal: &render.Journal{}}, ""},
		{"claim", render.Conclusion{Claims: []render.Claim{{Answer: render.Shown}, {Answer: render.NotShown}}}, "1 of 2 claims not shown"},
		{"finding", render.Conclusion{Departures: []string{"x"}}, "findings differ from the documented ones in 1 places"},
		{"journal", render.Conclusion{Journal: &render.Journal{Unmatched: one}}, "2 journal entries and receives unmatched"},
		{"timeline", render.Conclusion{Summary: render.Summary{Unmatched: one}}, "2 reads and receives unmatched (x: 2)"},
		{"loss", render.Conclusion{Summary: render.Summary{Lost: 3}}, "3 records lost"},
	} {
		if got := shortfall(&c.c); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestOffence(t *testing.T) {
	reset := map[string]int{"reset-on-close": 2}
	for _, c := range []struct {
		named           []string
		found, accepted map[string]int
		written         bool
		want            string
	}{
		{nil, reset, nil, false, ""},
		{[]string{"et-unread"}, reset, nil, false, ""},
		{[]string{"et-unread", "reset-on-close"}, reset, nil, false, "reset-on-close"},
		{[]string{anyCheck}, reset, nil, false, "reset-on-close"},
		{[]string{anyCheck}, nil, nil, false, ""},
		{[]string{anyCheck}, reset, map[string]int{"reset-on-close": 1}, false, "reset-on-close"},
		{[]string{anyCheck}, reset, map[string]int{"reset-on-close": 2}, false, ""},
		{[]string{anyCheck}, reset, nil, true, ""},
	} {
		f := observeFlags{failOn: c.named, reportFlags: reportFlags{write: c.written}}
		if got := f.offence(render.Summary{Findings: c.found, Accepted: c.accepted}); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
