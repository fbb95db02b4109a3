package sockdiag

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/epwatch/epwatch/internal/event"
)

// The layouts of <linux/inet_diag.h>: a request is inet_diag_req_v2, an answer inet_diag_msg with attributes behind it.
const (
	requestSize = 56
	answerSize  = 72

	// States 1 to 12: sockets that are bound and nothing else (13, since 6.8) are left out, as in /proc.
	states = 0x1ffe
)

// request asks for the sockets of one protocol and family with these ports, 0 for any.
type request struct {
	protocol Protocol
	family   Family
	local    uint16
	peer     uint16
}

func (r request) encode() []byte {
	b := make([]byte, requestSize)
	b[0] = byte(r.family)
	b[1] = r.protocol.number()
	binary.NativeEndian.PutUint32(b[4:], states)
	binary.BigEndian.PutUint16(b[8:], r.local)
	binary.BigEndian.PutUint16(b[10:], r.peer)
	return b
}

// decode reads one answer. Attributes behind it are ignored.
func decode(b []byte) (Socket, error) {
	if len(b) < answerSize {
		return Socket{}, fmt.Errorf("an answer of %d bytes is too short", len(b))
	}
	s := Socket{Family: Family(b[0]), State: event.State(b[1])}
	if s.Family != IPv4 && s.Family != IPv6 {
		return Socket{}, fmt.Errorf("an answer has unknown address family %d", b[0])
	}
	s.Local = endpoint(s.Family, b[8:], b[4:])
	s.Peer = endpoint(s.Family, b[24:], b[6:])
	s.Cookie = uint64(binary.NativeEndian.Uint32(b[44:])) | uint64(binary.NativeEndian.Uint32(b[48:]))<<32
	s.RecvQueue = binary.NativeEndian.Uint32(b[56:])
	s.SendQueue = binary.NativeEndian.Uint32(b[60:])
	s.UID = binary.NativeEndian.Uint32(b[64:])
	s.Inode = binary.NativeEndian.Uint32(b[68:])
	return s, nil
}

func endpoint(f Family, address, port []byte) netip.AddrPort {
	ip := netip.AddrFrom4([4]byte(address))
	if f == IPv6 {
		ip = netip.AddrFrom16([16]byte(address)).Unmap()
	}
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(port))
}
