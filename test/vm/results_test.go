//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/epwatch/epwatch/test/vm/plan"
)

// stream is what a guest writes: marks, and strings for the output between them.
func stream(t *testing.T, parts ...any) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, part := range parts {
		switch part := part.(type) {
		case string:
			out.WriteString(part)
		case plan.Mark:
			line, err := part.Line()
			if err != nil {
				t.Fatal(err)
			}
			out.Write(line)
		}
	}
	return out.Bytes()
}

// goodOutput is the form of -test.v=test2json.
const goodOutput = "\x16=== RUN   TestA\n\x16--- PASS: TestA (0.00s)\n\x16=== NAME  \n\x16=== RUN   TestB\n    b_test.go:7: no BTF here\n" +
	"\x16--- SKIP: TestB (0.00s)\n\x16=== NAME  \n\x16PASS\n"

func TestReadStream(t *testing.T) {
	start, exit, done := plan.Mark{Step: plan.Start, Suite: "a"}, plan.Mark{Step: plan.Exit, Suite: "a"}, plan.Mark{Step: plan.Done}
	failed, hung := exit, exit
	failed.Code = 1
	hung.Code, hung.Problem = -1, "killed after 1s"
	for _, tc := range []struct {
		name    string
		stream  []byte
		want    counts
		suite   string // part of the suite's problem
		problem string // part of the guest's problem
	}{
		{"good", stream(t, start, goodOutput, exit, done), counts{1, 0, 1}, "", ""},
		{"no test", stream(t, start, "testing: warning: no tests to run\n\x16PASS\n", exit, done), counts{0, 1, 0}, "no test ran", ""},
		{"test failed", stream(t, start, "\x16=== RUN   TestA\n\x16--- FAIL: TestA (0.00s)\n\x16=== NAME  \n\x16FAIL\n", failed, done), counts{0, 1, 0}, "", ""},
		{"failed outside of tests", stream(t, start, goodOutput, failed, done), counts{1, 1, 1}, "exit status 1", ""},
		{"hung in a test", stream(t, start, "\x16=== RUN   TestA\n", hung, done), counts{0, 2, 0}, "killed after", ""},
		{"guest died in a test", stream(t, start, "\x16=== RUN   TestA\n"), counts{0, 2, 0}, "the guest died", "stopped before"},
		{"guest died between suites", stream(t, start, goodOutput, exit), counts{1, 0, 1}, "", "stopped before"},
		{"guest died at boot", nil, counts{0, 1, 0}, "did not start", "stopped before"},
		{"half a mark", bytes.TrimRight(stream(t, start, goodOutput, exit), "}\n"), counts{1, 1, 1}, "the guest died", "stopped before"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := readStream(context.Background(), tc.stream, t.TempDir(), []testSuite{{name: "a", importPath: "example.org/a"}})
			if err != nil {
				t.Fatal(err)
			}
			s := r.suites[0]
			if s.counts != tc.want {
				t.Errorf("counts = %+v, want %+v", s.counts, tc.want)
			}
			wantText(t, "the suite's problem", s.problem, tc.suite)
			wantText(t, "the guest's problem", r.problem, tc.problem)
		})
	}
}

func wantText(t *testing.T, what, got, part string) {
	t.Helper()
	if (got == "") != (part == "") || !strings.Contains(got, part) {
		t.Errorf("%s = %q, want %q in it", what, got, part)
	}
}

func TestReadStreamKeepsSuitesApart(t *testing.T) {
	logs := t.TempDir()
	raw := stream(t,
		plan.Mark{Step: plan.Start, Suite: "a"}, "\x16=== RUN   TestA\n\x16--- PASS: TestA (0.00s)\n\x16=== NAME  \n\x16PASS\nunended line", plan.Mark{Step: plan.Exit, Suite: "a"},
		plan.Mark{Step: plan.Start, Suite: "b/c"}, goodOutput+goodOutput, plan.Mark{Step: plan.Exit, Suite: "b/c"}, plan.Mark{Step: plan.Done})
	r, err := readStream(context.Background(), raw, logs, []testSuite{{name: "a", importPath: "a"}, {name: "b/c", importPath: "b/c"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.suites[0].counts, (counts{1, 0, 0}); got != want {
		t.Errorf("a: %+v, want %+v", got, want)
	}
	if got, want := r.suites[1].counts, (counts{2, 0, 2}); got != want {
		t.Errorf("b/c, whose tests ran twice: %+v, want %+v", got, want)
	}
	for _, name := range []string{"a.log", "a.json", "b-c.log", "b-c.json"} {
		if _, err := os.Stat(filepath.Join(logs, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestReadStreamCountsACommand(t *testing.T) {
	raw := stream(t, plan.Mark{Step: plan.Start, Suite: "command"}, "hello\n", plan.Mark{Step: plan.Exit, Suite: "command"}, plan.Mark{Step: plan.Done})
	r, err := readStream(context.Background(), raw, t.TempDir(), []testSuite{{name: "command"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.suites[0].counts, (counts{1, 0, 0}); got != want || !strings.Contains(r.suites[0].output, "hello") {
		t.Errorf("counts = %+v, output %q; want %+v and hello", got, r.suites[0].output, want)
	}
}
