package proc

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/event"
)

const fdinfo = `pos:	0
flags:	02000002
mnt_id:	17
ino:	1030
tfd:        5 events:       19 data:                5  pos:0 ino:10a sdev:6
tfd:     1007 events: c0000000 data: 7fd90000000b8e91  pos:0 ino:2150d2 sdev:9
tfd:        6 events: 8000201d data:                0
`

func TestParseInterests(t *testing.T) {
	want := []Interest{
		{FD: 5, Events: event.In | event.Err | event.Hup, Data: 5, Inode: 0x10a, Dev: 6},
		{FD: 1007, Events: event.OneShot | event.ET, Data: 0x7fd90000000b8e91, Inode: 0x2150d2, Dev: 9},
		{FD: 6, Events: event.In | event.Out | event.Err | event.Hup | event.RdHup | event.ET}, // before 4.13
	}
	got, err := ParseInterests(nil, strings.NewReader(fdinfo))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, bad := range []string{"tfd:", "tfd: x events: 1 data: 1", "tfd: 5 events: 1", "tfd: -5 events: 1 data: 1", "tfd: 5 events: 111111111 data: 1",
		"tfd: 5 events: 1 data: 1 ino:zz"} {
		if got, err := ParseInterests(nil, strings.NewReader(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
	if diff := cmp.Diff(Info{Flags: 0o2000002, Inode: 1030}, parseInfo([]byte(fdinfo))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Ten thousand items must not cost ten thousand allocations.
func TestParseInterestsAllocations(t *testing.T) {
	var b strings.Builder
	for n := range 10_000 {
		fmt.Fprintf(&b, "tfd: %8d events: %8x data: %16x  pos:0 ino:%x sdev:9\n", n, 0x19, n, n+7)
	}
	dst := make([]Interest, 0, 10_000)
	text := b.String()
	allocations := testing.AllocsPerRun(3, func() {
		var err error
		if dst, err = ParseInterests(dst[:0], strings.NewReader(text)); err != nil || len(dst) != 10_000 {
			t.Fatal(len(dst), err)
		}
	})
	if allocations > 20 {
		t.Errorf("%v allocations", allocations)
	}
}

func FuzzParseInterests(f *testing.F) {
	f.Add(fdinfo)
	f.Add("tfd:")
	f.Add("tfd:5 events:1 data:1 tfd:")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseInterests(nil, strings.NewReader(text))
		if err != nil {
			return
		}
		if len(got) > strings.Count(text, "tfd:") {
			t.Errorf("%d items in %q", len(got), text)
		}
		for _, i := range got {
			line := fmt.Sprintf("tfd: %8d events: %8x data: %16x  pos:0 ino:%x sdev:%x\n", i.FD, uint32(i.Events), i.Data, i.Inode, i.Dev)
			again, err := ParseInterests(nil, strings.NewReader(line))
			if err != nil || len(again) != 1 || again[0] != i {
				t.Errorf("%+v became %+v, %v", i, again, err)
			}
		}
	})
}
