package main

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/server"
)

// TestReports follows a build through its life: a fault fails it, is accepted, is known from then on, and is gone.
func TestReports(t *testing.T) {
	family := usableFamilies(t)[0]
	if inVM() {
		return // this is about files, not about the kernel's hooks
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	guilty, _ := server.ByName("et-partial")
	innocent, _ := server.ByName("lt")
	build := func(v server.Variant, more ...string) result {
		return runProgram(t, traceArgs(v, family, append([]string{
			"--quiet", "--fail-on", "any", "--report", "junit=" + at("out.xml"), "--report", "sarif=" + at("out.sarif"),
		}, more...)...)...)
	}

	failed := build(guilty)
	if failed.status != exitFinding || failed.stderr != "epwatch: checking et-partial: found et-unread (--fail-on)\n" {
		t.Errorf("the fault: status %d, %s", failed.status, failed.stderr)
	}
	if failures := junitFailures(t, at("out.xml")); !slices.Equal(failures, []string{"et-unread", "reset-on-close"}) {
		t.Errorf("JUnit says that %v failed", failures)
	}
	first := sarifPrints(t, at("out.sarif"), 0)

	written := build(guilty, "--baseline", at("known.json"), "--write-baseline")
	if written.status != exitDone || written.stderr != "" {
		t.Errorf("writing the baseline: status %d, %s", written.status, written.stderr)
	}
	b := baselineAt(t, at("known.json"))
	var accepted []string
	for _, a := range b.Accepted {
		accepted = append(accepted, a.Fingerprint)
	}
	if !slices.Equal(accepted, first) || len(first) != 2 || !strings.HasPrefix(first[0], "et-unread/epwatch") || !strings.HasSuffix(first[0], "/accepted/ET") {
		t.Errorf("%q were found, %q are accepted", first, accepted)
	}

	known := build(guilty, "--baseline", at("known.json"))
	if known.status != exitDone || known.stderr != "" {
		t.Errorf("the known fault: status %d, %s", known.status, known.stderr)
	}
	for _, f := range parse(t, known.stdout).of("finding") {
		if f.Accepted == nil || f.Severity == "info" {
			t.Errorf("%s (%s) is accepted as %v", f.Check, f.Severity, f.Accepted)
		}
	}
	checkSchema(t, known.stdout, "finding", "summary")
	if failures := junitFailures(t, at("out.xml")); len(failures) > 0 {
		t.Errorf("JUnit says that %v failed", failures)
	}
	if again := sarifPrints(t, at("out.sarif"), 1); !slices.Equal(again, first) {
		t.Errorf("SARIF has %q, then %q", first, again)
	}

	repaired := build(innocent, "--baseline", at("known.json"))
	if s := parse(t, repaired.stdout).summary(); repaired.status != exitDone || !slices.Equal(s.Stale, first) {
		t.Errorf("after the repair: status %d, stale %q", repaired.status, s.Stale)
	}
}

// junitFailures returns the failed cases of a report that must have one for each check.
func junitFailures(t *testing.T, path string) []string {
	t.Helper()
	var report struct {
		Cases []struct {
			Name    string    `xml:"name,attr"`
			Failure *struct{} `xml:"failure"`
		} `xml:"testsuite>testcase"`
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(b, &report); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if len(report.Cases) != len(diagnose.Checks()) {
		t.Errorf("%d cases for %d checks", len(report.Cases), len(diagnose.Checks()))
	}
	var failed []string
	for _, c := range report.Cases {
		if c.Failure != nil {
			failed = append(failed, c.Name)
		}
	}
	return failed
}

// sarifPrints returns the fingerprints of a log whose results all have that many suppressions.
func sarifPrints(t *testing.T, path string, suppressed int) []string {
	t.Helper()
	var log struct {
		Runs []struct {
			Results []struct {
				PartialFingerprints map[string]string
				Suppressions        []any
			}
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &log); err != nil {
		t.Fatal(err)
	}
	var prints []string
	for _, r := range log.Runs[0].Results {
		prints = append(prints, r.PartialFingerprints["epwatch/v1"])
		if len(r.Suppressions) != suppressed {
			t.Errorf("%v has %d suppressions", r.PartialFingerprints, len(r.Suppressions))
		}
	}
	return prints
}

func baselineAt(t *testing.T, path string) *diagnose.Baseline {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := diagnose.ReadBaseline(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReportThatCannotBeWritten: a full disk is told, and is no finding.
func TestReportThatCannotBeWritten(t *testing.T) {
	family := usableFamilies(t)[0]
	if inVM() {
		return // this is about files, not about the kernel's hooks
	}
	v, _ := server.ByName("lt")
	got := runProgram(t, traceArgs(v, family, "--quiet", "--report", "junit=/dev/full")...)
	if got.status != exitFailed || !strings.Contains(got.stderr, "writing the report: /dev/full: no space left on device") {
		t.Errorf("status %d, %s", got.status, got.stderr)
	}
}
