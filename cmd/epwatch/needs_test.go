package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/tracer"
)

// Every check says what it needs, in words that the tracer's table has, or missing hooks would go unnoticed.
func TestNeedsAreComplete(t *testing.T) {
	r, err := tracer.Probe()
	if err != nil || len(r.Rows) == 0 {
		t.Skipf("the tracer's table cannot be listed here: %v %s", err, r.BTF.Detail)
	}
	events := map[string]bool{}
	for _, row := range r.Rows {
		events[row.Event] = true
	}
	all := needs()
	for _, c := range diagnose.Checks() {
		n, ok := all[c.Code]
		if !ok || len(n.required) == 0 {
			t.Errorf("%s needs nothing", c.Code)
		}
		for _, e := range slices.Concat(n.required, n.helpful) {
			if !events[e] {
				t.Errorf("%s needs %q, which no hook is called", c.Code, e)
			}
		}
		delete(all, c.Code)
	}
	for code := range all {
		t.Errorf("%q is no check", code)
	}
}

func TestMissingFor(t *testing.T) {
	have := []string{"calls", "wakeup", "recv", "state", "process", "woken"}
	want := map[string]string{"reset-on-close": "no hook for reset"}
	if diff := cmp.Diff(want, missingFor(have)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := missingFor([]string{"state"})["et-unread"]; got != "no hook for calls, wakeup, recv" {
		t.Errorf("et-unread: %q", got)
	}
}
