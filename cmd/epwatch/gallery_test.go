package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/server"
	"github.com/epwatch/epwatch/tracer"
)

// galleryRunsVariable overrides how often each piece of the gallery is run in a row.
const galleryRunsVariable = "EPWATCH_GALLERY_RUNS"

func galleryRuns(t *testing.T, otherwise int) int {
	t.Helper()
	if s := os.Getenv(galleryRunsVariable); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("%s=%q is no number of runs", galleryRunsVariable, s)
		}
		return n
	}
	return otherwise
}

// sideBySide is how many traces run at once: they mostly wait, but each one's programs are run by the calls of all.
const sideBySide = 4

// TestList: everything that can be run has its line, in order and within the page.
func TestList(t *testing.T) {
	out := runProgram(t, "list").stdout
	for _, v := range variants() {
		before, after, ok := strings.Cut(out, "\n"+v.Name+" ")
		if !ok || !strings.HasPrefix(strings.TrimLeft(after, " "), v.Teaches+"\n") {
			t.Fatalf("%s does not stand where it should, with %q", v.Name, v.Teaches)
		}
		out = out[len(before):]
	}
}

// TestTraceGallery runs each piece of the gallery many times in a row: each run shows every claim, matches the journal, loses
// nothing, and finds exactly what it must. In a VM TestSelftest does so once.
func TestTraceGallery(t *testing.T) {
	families := usableFamilies(t)
	if inVM() {
		return // TestSelftest runs it here
	}
	t.Parallel()
	runGallery(t, families, galleryRuns(t, 6)) // 20 take five minutes
}

// TestTraceGalleryUnderLoad runs it on processors that others would like to have as well.
func TestTraceGalleryUnderLoad(t *testing.T) {
	families := usableFamilies(t)
	if inVM() {
		return // there is load enough here
	}
	for range runtime.NumCPU() {
		hog := exec.Command("sh", "-c", "while :; do :; done")
		if err := hog.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = hog.Process.Kill(); _ = hog.Wait() })
	}
	runGallery(t, families[:1], galleryRuns(t, 1), "--client-timeout", (2 * testTimeout()).String())
}

func runGallery(t *testing.T, families []tracer.Family, runs int, more ...string) {
	t.Helper()
	turns := make(chan bool, sideBySide)
	var under sync.WaitGroup
	for _, family := range families {
		for _, v := range gallery() {
			under.Go(func() {
				for i := range runs {
					turns <- true
					wrong := checkPiece(v, runProgram(t, traceArgs(v, family, more...)...))
					<-turns
					if wrong != "" {
						t.Errorf("%s by %s, run %d: %s", v.Name, family, i+1, wrong)
						return
					}
				}
			})
		}
	}
	under.Wait()
}

// checkPiece says what is wrong with one run of a piece, empty when nothing is.
func checkPiece(v server.Variant, got result) string {
	if got.status != exitDone || got.stderr != "" {
		return fmt.Sprintf("status %d: %s\n%s", got.status, got.stderr, telling(got.stdout))
	}
	r, err := parseRecording(got.stdout)
	if err != nil {
		return err.Error()
	}
	var want, found, wrong []string
	for _, e := range v.Expect {
		if !e.Perhaps {
			want = append(want, e.Check)
		}
	}
	for _, f := range r.findings() {
		perhaps := func(e server.ExpectedFinding) bool { return e.Check == f.Check && e.Perhaps }
		if !slices.ContainsFunc(v.Expect, perhaps) {
			found = append(found, f.Check)
		}
		if len(f.Evidence) == 0 {
			wrong = append(wrong, f.Check+" has no evidence")
		}
	}
	slices.Sort(want)
	slices.Sort(found)
	if diff := cmp.Diff(want, found); diff != "" {
		wrong = append(wrong, "findings: -want +got:\n"+diff)
	}
	if n := len(r.of("claim")); n != len(v.Claims) {
		wrong = append(wrong, fmt.Sprintf("%d claims of %d", n, len(v.Claims)))
	}
	for _, c := range r.of("claim") {
		if c.Answer != "shown" {
			wrong = append(wrong, fmt.Sprintf("claim %v: %s: %s", c.ID, c.Answer, c.Why))
		}
	}
	if j := r.of("journal")[0]; j.Matched != j.Entries || j.Receives != j.Entries || len(j.Unmatched) > 0 || j.Lost > 0 {
		wrong = append(wrong, fmt.Sprintf("journal: %+v", j))
	}
	if s := r.summary(); s.Matched != s.Receives || len(s.Unmatched) > 0 || s.Lost > 0 || s.Ended != "" {
		wrong = append(wrong, fmt.Sprintf("summary: %+v", s))
	}
	if len(wrong) > 0 {
		wrong = append(wrong, telling(got.stdout))
	}
	return strings.Join(wrong, "\n")
}

