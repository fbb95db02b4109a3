package tracer

import (
	"strings"
	"testing"
)

// fakeKernel allows the families that are named; its types and symbols are those of the running kernel's files only
// as far as the table asks.
func fakeKernel(allowed ...Family) *kernel {
	k := &kernel{families: make(map[Family]verdict), symbolsKnown: true, symbols: make(map[string]uint64)}
	for _, f := range Families() {
		k.families[f] = verdict{No, "not in this test", ""}
	}
	for _, f := range allowed {
		k.families[f] = verdict{answer: Yes}
	}
	return k
}

func TestPlanSaysWhyNothingIsLeft(t *testing.T) {
	chosen, missing := fakeKernel().plan(Options{}, nil)
	if len(chosen) != 0 {
		t.Errorf("a kernel that allows nothing was given %d hooks", len(chosen))
	}
	for _, m := range missing {
		if !strings.Contains(m.Reason, "not in this test") {
			t.Errorf("%s: reason %q", m.Event, m.Reason)
		}
	}
}

// TestRefusedProgramsFallBack plans as if the kernel had refused the wakeup program of each family in turn.
func TestRefusedProgramsFallBack(t *testing.T) {
	h := hook{event: "wakeup", ways: []way{
		{family: Fentry, programs: []program{kprobe("a")}},
		{family: Kprobe, programs: []program{kprobe("b")}, extra: []program{kprobe("c"), kprobe("absent")}},
	}}
	k := fakeKernel(Fentry, Kprobe)
	k.symbols["a"], k.symbols["b"], k.symbols["c"] = 1, 1, 1

	c, reasons := k.choose(h, "", nil)
	if c == nil || c.way.family != Fentry || len(reasons) != 0 {
		t.Fatalf("best way not taken: %+v %v", c, reasons)
	}
	c, reasons = k.choose(h, "", map[string]string{"kprobe_a": "argument refused"})
	if c == nil || c.way.family != Kprobe {
		t.Fatalf("no fall back: %+v", c)
	}
	if len(reasons) != 1 || !strings.Contains(reasons[0], "argument refused") {
		t.Errorf("reasons %v", reasons)
	}
	if len(c.way.extra) != 1 || c.way.extra[0].target != "c" {
		t.Errorf("extra programs %v, want c alone", c.way.extra)
	}
	if c, reasons = k.choose(h, Fentry, map[string]string{"kprobe_a": "argument refused"}); c != nil {
		t.Errorf("a forced family fell back to %s (%v)", c.way.family, reasons)
	}
	if c, _ = k.choose(h, Tracepoint, nil); c != nil {
		t.Errorf("a family without a way was chosen: %+v", c)
	}
}

func TestEveryRequiredEventHasAWayInEveryFamily(t *testing.T) {
	for _, h := range hookTable() {
		have := make(map[Family]bool)
		for _, w := range h.ways {
			have[w.family] = true
		}
		for _, f := range Families() {
			if h.required && !h.everywhere && !have[f] {
				t.Errorf("%s has no way by %s", h.event, f)
			}
		}
	}
}

func TestBufferSize(t *testing.T) {
	for asked, want := range map[int]uint32{0: DefaultBuffer, 1: 4096, 4097: 8192, 1 << 20: 1 << 20, MaxBuffer + 1: MaxBuffer} {
		if got := bufferSize(asked); got != want {
			t.Errorf("bufferSize(%d) = %d, want %d", asked, got, want)
		}
	}
}
