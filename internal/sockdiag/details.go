package sockdiag

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"

	"github.com/epwatch/epwatch/internal/event"
)

// Detail is one socket with what the list does not say.
type Detail struct {
	Socket
	// LastReceived is how long ago the last data came in, to the kernel's tick. It is 0 of a listener, and holds when Timed is set.
	LastReceived time.Duration
	Timed        bool
}

// manyDetails is from when on one list of everything is cheaper than asking socket by socket.
const manyDetails = 64

// Details asks again about sockets of an earlier list, by netlink only, and returns the ones that are still there, by cookie. Where
// the kernel cannot, the error wraps ErrNoDiag.
func Details(ctx context.Context, f Filter, socks []Socket) (map[uint64]Detail, error) {
	found, err := converse(ctx, f, func(conn *netlink.Conn) (map[uint64]Detail, error) { return details(conn, socks) })
	if err != nil {
		return nil, fmt.Errorf("asking for details of sockets: %w", err)
	}
	return found, nil
}

func details(conn *netlink.Conn, socks []Socket) (map[uint64]Detail, error) {
	wanted := make(map[uint64]bool, len(socks))
	for _, s := range socks {
		wanted[s.Cookie] = s.Cookie != 0
	}
	found := make(map[uint64]Detail, len(socks))
	for i, q := range questions(socks) {
		list, err := answers(conn, q)
		if err != nil {
			if i > 0 && errors.Is(err, syscall.ENOENT) {
				continue // a kernel without IPv6
			}
			return nil, err
		}
		for _, m := range list {
			d, err := decodeDetail(m.Data)
			if err != nil {
				return nil, err
			}
			if wanted[d.Cookie] {
				found[d.Cookie] = d
			}
		}
	}
	return found, nil
}

// questions are one request for each socket, or for all of both families.
func questions(socks []Socket) [][]byte {
	if len(socks) > manyDetails {
		return [][]byte{detailed(request{family: IPv4}), detailed(request{family: IPv6})}
	}
	var qs [][]byte
	for _, s := range socks {
		q := detailed(request{family: s.Family, local: s.Local.Port(), peer: s.Peer.Port()})
		binary.NativeEndian.PutUint32(q[4:], 1<<s.State)
		qs = append(qs, q)
	}
	return qs
}

// The attribute that holds a struct tcp_info (<linux/inet_diag.h>), and the field that is read of it.
const (
	attributeInfo    = 2 // INET_DIAG_INFO
	lastDataReceived = 52
)

// detailed makes a request ask for the attribute too.
func detailed(r request) []byte {
	q := r.encode()
	q[2] = 1 << (attributeInfo - 1)
	return q
}

func decodeDetail(b []byte) (Detail, error) {
	s, err := decode(b)
	if err != nil {
		return Detail{}, err
	}
	d := Detail{Socket: s}
	if s.State == event.Listen {
		return d, nil
	}
	attributes, err := netlink.NewAttributeDecoder(b[answerSize:])
	if err != nil {
		return Detail{}, fmt.Errorf("an answer's attributes are not understood: %w", err)
	}
	for attributes.Next() {
		if info := attributes.Bytes(); attributes.Type() == attributeInfo && len(info) >= lastDataReceived+4 {
			d.LastReceived = time.Duration(binary.NativeEndian.Uint32(info[lastDataReceived:])) * time.Millisecond
			d.Timed = true
		}
	}
	return d, attributes.Err()
}
