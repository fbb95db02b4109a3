package proc

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMapping(t *testing.T) {
	for line, want := range map[string]Mapping{
		"55d0c0000000-55d0c0010000 r-xp 00002000 fe:01 4711                       /usr/bin/a program": {
			Start: 0x55d0c0000000, End: 0x55d0c0010000, Offset: 0x2000, Device: "fe:01", Inode: 4711, Path: "/usr/bin/a program",
		},
		"7f0000000000-7f0000001000 r-xp 00000000 00:00 0 ": {Start: 0x7f0000000000, End: 0x7f0000001000, Device: "00:00"},
		"7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0                          [vdso]": {
			Start: 0x7ffc00000000, End: 0x7ffc00002000, Device: "00:00", Path: "[vdso]",
		},
		"400000-401000 r-xp 00000000 fe:01 12    /tmp/old (deleted)": {
			Start: 0x400000, End: 0x401000, Device: "fe:01", Inode: 12, Path: "/tmp/old", Deleted: true,
		},
	} {
		got, executable, err := parseMapping(line)
		if err != nil || !executable {
			t.Errorf("%q: executable %v, error %v", line, executable, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", line, diff)
		}
	}
	if _, executable, err := parseMapping("400000-401000 rw-p 00000000 fe:01 12 /tmp/data"); executable || err != nil {
		t.Errorf("data: executable %v, error %v", executable, err)
	}
	for _, bad := range []string{"", "400000-401000 r-xp", "x-y r-xp 0 fe:01 12", "400000 r-xp 0 fe:01 12"} {
		if _, _, err := parseMapping(bad); err == nil {
			t.Errorf("%q is understood", bad)
		}
	}
}
