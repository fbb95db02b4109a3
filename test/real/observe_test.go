//go:build linux

package real

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/epwatch/epwatch/internal/event"
)

// observation is an epwatch attach under way, or done.
type observation struct {
	*process
	path string
}

// attach returns when everything is attached.
func attach(t *testing.T, pids []int, flags ...string) *observation {
	t.Helper()
	o := beginAttach(t, pids, flags...)
	o.await(t)
	return o
}

func beginAttach(t *testing.T, pids []int, flags ...string) *observation {
	t.Helper()
	program, err := built.path()
	if err != nil {
		t.Fatal(err)
	}
	o := &observation{path: filepath.Join(t.TempDir(), "observation.jsonl")}
	args := append([]string{"attach", "--format", "json", "--output", o.path, "--ready-file", o.ready()}, flags...)
	for _, pid := range pids {
		args = append(args, strconv.Itoa(pid))
	}
	o.process = start(t, nil, program, args...)
	return o
}

func (o *observation) ready() string { return o.path + ".ready" }

func (o *observation) await(t *testing.T) {
	t.Helper()
	attached := func() bool { _, err := os.Stat(o.ready()); return err == nil || !o.running() }
	if err := until(deadline, attached); err != nil || !o.running() {
		t.Fatalf("attaching: %v, %v\n%s", err, o.err, o.output)
	}
}

// end interrupts the observation and reads what it wrote.
func (o *observation) end(t *testing.T) *recording {
	t.Helper()
	if err := o.interrupt(t); err != nil {
		t.Fatalf("ending the observation: %v\n%s", err, o.output)
	}
	if o.output.Len() > 0 {
		t.Errorf("epwatch said: %s", o.output)
	}
	return read(t, o.path)
}

// recording is what one observation came to. The events stay in the file: there may be millions.
type recording struct {
	path     string
	findings map[int]finding // the last word on each
	notes    []string
	summary  *summary
}

type finding struct {
	ID       int
	Check    string
	Severity string
	Outcome  string
	PID      uint32
	FD       int32
	File     uint32
	Message  string
	Evidence []uint64
	raw      string
}

type summary struct {
	Duration  int64
	Events    map[string]uint64
	Lost      uint64
	Missed    uint64
	Reads     uint64
	Receives  uint64
	Matched   uint64
	Unmatched []struct {
		Reason string
		Count  uint64
	}
	Unknown  []struct{ Check, Reason string }
	Findings map[string]int
	Rate     float64 `json:"events_per_second"`
}

func read(t *testing.T, path string) *recording {
	t.Helper()
	r := &recording{path: path, findings: map[int]finding{}}
	r.lines(t, func(kind string, raw []byte) {
		switch kind {
		case "finding":
			f := finding{raw: string(raw)}
			decode(t, raw, &f)
			r.findings[f.ID] = f
		case "note":
			var n struct{ Text string }
			decode(t, raw, &n)
			r.notes = append(r.notes, n.Text)
		case "summary":
			decode(t, raw, &r.summary)
		}
	})
	if r.summary == nil {
		t.Fatalf("%s has no summary", path)
	}
	return r
}

func decode(t *testing.T, raw []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
}

// lines calls for every line with its type, which is its first field.
func (r *recording) lines(t *testing.T, each func(kind string, raw []byte)) {
	t.Helper()
	f, err := os.Open(r.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		rest, ok := strings.CutPrefix(string(in.Bytes()[:min(40, len(in.Bytes()))]), `{"type":"`)
		kind, _, whole := strings.Cut(rest, `"`)
		if !ok || !whole {
			t.Fatalf("a line begins without its type: %s", in.Bytes())
		}
		each(kind, in.Bytes())
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
}

func (r *recording) events(t *testing.T, each func(event.Event)) {
	t.Helper()
	r.lines(t, func(kind string, raw []byte) {
		if kind != "event" {
			return
		}
		ev, err := event.ParseJSON(raw)
		if err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		each(ev)
	})
}

// accusations are the findings that stand, in the order in which they were made.
func (r *recording) accusations() []finding {
	var out []finding
	for _, f := range r.findings {
		if f.Severity != "info" {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b finding) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

const maxAround = 60

// around returns the evidence of a finding and what else happened to its file near it, for a person to judge by.
func (r *recording) around(t *testing.T, f finding) string {
	t.Helper()
	var out strings.Builder
	out.WriteString(f.raw + "\n")
	if len(f.Evidence) == 0 {
		return out.String()
	}
	evidence := map[uint64]bool{}
	first, last := f.Evidence[0], f.Evidence[0]
	for _, seq := range f.Evidence {
		evidence[seq] = true
		first, last = min(first, seq), max(last, seq)
	}
	shown := 0
	r.lines(t, func(kind string, raw []byte) {
		if kind != "event" || shown > maxAround {
			return
		}
		ev, err := event.ParseJSON(raw)
		if err != nil || ev.Seq+200 < first || ev.Seq > last+200 {
			return
		}
		of := f.File != 0 && (uint32(ev.File) == f.File || uint32(ev.NewFile) == f.File)
		if of || evidence[ev.Seq] {
			mark := ' '
			if evidence[ev.Seq] {
				mark = '*'
			}
			fmt.Fprintf(&out, "%c %s\n", mark, raw)
			shown++
		}
	})
	return out.String()
}

// classes are the unmatched reads and receives by their reason.
func (r *recording) classes() map[string]uint64 {
	out := map[string]uint64{}
	for _, u := range r.summary.Unmatched {
		out[u.Reason] += u.Count
	}
	return out
}
