package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/server"
)

// trialResult is what came of one server's trial.
type trialResult string

const (
	trialOK      trialResult = "ok"
	trialFailed  trialResult = "failed"
	trialUnknown trialResult = "unknown" // as far as it can be told here
)

// trial is one run of a server. It is a process of its own, since a trace gives its privileges up once it is attached.
type trial struct {
	Type     string      `json:"type"`
	Name     string      `json:"name"`
	Result   trialResult `json:"result"`
	Shown    int         `json:"shown"`
	Claims   int         `json:"claims"`
	Findings string      `json:"findings"` // yes: as expected; no; unknown
	Duration int64       `json:"duration"`
	Reason   string      `json:"reason,omitempty"`

	kernel, hooks string
}

// trialPatience bounds a trial beyond what its client's time-outs take.
const trialPatience = 2 * time.Minute

// tryOut runs one server. The error says why nothing could be tried.
func tryOut(ctx context.Context, v server.Variant, f *selftestFlags) (*trial, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the epwatch program: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, trialPatience)
	defer cancel()
	args := []string{"epwatch", "trace", v.Name, "--format=json", "--quiet", "--client-timeout=" + f.timeout.String()}
	if f.backend != "" {
		args = append(args, "--backend="+string(f.backend))
	}
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, exe, args[1:]...)
	cmd.Args = args
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = childPatience + patience
	// A group of its own, so that Ctrl-C comes to it by way of this process, and once.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	begin := time.Now()
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
		return nil, err
	}
	t := &trial{Type: "selftest", Name: v.Name, Duration: time.Since(begin).Nanoseconds()}
	words, _, _ := strings.Cut(strings.TrimSpace(errOut.String()), "\n")
	words = strings.TrimPrefix(strings.TrimPrefix(words, "epwatch: "), "running "+v.Name+": ")
	said, err := readTrace(&out)
	if err != nil {
		if words != "" {
			err = errors.New(words)
		}
		return nil, err
	}
	t.judge(v, said, cmd.ProcessState.Success(), words)
	return t, nil
}

// errNoAnswer is a trace that said nothing at all.
var errNoAnswer = errors.New("the trace said nothing")

// traceOutput is what a trial looks at of a trace's output.
type traceOutput struct {
	meta    traceLine
	claims  []traceLine
	summary traceLine
}

// traceLine has the fields of the lines of all types that count.
type traceLine struct {
	Type       string
	Kernel     string
	Hooks      []render.Hook
	Missing    map[string]string
	ID         json.RawMessage
	Answer     render.Answer
	Why        string
	Lost       uint64
	Checks     []render.Verdict
	Departures []string
}

func readTrace(out *bytes.Buffer) (*traceOutput, error) {
	var t traceOutput
	for d := json.NewDecoder(out); d.More(); {
		var l traceLine
		if err := d.Decode(&l); err != nil {
			return nil, fmt.Errorf("reading the trace: %w", err)
		}
		switch l.Type {
		case "meta":
			t.meta = l
		case "claim":
			t.claims = append(t.claims, l)
		case "summary":
			t.summary = l
		}
	}
	if t.meta.Type == "" {
		return nil, errNoAnswer
	}
	return &t, nil
}

// judge compares what a trace said with what it must say.
func (t *trial) judge(v server.Variant, said *traceOutput, success bool, words string) {
	t.kernel, t.hooks = said.meta.Kernel, familiesOf(said.meta.Hooks)
	t.Claims = len(v.Claims)
	var wrong []string
	for _, c := range said.claims {
		if c.Answer == render.Shown {
			t.Shown++
		} else {
			wrong = append(wrong, fmt.Sprintf("claim %s: %s", strings.Trim(string(c.ID), `"`), cmp.Or(c.Why, string(c.Answer))))
		}
	}
	wrong = append(wrong, said.summary.Departures...)
	unknown, doubt := unanswered(v, said)
	if doubt != "" {
		wrong = append(wrong, doubt)
	}
	switch {
	case len(said.summary.Departures) > 0 || doubt != "" || said.summary.Type == "":
		t.Findings = "no"
	case unknown != "":
		t.Findings = "unknown"
	default:
		t.Findings = "yes"
	}
	switch {
	case !success || t.Shown < t.Claims || t.Findings == "no":
		t.Result, t.Reason = trialFailed, strings.Join(slices.DeleteFunc(append([]string{words}, wrong...), isEmpty), "; ")
	case unknown != "":
		t.Result, t.Reason = trialUnknown, unknown
	default:
		t.Result = trialOK
	}
}

func isEmpty(s string) bool { return s == "" }

// unanswered says which check that the server is about has no answer here. Where a hook is missing, or for one that has
// nothing to show, that is unknown; a guilty server whose check could have answered and did not is in doubt.
func unanswered(v server.Variant, said *traceOutput) (unknown, doubt string) {
	about := []string{v.Check}
	for _, e := range v.Expect {
		about = append(about, e.Check)
	}
	for _, c := range said.summary.Checks {
		if c.Result != string(diagnose.UnknownNow) || !slices.Contains(about, c.Check) {
			continue
		}
		why := c.Check + ": " + c.Reason
		if len(v.Expect) > 0 && said.meta.Missing[c.Check] == "" {
			return "", why
		}
		unknown = why
	}
	return unknown, ""
}

// familiesOf names the families of a trace's hooks.
func familiesOf(hooks []render.Hook) string {
	var out []string
	for _, h := range hooks {
		if h.Family != "" && !slices.Contains(out, h.Family) {
			out = append(out, h.Family)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
