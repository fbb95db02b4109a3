package sockdiag

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/event"
)

const (
	heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	line4   = "   1: 0100007F:1F90 0100007F:C351 08 00000003:00000008 00:00000000 00000000  1000        0 4242 1 00000000cee42d3e 20 4 30 10 -1\n"
	line6   = "   0: 00000000000000000000000001000000:1F90 0000000000000000FFFF00000100007F:C351 01 00000000:00003039 00:00000000 00000000     0        0 17 1 0\n"
)

func TestParseTable(t *testing.T) {
	got, err := parseTable(strings.NewReader(heading+line4+"\n"), IPv4, Filter{})
	want := []Socket{{
		Family: IPv4, State: event.CloseWait, Local: netip.MustParseAddrPort("127.0.0.1:8080"),
		Peer: netip.MustParseAddrPort("127.0.0.1:50001"), RecvQueue: 8, SendQueue: 3, UID: 1000, Inode: 4242,
	}}
	if diff := cmp.Diff(want, got, compareAddrs()); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	got, err = parseTable(strings.NewReader(heading+line6), IPv6, Filter{})
	want = []Socket{{
		Family: IPv6, State: event.Established, Local: netip.MustParseAddrPort("[::1]:8080"),
		Peer: netip.MustParseAddrPort("127.0.0.1:50001"), RecvQueue: 12345, Inode: 17,
	}}
	if diff := cmp.Diff(want, got, compareAddrs()); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for port, want := range map[uint16]int{0: 1, 8080: 1, 50001: 1, 80: 0} {
		if got, _ := parseTable(strings.NewReader(heading+line4), IPv4, Filter{Port: port}); len(got) != want {
			t.Errorf("port %d: %d sockets", port, len(got))
		}
	}
}

func TestParseTableErrors(t *testing.T) {
	for _, bad := range []string{
		"one two three\n",
		strings.Replace(line4, "0100007F:1F90", "0100007F", 1),
		strings.Replace(line4, "0100007F:1F90", "01007F:1F90", 1),
		strings.Replace(line4, "0100007F:1F90", "0100007F:11F90", 1),
		strings.Replace(line4, " 08 ", " 0D ", 1),
		strings.Replace(line4, "00000003:", "x:", 1),
		strings.Replace(line4, "4242", "-1", 1),
		line6,
	} {
		if got, err := parseTable(strings.NewReader(heading+bad), IPv4, Filter{}); err == nil {
			t.Errorf("%q read as %+v", bad, got)
		}
	}
}

func FuzzParseTable(f *testing.F) {
	f.Add(heading+line4, true)
	f.Add(heading+line6, false)
	f.Fuzz(func(t *testing.T, in string, four bool) {
		family := IPv6
		if four {
			family = IPv4
		}
		socks, err := parseTable(strings.NewReader(in), family, Filter{})
		if err != nil && len(socks) > 0 {
			t.Error("sockets and an error")
		}
		for _, s := range socks {
			if !s.Local.IsValid() || !s.Peer.IsValid() || s.Family != family || s.State.String() == "unknown" {
				t.Errorf("%+v from %q", s, in)
			}
		}
	})
}