// telling is the end of a long recording.
func telling(out string) string { return out[max(0, len(out)-20_000):] }

// TestTraceTwinsDiffer holds each server's claims against a run of its other half: at least one of those that need nothing but the events
// must fail there, or they would not show what the marked line does.
func TestTraceTwinsDiffer(t *testing.T) {
	family := usableFamilies(t)[0]
	if inVM() {
		return // does not depend on the kernel
	}
	recorded := map[string]*server.Facts{}
	facts := func(v server.Variant) *server.Facts {
		if recorded[v.Name] == nil {
			recorded[v.Name] = factsOf(t, parse(t, runProgram(t, traceArgs(v, family)...).stdout))
		}
		return recorded[v.Name]
	}
	for _, v := range gallery() {
		if v.Partner == "" {
			continue
		}
		partner, _ := server.ByName(v.Partner)
		own, other := server.Evaluate(v, facts(v)), server.Evaluate(v, facts(partner))
		differs := false
		for i := range own {
			differs = differs || own[i].OK && !other[i].OK
		}
		if !differs {
			t.Errorf("%s: its claims hold for %s as well", v.Name, partner.Name)
		}
	}
}

// factsOf are the facts that a recording holds: the events, and who the client was.
func factsOf(t *testing.T, r *recording) *server.Facts {
	t.Helper()
	f := &server.Facts{Events: r.events}
	f.Client.Timeout = testTimeout()
	for _, l := range r.of("line") {
		var remote, local string
		if n, _ := fmt.Sscanf(l.Text, "connected to %s from %s", &remote, &local); n == 2 {
			f.Client.Local, f.Client.Remote = netip.MustParseAddrPort(local), netip.MustParseAddrPort(remote)
			return f
		}
	}
	t.Fatal("the recording does not say who the client was")
	return nil
}

// TestSelftest runs everything once by way of selftest. In a VM, where attaching takes seconds, that is half of the gallery without the
// documented variants, and the families take turns from pair to pair.
func TestSelftest(t *testing.T) {
	families := usableFamilies(t)
	t.Parallel()
	names := map[tracer.Family][]string{}
	for i, v := range variants() {
		switch {
		case !inVM():
			for _, f := range families {
				names[f] = append(names[f], v.Name)
			}
		case v.Check != "" && inThisVM(i/2):
			f := families[i/4%len(families)]
			names[f] = append(names[f], v.Name)
		}
	}
	for family, chosen := range names {
		args := append([]string{"selftest", "--format", "json", "--backend", string(family), "--client-timeout", testTimeout().String()}, chosen...)
		got := runFor(t, selftestDeadline, args...)
		if got.status != exitDone || got.stderr != "" {
			t.Errorf("%s: status %d: %s\n%s", family, got.status, got.stderr, got.stdout)
			continue
		}
		checkTrialSchema(t, got.stdout)
		for i, raw := range strings.Split(strings.TrimSpace(got.stdout), "\n") {
			if i < len(chosen) && !strings.Contains(raw, strconv.Quote(chosen[i])) {
				t.Errorf("line %d is not of %s: %s", i+1, chosen[i], raw)
			}
			if strings.Contains(raw, `"unknown"`) {
				t.Log(raw)
			}
		}
	}
}

// inThisVM reports whether a pair's turn is on this VM's kernel: each is run by two kernels of the four, an old one and a new one,
// unless EPWATCH_GALLERY=all asks for everything.
func inThisVM(pair int) bool {
	if os.Getenv("EPWATCH_GALLERY") == "all" {
		return true
	}
	odd := map[string]bool{"6.12": true, "5.10": true}
	return (pair%2 == 1) == odd[os.Getenv("EPWATCH_VM")]
}

func checkTrialSchema(t *testing.T, out string) {
	t.Helper()
	if inVM() {
		return // the page is not there
	}
	used := map[string]bool{}
	if err := readSchema(t).check(out, used); err != nil {
		t.Error(err)
	}
	if !used["selftest"] || !used["selftest-summary"] {
		t.Errorf("lines are missing:\n%s", out)
	}
}

func TestSelftestText(t *testing.T) {
	needTracing(t)
	if inVM() {
		return // does not depend on the kernel
	}
	got := runProgram(t, "selftest", "lost-eof-fixed", "et-drain")
	if got.status != exitDone || got.stderr != "" {
		t.Fatalf("status %d: %s\n%s", got.status, got.stderr, got.stdout)
	}
	for _, want := range []string{"✓ et-drain", "6/6  yes", "✓ lost-eof-fixed", "2 as expected, 0 unknown, 0 not as expected"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("the table lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(got.stdout)
	}
}
