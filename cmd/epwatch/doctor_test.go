package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/tracer"
)

func reported() []string {
	return []string{"calls", "wakeup", "recv", "reset", "state", "release", "process", "sched", "woken"}
}

// reportOf makes a report where each event has the given answers, fentry first.
func reportOf(answers map[string][3]tracer.Answer) *tracer.Report {
	r := &tracer.Report{
		Release: "6.18.44", Attached: true,
		BTF:        tracer.Fact{Answer: tracer.Yes, Detail: "/sys/kernel/btf/vmlinux"},
		RingBuffer: tracer.Fact{Answer: tracer.Yes},
		Lockdown:   tracer.Fact{Answer: tracer.No, Detail: "the kernel is locked down to confidentiality", Remedy: "boot without lockdown=confidentiality"},
		Capabilities: []tracer.Privilege{
			{Name: "CAP_BPF", Held: tracer.Yes, Why: "loading programs", Needed: true},
			{Name: "CAP_SYSLOG", Held: tracer.No, Why: "kernel addresses"},
			{Name: "CAP_PERFMON", Held: tracer.Unknown, Why: "tracing the kernel", Needed: true},
		},
		Families: []tracer.FamilyRow{{Family: tracer.Kprobe, Fact: tracer.Fact{Answer: tracer.No, Detail: "kprobes are not compiled in", Remedy: "CONFIG_KPROBES"}}},
	}
	for _, event := range reported() {
		for i, f := range tracer.Families() {
			row := tracer.Row{Event: event, Family: f, Required: event == "calls" || event == "wakeup", Fact: tracer.Fact{Answer: answers[event][i]}}
			switch {
			case event == "calls":
				row.Misses = "io_uring operations"
			case f == tracer.Tracepoint && event == "wakeup":
				row.Misses = "files that are not sockets"
			}
			if row.Answer == tracer.No {
				row.Detail, row.Remedy = "kprobes are not compiled in", "CONFIG_KPROBES"
			}
			if row.Answer == tracer.Unknown {
				row.Detail = "not allowed to look, and this goes on for so long that the line has to be broken somewhere, as one can see"
			}
			r.Rows = append(r.Rows, row)
		}
	}
	return r
}

func everywhere(a, b, c tracer.Answer) map[string][3]tracer.Answer {
	m := map[string][3]tracer.Answer{}
	for _, e := range reported() {
		m[e] = [3]tracer.Answer{a, b, c}
	}
	return m
}

func answersOf(r *tracer.Report) map[string]string {
	out := map[string]string{}
	for _, c := range availability(r) {
		out[c.Check] = c.Answer
		if c.Reason != "" {
			out[c.Check] += ": " + c.Reason
		}
	}
	return out
}

func TestAvailability(t *testing.T) {
	same := func(words string) map[string]string {
		return map[string]string{"et-unread": words, "oneshot-disarmed": words, "close-wait": words, "reset-on-close": words, "loop-stall": words}
	}
	noRelease := everywhere(tracer.No, tracer.Yes, tracer.Yes)
	noRelease["release"] = [3]tracer.Answer{tracer.No, tracer.No, tracer.No}
	withoutRelease := same("in part: no release")
	withoutRelease["loop-stall"] = "in full"
	noReset := everywhere(tracer.Yes, tracer.No, tracer.No)
	noReset["reset"] = [3]tracer.Answer{tracer.No, tracer.No, tracer.No}
	doubtful := everywhere(tracer.Yes, tracer.No, tracer.No)
	doubtful["reset"] = [3]tracer.Answer{tracer.No, tracer.Unknown, tracer.No}
	tracepoints := same("in part: wakeup without files that are not sockets")
	tracepoints["reset-on-close"] = "in full"
	withoutReset := same("in full")
	withoutReset["reset-on-close"] = "not at all: no reset"
	unsureReset := same("in full")
	unsureReset["reset-on-close"] = "could not tell: about reset"
	yes := [3]tracer.Answer{tracer.Yes, tracer.Yes, tracer.Yes}
	for _, c := range []struct {
		name    string
		answers map[string][3]tracer.Answer
		want    map[string]string
	}{
		{"fentry", everywhere(tracer.Yes, tracer.No, tracer.No), same("in full")},
		{"tracepoints only", everywhere(tracer.No, tracer.No, tracer.Yes), tracepoints},
		{"no release", noRelease, withoutRelease},
		{"no reset", noReset, withoutReset},
		{"unsure about reset", doubtful, unsureReset},
		{"nothing", everywhere(tracer.No, tracer.No, tracer.No), map[string]string{
			"et-unread": "not at all: no calls, wakeup, recv", "oneshot-disarmed": "not at all: no calls, wakeup, recv",
			"close-wait": "not at all: no calls, state", "reset-on-close": "not at all: no calls, reset, process",
			"loop-stall": "not at all: no calls, wakeup",
		}},
		{"nobody woken", map[string][3]tracer.Answer{"calls": yes, "wakeup": yes, "recv": yes, "state": yes, "woken": {tracer.No, tracer.No, tracer.No}},
			map[string]string{
				"busy-loop": "in part: no woken", "thundering-herd": "not at all: no woken", "spurious-wakeup": "in full",
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := answersOf(reportOf(c.answers))
			if len(got) != len(diagnose.Checks()) {
				t.Errorf("%d checks are answered, want all %d", len(got), len(diagnose.Checks()))
			}
			// The checks that need the most different things speak for the others.
			maps.DeleteFunc(got, func(check, _ string) bool { return c.want[check] == "" })
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if got := answersOf(&tracer.Report{})["et-unread"]; !strings.HasPrefix(got, "not at all") {
		t.Errorf("without BTF: %s", got)
	}
}

func TestDoctorText(t *testing.T) {
	answers := everywhere(tracer.Yes, tracer.No, tracer.Yes)
	answers["recv"] = [3]tracer.Answer{tracer.Unknown, tracer.No, tracer.Unknown}
	r := reportOf(answers)
	r.Attached = false
	var out bytes.Buffer
	if err := doctorText(&out, r); err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(out.String(), "\n") // the first line has this build's version
	path := filepath.Join("testdata", "doctor.txt")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for line := range strings.Lines(text) {
		if utf8.RuneCountInString(line) > render.Columns+1 {
			t.Errorf("too long: %s", line)
		}
	}
}

func TestDoctorJSON(t *testing.T) {
	var out bytes.Buffer
	if err := doctorJSON(&out, reportOf(everywhere(tracer.Yes, tracer.No, tracer.Unknown))); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for line := range bytes.Lines(out.Bytes()) {
		var v struct{ Type, Answer string }
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		count[v.Type]++
		if v.Type == "hook" && v.Answer != "yes" && v.Answer != "no" && v.Answer != "could not tell" {
			t.Errorf("answer %q", v.Answer)
		}
	}
	if diff := cmp.Diff(map[string]int{"doctor": 1, "fact": 5, "privilege": 3, "hook": 27, "check": len(diagnose.Checks())}, count); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if strings.Contains(out.String(), "null") {
		t.Error("JSON has a null")
	}
}
