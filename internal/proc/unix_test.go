package proc

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const unixTable = `Num       RefCount Protocol Flags    Type St Inode Path
000000004b6034fb: 00000003 00000000 00000000 0001 03 2183379
00000000bbc03a5a: 00000002 00000000 00010000 0001 01  1647 /run/a b.sock
0000000000000000: 00000002 00000000 00000000 0002 01 20 /run/with
a line end
0000000000000000: 00000002 00000000 00010000 0005 01 21 @abstract
`

func TestParseUnix(t *testing.T) {
	var got []UnixSocket
	if err := parseUnix(strings.NewReader(unixTable), func(s UnixSocket) { got = append(got, s) }); err != nil {
		t.Fatal(err)
	}
	want := []UnixSocket{
		{Inode: 2183379, Type: "stream", State: "CONNECTED"},
		{Inode: 1647, Type: "stream", State: "LISTEN", Path: "/run/a b.sock"},
		{Inode: 20, Type: "dgram", State: "UNCONNECTED", Path: "/run/with"},
		{Inode: 21, Type: "seqpacket", State: "LISTEN", Path: "@abstract"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func FuzzParseUnix(f *testing.F) {
	f.Add(unixTable)
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		_ = parseUnix(strings.NewReader(text), func(UnixSocket) { n++ })
		if n > strings.Count(text, ":") {
			t.Errorf("%d sockets in %q", n, text)
		}
	})
}
