//go:build linux

package main

import (
	"errors"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	for _, tc := range []struct {
		name    string
		results []result
		want    error
		lines   []string
	}{
		{
			name: "good",
			results: []result{{suites: []suiteResult{{name: "tracer", counts: counts{passed: 3, skipped: 1}, tests: []testResult{
				{name: "TestB", action: "skip", output: "=== RUN   TestB\n    b_test.go:7: no BTF here\n--- SKIP: TestB (0.00s)\n"}}}}}},
			lines: []string{"3 passed, 0 failed, 1 skipped", "skipped TestB: no BTF here"},
		},
		{
			name:    "command",
			results: []result{{suites: []suiteResult{{name: "command", counts: counts{passed: 1}, command: true, output: "epwatch 1.0"}}}},
			lines:   []string{"1 passed, 0 failed, 0 skipped", "epwatch 1.0"},
		},
		{
			name: "failed",
			results: []result{{suites: []suiteResult{{name: "tracer", counts: counts{passed: 3, failed: 1}, tests: []testResult{
				{name: "TestB", action: "fail", output: "saw 22 of 23\n"}}}}}},
			want:  errFailed,
			lines: []string{"3 passed, 1 failed, 0 skipped", "saw 22 of 23"},
		},
		{
			name:    "no kernel",
			results: []result{{problem: "no network"}, {suites: []suiteResult{{name: "tracer", counts: counts{passed: 1}}}}},
			want:    errFailed,
			lines:   []string{"1 passed, 1 failed, 0 skipped", "FAIL no network"},
		},
		{
			name: "died after its tests",
			results: []result{{problem: "the guest stopped before it had finished", console: "Kernel panic",
				suites: []suiteResult{{name: "tracer", counts: counts{passed: 1}}}}},
			want:  errFailed,
			lines: []string{"1 passed, 1 failed, 0 skipped", "Kernel panic"},
		},
		{
			name:    "nothing ran",
			results: []result{{suites: []suiteResult{{name: "tracer", counts: counts{skipped: 5}}}}},
			want:    errNothingRan,
			lines:   []string{"0 passed, 0 failed, 5 skipped"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			r := newReport(&out, false)
			for _, res := range tc.results {
				r.add("6.12", res)
			}
			if err := r.close(); !errors.Is(err, tc.want) {
				t.Errorf("close() = %v, want %v", err, tc.want)
			}
			for _, line := range tc.lines {
				if !strings.Contains(out.String(), line) {
					t.Errorf("the report lacks %q:\n%s", line, out.String())
				}
			}
			if last := strings.Split(strings.TrimSpace(out.String()), "\n"); last[len(last)-1] != tc.lines[0] {
				t.Errorf("the last line is %q, want %q", last[len(last)-1], tc.lines[0])
			}
		})
	}
}
