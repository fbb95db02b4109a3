package plan_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/epwatch/epwatch/test/vm/plan"
)

func TestMarkSurvivesTheStream(t *testing.T) {
	want := plan.Mark{Step: plan.Exit, Suite: "tracer", Code: 2, Problem: "left a process behind", Took: 3 * time.Second}
	line, err := want.Line()
	if err != nil {
		t.Fatal(err)
	}
	stream := append([]byte("output without a line end"), line...)
	lines := bytes.Split(stream, []byte("\n"))
	if _, ok := plan.ParseMark(lines[0]); ok {
		t.Errorf("test output %q was taken for a mark", lines[0])
	}
	got, ok := plan.ParseMark(lines[1])
	if !ok || got != want {
		t.Errorf("ParseMark(%q) = %+v, %v; want %+v", lines[1], got, ok, want)
	}
}

func TestTornMarkIsOutput(t *testing.T) {
	line, err := plan.Mark{Step: plan.Done}.Line()
	if err != nil {
		t.Fatal(err)
	}
	torn := bytes.TrimSpace(line)
	if _, ok := plan.ParseMark(torn[:len(torn)-2]); ok {
		t.Errorf("half a mark was accepted")
	}
}
