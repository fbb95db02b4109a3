//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// report prints what happens as it happens and keeps the sums. Its methods may be called from any goroutine.
type report struct {
	mu      sync.Mutex
	out     io.Writer
	verbose bool
	total   counts
}

func newReport(out io.Writer, verbose bool) *report {
	return &report{out: out, verbose: verbose}
}

// note prints one line about a kernel.
func (r *report) note(label, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, "%-7s %s\n", label, text)
}

// add prints a kernel's results: a line per suite, below it what a reader needs to know about what did not pass.
func (r *report) add(label string, res result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.total.failed
	for _, s := range res.suites {
		r.total.add(s.counts)
		verdict := "ok  "
		if s.counts.failed > 0 {
			verdict = "FAIL"
		}
		fmt.Fprintf(r.out, "%-7s %s %-20s %4d passed %3d failed %3d skipped %7.1f s\n",
			label, verdict, s.name, s.counts.passed, s.counts.failed, s.counts.skipped, s.took.Seconds())
		r.addDetails(s)
	}
	for _, note := range res.notes {
		fmt.Fprintf(r.out, "%-7s kernel says: %s\n", label, note)
	}
	if res.problem != "" {
		if r.total.failed == before {
			r.total.failed++ // no test told of it
		}
		fmt.Fprintf(r.out, "%-7s FAIL %s\n", label, res.problem)
	}
	if res.console != "" {
		fmt.Fprintf(r.out, "%s\n", indent(res.console))
	}
	if res.took > 0 {
		fmt.Fprintf(r.out, "%-7s ended after %v\n", label, res.took.Round(100*time.Millisecond))
	}
}

func (r *report) addDetails(s suiteResult) {
	for _, t := range s.tests {
		switch t.action {
		case "fail":
			fmt.Fprintf(r.out, "        --- %s\n%s\n", t.name, indent(tail([]byte(t.output), 60)))
		case "skip":
			fmt.Fprintf(r.out, "        skipped %s\n", t.name+reason(t.output))
		}
	}
	switch {
	case s.problem != "":
		fmt.Fprintf(r.out, "        --- %s\n%s\n", s.problem, indent(tail([]byte(s.output), 60)))
	case r.verbose || s.command:
		fmt.Fprintf(r.out, "%s\n", indent(strings.TrimSpace(s.output)))
	}
}

// reason returns what a skipped test said, without file and line.
func reason(output string) string {
	for line := range strings.Lines(output) {
		if _, text, found := strings.Cut(strings.TrimSpace(line), ".go:"); found {
			if _, said, found := strings.Cut(text, ": "); found {
				return ": " + said
			}
		}
	}
	return ""
}

// close prints the sums on a line of their own, and returns errFailed unless everything passed and there was something to pass.
func (r *report) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.total.passed, r.total.failed, r.total.skipped)
	switch {
	case r.total.failed > 0:
		return errFailed
	case r.total.passed == 0:
		return errNothingRan
	}
	return nil
}

func indent(text string) string {
	return "          " + strings.ReplaceAll(text, "\n", "\n          ")
}
