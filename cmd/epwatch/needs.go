package main

import (
	"slices"
	"strings"
	"time"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/tracer"
)

// need is what one check must see, in the words of the tracer's hook table.
type need struct {
	required []string // without one of these the check can only answer unknown
	helpful  []string // without one of these it says less
}

// needs returns what each check must see. It stands here because only the commands know both the checks and the hooks.
func needs() map[string]need {
	loop := []string{"calls", "wakeup", "recv"}
	return map[string]need{
		"et-unread":        {required: loop, helpful: []string{"state", "release"}},
		"oneshot-disarmed": {required: loop, helpful: []string{"state", "release"}},
		"close-wait":       {required: []string{"calls", "state"}, helpful: []string{"wakeup", "recv", "release"}},
		"reset-on-close":   {required: []string{"calls", "reset", "process"}, helpful: []string{"state", "release"}},

		"accept-backlog":      {required: []string{"calls", "wakeup"}, helpful: []string{"state", "release"}},
		"accept-error":        {required: []string{"calls"}, helpful: []string{"wakeup"}},
		"ghost-event":         {required: []string{"calls", "process"}, helpful: []string{"wakeup", "release"}},
		"concurrent-delivery": {required: []string{"calls", "recv"}},
		"busy-loop":           {required: []string{"calls", "wakeup"}, helpful: []string{"woken", "recv", "state"}},
		"thundering-herd":     {required: []string{"calls", "wakeup", "woken"}},
		"spurious-wakeup":     {required: []string{"calls"}, helpful: []string{"wakeup"}},
		"loop-stall":          {required: []string{"calls", "wakeup"}, helpful: []string{"sched", "recv", "state"}},
	}
}

// slowTurn is what the tracer has to know for loop-stall, 0 where that does not run or the kinds that are recorded leave the
// scheduler's word out.
func slowTurn(only []string, kinds []event.Kind, threshold time.Duration) time.Duration {
	if len(only) > 0 && !slices.Contains(only, "loop-stall") || len(kinds) > 0 && !slices.Contains(kinds, event.KindSched) {
		return 0
	}
	return threshold
}

// missingFor says, by check, which required events have no hook. have holds those that have one.
func missingFor(have []string) map[string]string {
	missing := map[string]string{}
	for check, n := range needs() {
		lack := slices.DeleteFunc(slices.Clone(n.required), func(e string) bool { return slices.Contains(have, e) })
		if len(lack) > 0 {
			missing[check] = "no hook for " + strings.Join(lack, ", ")
		}
	}
	return missing
}

// checkAnswer says whether a check can be answered on this machine.
type checkAnswer struct {
	Type   string `json:"type"`
	Check  string `json:"check"`
	Answer string `json:"answer"`
	Reason string `json:"reason,omitempty"`

	mark string
}

// availability says for each check whether it can be answered in full, in part, or not at all here.
func availability(r *tracer.Report) []checkAnswer {
	best := bestRows(r)
	var out []checkAnswer
	for _, c := range diagnose.Checks() {
		out = append(out, available(c.Code, needs()[c.Code], best))
	}
	return out
}

// seen is the best that can be had of one event here.
type seen struct {
	answer tracer.Answer
	lacks  string // what a better kernel would see besides
}

// bestRows takes, as the tracer does, the first family that has an event. What even the best family cannot see is no
// fault of this kernel, and left out.
func bestRows(r *tracer.Report) map[string]seen {
	ideal := map[string]string{}
	best := map[string]seen{}
	for _, row := range r.Rows {
		if _, known := ideal[row.Event]; !known {
			ideal[row.Event] = row.Misses
		}
		b, known := best[row.Event]
		switch {
		case known && b.answer == tracer.Yes:
		case row.Answer == tracer.Yes:
			b = seen{answer: tracer.Yes}
			if row.Misses != ideal[row.Event] {
				b.lacks = row.Misses
			}
		case !known || row.Answer == tracer.Unknown:
			b = seen{answer: row.Answer}
		}
		best[row.Event] = b
	}
	return best
}

func available(code string, n need, best map[string]seen) checkAnswer {
	a := checkAnswer{Type: "check", Check: code, Answer: "in full", mark: "✓"}
	var absent, doubtful, partly []string
	for _, e := range n.required {
		switch b := best[e]; {
		case b.answer == tracer.No, best[e] == seen{} && len(best) == 0:
			absent = append(absent, e)
		case b.answer == tracer.Unknown:
			doubtful = append(doubtful, e)
		case b.lacks != "":
			partly = append(partly, e+" without "+b.lacks)
		}
	}
	for _, e := range n.helpful {
		switch b := best[e]; {
		case b.answer != tracer.Yes:
			partly = append(partly, "no "+e)
		case b.lacks != "":
			partly = append(partly, e+" without "+b.lacks)
		}
	}
	switch {
	case len(absent) > 0:
		a.Answer, a.mark, a.Reason = "not at all", "✗", "no "+strings.Join(absent, ", ")
	case len(doubtful) > 0:
		a.Answer, a.mark, a.Reason = "could not tell", "?", "about "+strings.Join(doubtful, ", ")
	case len(partly) > 0:
		a.Answer, a.mark, a.Reason = "in part", "~", strings.Join(partly, "; ")
	}
	return a
}
