//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/epwatch/epwatch/test/vm/plan"
)

// suiteResult is what became of one suite on one kernel.
type suiteResult struct {
	name    string
	counts  counts
	tests   []testResult // those that failed or were skipped
	problem string       // why the suite failed as a whole; empty if it did not
	output  string       // everything that it wrote
	command bool         // not tests: what it wrote is what was asked for
	took    time.Duration
}

// counts are tests by their end; subtests count, as they do for go test.
type counts struct {
	passed, failed, skipped int
}

func (c *counts) add(other counts) {
	c.passed += other.passed
	c.failed += other.failed
	c.skipped += other.skipped
}

// testResult is one test.
type testResult struct {
	name   string
	action string // pass, fail or skip
	output string
}

// section is the part of the stream between a suite's marks.
type section struct {
	output []byte
	exit   *plan.Mark // nil if the guest died meanwhile
}

// readStream turns what the guest wrote into results and leaves each suite's part in logs, as it was and as JSON.
func readStream(ctx context.Context, stream []byte, logs string, suites []testSuite) (result, error) {
	sections, done := split(stream)
	var r result
	if !done {
		r.problem = "the guest stopped before it had finished"
	}
	for _, suite := range suites {
		found, started := sections[suite.name]
		if !started {
			r.suites = append(r.suites, suiteResult{name: suite.name, counts: counts{failed: 1}, problem: "did not start"})
			continue
		}
		judged, err := judge(ctx, suite, *found, logs)
		if err != nil {
			return r, err
		}
		r.suites = append(r.suites, judged)
	}
	return r, nil
}

// split cuts the stream at its marks and says whether the last of them is there.
func split(stream []byte) (sections map[string]*section, done bool) {
	sections = map[string]*section{}
	var open *section
	for line := range bytes.Lines(stream) {
		mark, isMark := plan.ParseMark(bytes.TrimSuffix(line, []byte("\n")))
		switch {
		case !isMark && open != nil:
			open.output = append(open.output, line...)
		case mark.Step == plan.Start:
			open = &section{}
			sections[mark.Suite] = open
		case mark.Step == plan.Exit && open != nil:
			open.exit, open = &mark, nil
		case mark.Step == plan.Done:
			done = true
		}
	}
	return sections, done
}

// judge counts one suite's tests and finds out whether it failed in another way than by a test.
func judge(ctx context.Context, suite testSuite, s section, logs string) (suiteResult, error) {
	r := suiteResult{name: suite.name, output: string(s.output), command: suite.importPath == ""}
	base := filepath.Join(logs, strings.ReplaceAll(suite.name, "/", "-"))
	if err := os.WriteFile(base+".log", s.output, 0o644); err != nil {
		return r, fmt.Errorf("writing the logs: %w", err)
	}
	if suite.importPath != "" {
		events, err := testToJSON(ctx, suite.importPath, s.output)
		if err != nil {
			return r, err
		}
		if err := os.WriteFile(base+".json", events, 0o644); err != nil {
			return r, fmt.Errorf("writing the logs: %w", err)
		}
		if r.counts, r.tests, err = count(bytes.NewReader(events)); err != nil {
			return r, err
		}
	}
	switch {
	case s.exit == nil:
		r.problem = "the guest died while this ran"
	case s.exit.Problem != "":
		r.problem = s.exit.Problem
	case s.exit.Code != 0 && r.counts.failed == 0:
		r.problem = fmt.Sprintf("exit status %d without a failed test", s.exit.Code)
	case suite.importPath != "" && r.counts == (counts{}) && !suite.mayBeEmpty:
		r.problem = "no test ran"
	}
	if s.exit != nil {
		r.took = s.exit.Took
	}
	switch {
	case r.problem != "":
		r.counts.failed++
	case suite.importPath == "":
		r.counts.passed++
	}
	return r, nil
}

// testToJSON runs the toolchain's own converter, which alone knows every form of a test binary's output.
func testToJSON(ctx context.Context, importPath string, output []byte) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json", "-p", importPath)
	cmd.Stdin = bytes.NewReader(output)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	events, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running go tool test2json: %w: %s", err, lastLine(stderr.Bytes()))
	}
	return events, nil
}

// count reads test2json's events. A test that began and never ended has failed: its binary died with it.
func count(events io.Reader) (counts, []testResult, error) {
	var order []*testResult
	latest := map[string]*testResult{} // -count repeats names
	for decoder := json.NewDecoder(events); ; {
		var event struct{ Action, Test, Output string }
		err := decoder.Decode(&event)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return counts{}, nil, fmt.Errorf("reading test2json's output: %w", err)
		}
		if event.Test == "" {
			continue
		}
		t := latest[event.Test]
		if t == nil || event.Action == "run" {
			t = &testResult{name: event.Test}
			latest[event.Test] = t
			order = append(order, t)
		}
		switch event.Action {
		case "output":
			t.output += event.Output
		case "pass", "fail", "skip":
			t.action = event.Action
		}
	}
	var c counts
	var notable []testResult
	for _, t := range order {
		switch t.action {
		case "pass":
			c.passed++
			continue
		case "skip":
			c.skipped++
		case "":
			t.output += "(did not end)\n"
			t.action = "fail"
			fallthrough
		default:
			c.failed++
		}
		notable = append(notable, *t)
	}
	return c, notable, nil
}
