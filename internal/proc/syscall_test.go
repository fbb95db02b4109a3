package proc

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCall(t *testing.T) {
	c, blocked, err := parseCall([]byte("232 0x3 0x7fed71905000 0x20 0xffffffff 0x0 0x0 0x7fffdaf730d8 0x7fed71a812ad\n"))
	if err != nil || !blocked {
		t.Errorf("%v, %v", blocked, err)
	}
	if diff := cmp.Diff(Call{Number: 232, Args: [6]uint64{3, 0x7fed71905000, 0x20, 0xffffffff}}, c); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, idle := range []string{"running\n", "-1 0x7fffdaf730d8 0x7fed71a812ad\n"} {
		if c, blocked, err := parseCall([]byte(idle)); blocked || err != nil || c != (Call{}) {
			t.Errorf("%q: %+v, %v, %v", idle, c, blocked, err)
		}
	}
	for _, bad := range []string{"", "x", "232", "232 0x3 0x4", "232 0x3 zz 0x20 0xffffffff 0x0 0x0"} {
		if c, _, err := parseCall([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, c)
		}
	}
}

func TestParseSwitches(t *testing.T) {
	n, err := parseSwitches([]byte("Name:\tx\nThreads:\t1\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t7\n"))
	if err != nil || n != 157 {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"", "voluntary_ctxt_switches:\t1\n", "voluntary_ctxt_switches:\tx\nnonvoluntary_ctxt_switches:\t7\n"} {
		if n, err := parseSwitches([]byte(bad)); err == nil {
			t.Errorf("%q was read as %d", bad, n)
		}
	}
}

func FuzzParseCall(f *testing.F) {
	f.Add([]byte("232 0x3 0x7fed71905000 0x20 0xffffffff 0x0 0x0 0x7fffdaf730d8 0x7fed71a812ad\n"))
	f.Add([]byte("running"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, blocked, err := parseCall(text); (err != nil || !blocked) && c != (Call{}) || c.Number < 0 {
			t.Errorf("%q: %+v, %v, %v", text, c, blocked, err)
		}
	})
}
