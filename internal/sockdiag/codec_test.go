package sockdiag

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/event"
)

func compareAddrs() cmp.Option {
	return cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
}

// answer builds an inet_diag_msg field by field, apart from decode.
func answer(family byte, local, peer []byte) []byte {
	b := []byte{family, 8, 0, 0, 0x1f, 0x90, 0xc3, 0x51}
	b = append(b, append(local, make([]byte, 16-len(local))...)...)
	b = append(b, append(peer, make([]byte, 16-len(peer))...)...)
	for _, v := range []uint32{0, 0xdead, 0xbeef, 0, 8, 3, 1000, 4242} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

func TestDecode(t *testing.T) {
	v6 := netip.MustParseAddr("fe80::1").As16()
	mapped := netip.MustParseAddr("::ffff:10.0.0.1").As16()
	want := Socket{
		State: event.CloseWait, RecvQueue: 8, SendQueue: 3, UID: 1000, Inode: 4242, Cookie: 0xbeef_0000_dead,
	}
	tests := []struct {
		in          []byte
		family      Family
		local, peer string
	}{
		{answer(2, []byte{127, 0, 0, 1}, []byte{10, 1, 2, 3}), IPv4, "127.0.0.1:8080", "10.1.2.3:50001"},
		{answer(10, v6[:], mapped[:]), IPv6, "[fe80::1]:8080", "10.0.0.1:50001"},
		{append(answer(2, nil, nil), "attributes"...), IPv4, "0.0.0.0:8080", "0.0.0.0:50001"},
	}
	for _, test := range tests {
		got, err := decode(test.in)
		want.Family, want.Local, want.Peer = test.family, netip.MustParseAddrPort(test.local), netip.MustParseAddrPort(test.peer)
		if diff := cmp.Diff(want, got, compareAddrs()); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	for _, bad := range [][]byte{nil, answer(2, nil, nil)[:71], answer(1, nil, nil)} {
		if s, err := decode(bad); err == nil {
			t.Errorf("%x decoded as %+v", bad, s)
		}
	}
}

func TestRequest(t *testing.T) {
	b := request{family: IPv6, local: 8080, peer: 0x0102}.encode()
	if len(b) != 56 || b[0] != 10 || b[1] != 6 {
		t.Errorf("request %x", b)
	}
	if b[8] != 0x1f || b[9] != 0x90 || b[10] != 1 || b[11] != 2 {
		t.Errorf("the ports are %x", b[8:12])
	}
	for state := event.Established; state <= event.NewSynRecv; state++ {
		if binary.NativeEndian.Uint32(b[4:])&(1<<state) == 0 {
			t.Errorf("%v is not asked for", state)
		}
	}
}

func TestUnread(t *testing.T) {
	tests := []struct {
		state  event.State
		queue  uint32
		unread uint32
		fin    bool
	}{
		{event.Established, 20, 20, false},
		{event.FinWait2, 3, 3, false},
		{event.CloseWait, 8, 7, true},
		{event.CloseWait, 1, 0, true},
		{event.CloseWait, 0, 0, false},
		{event.LastAck, 1, 0, true},
		{event.Closing, 5, 4, true},
		{event.Listen, 2, 0, false},
	}
	for _, test := range tests {
		n, fin := Socket{State: test.state, RecvQueue: test.queue}.Unread()
		if n != test.unread || fin != test.fin {
			t.Errorf("%v with %d queued: %d unread, FIN %v", test.state, test.queue, n, fin)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(answer(2, nil, nil))
	f.Add(answer(10, nil, nil)[:60])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decode(b)
		if err != nil {
			return
		}
		if !s.Local.IsValid() || !s.Peer.IsValid() || s.Local.Addr().Is4In6() {
			t.Errorf("%+v from %x", s, b)
		}
		if n, fin := s.Unread(); n > s.RecvQueue || fin && n == s.RecvQueue {
			t.Errorf("%d unread of %d", n, s.RecvQueue)
		}
	})
}
