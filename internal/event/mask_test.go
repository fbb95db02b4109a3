package event_test

import (
	"testing"

	"github.com/epwatch/epwatch/internal/event"
)

func TestMaskText(t *testing.T) {
	for m, want := range map[event.Mask]string{
		0:                                   "0",
		event.In:                            "IN",
		event.In | event.RdHup:              "IN|RDHUP",
		0xc3:                                "IN|PRI|RDNORM|RDBAND",
		0x304:                               "OUT|WRNORM|WRBAND",
		event.In | event.OneShot | event.ET: "IN|ONESHOT|ET",
		event.In | 1<<20:                    "IN|0x100000",
		1 << 27:                             "0x8000000",
		event.Private:                       "EXCLUSIVE|WAKEUP|ONESHOT|ET",
	} {
		if got := m.String(); got != want {
			t.Errorf("%#x is %q, want %q", uint32(m), got, want)
		}
		if got, ok := event.ParseMask(want); !ok || got != m {
			t.Errorf("%q is %#x (%v), want %#x", want, uint32(got), ok, uint32(m))
		}
	}
	if m, ok := event.ParseMask(""); !ok || m != 0 {
		t.Errorf("no word at all is %v, %v", m, ok)
	}
	for _, bad := range []string{"in", "IN|", "0xzz", "EPOLLIN", "0x100000000"} {
		if m, ok := event.ParseMask(bad); ok {
			t.Errorf("%q is taken for %v", bad, m)
		}
	}
}

// Every single bit has a text of its own that can be read again.
func TestMaskBits(t *testing.T) {
	seen := map[string]int{}
	for bit := range 32 {
		m := event.Mask(1) << bit
		text := m.String()
		if other, ok := seen[text]; ok {
			t.Errorf("bits %d and %d are both %q", other, bit, text)
		}
		seen[text] = bit
		if got, ok := event.ParseMask(text); !ok || got != m {
			t.Errorf("bit %d is %q and reads as %#x", bit, text, uint32(got))
		}
	}
}

func TestCtlName(t *testing.T) {
	for op, want := range map[uint8]string{1: "ADD", 2: "DEL", 3: "MOD", 0: "op 0", 7: "op 7"} {
		if got := event.CtlName(op); got != want {
			t.Errorf("operation %d is %q, want %q", op, got, want)
		}
	}
}

func TestTCPFlagsText(t *testing.T) {
	for f, want := range map[event.TCPFlags]string{
		0x02: "S", 0x12: "S.", 0x10: ".", 0x18: "P.", 0x11: "F.", 0x14: "R.", 0x04: "R", 0: "none", 0xff: "FSRPUEW.",
	} {
		if got := f.String(); got != want {
			t.Errorf("%#x is %q, want %q", uint8(f), got, want)
		}
	}
}
