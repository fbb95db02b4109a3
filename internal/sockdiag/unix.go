package sockdiag

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
)

// UnixQueue is what stands in one UNIX socket's queues at the moment of the list.
type UnixQueue struct {
	Inode uint32
	Peer  uint32 // inode of the socket that it is connected to, 0 when there is none

	// Received is the bytes that can be read: of a datagram socket those of the first datagram alone, of a listener the
	// connections that wait to be accepted.
	Received  uint32
	Limit     uint32 // of a listener, how many connections may wait
	Listening bool
	// ReadShut: a read returns 0 once the queue is empty, because the peer has closed or this end was shut down.
	ReadShut bool
}

// UnixQueues lists the UNIX sockets of a network namespace by netlink, which is the only way to their queues, by inode. Where the
// kernel cannot, the error wraps ErrNoDiag.
func UnixQueues(ctx context.Context, f Filter) (map[uint32]UnixQueue, error) {
	found, err := converse(ctx, f, dumpUnix)
	if err != nil {
		return nil, fmt.Errorf("listing UNIX sockets by sock_diag: %w", err)
	}
	return found, nil
}

func dumpUnix(conn *netlink.Conn) (map[uint32]UnixQueue, error) {
	list, err := wholeList(conn, unixRequest())
	if err != nil {
		return nil, err
	}
	found := make(map[uint32]UnixQueue, len(list))
	for _, m := range list {
		q, err := decodeUnix(m.Data)
		if err != nil {
			return nil, err
		}
		found[q.Inode] = q
	}
	return found, nil
}

// The layouts of <linux/unix_diag.h>: a request is unix_diag_req, an answer unix_diag_msg with attributes behind it.
const (
	unixRequestSize = 24
	unixAnswerSize  = 16

	familyUnix = 1

	showPeer   = 1 << 2 // UDIAG_SHOW_PEER
	showQueues = 1 << 4 // UDIAG_SHOW_RQLEN

	attributePeer     = 2 // UNIX_DIAG_PEER: an inode
	attributeQueues   = 4 // UNIX_DIAG_RQLEN: two lengths
	attributeShutdown = 6 // UNIX_DIAG_SHUTDOWN: a byte, always there

	stateListen   = 10
	shutReceiving = 1 // RCV_SHUTDOWN of <net/sock.h>
)

// unixRequest asks for all UNIX sockets.
func unixRequest() []byte {
	b := make([]byte, unixRequestSize)
	b[0] = familyUnix
	binary.NativeEndian.PutUint32(b[4:], ^uint32(0)) // states
	binary.NativeEndian.PutUint32(b[12:], showPeer|showQueues)
	return b
}

func decodeUnix(b []byte) (UnixQueue, error) {
	if len(b) < unixAnswerSize {
		return UnixQueue{}, fmt.Errorf("an answer of %d bytes is too short", len(b))
	}
	if b[0] != familyUnix {
		return UnixQueue{}, fmt.Errorf("an answer has address family %d instead of UNIX", b[0])
	}
	q := UnixQueue{Inode: binary.NativeEndian.Uint32(b[4:]), Listening: b[2] == stateListen}
	attributes, err := netlink.NewAttributeDecoder(b[unixAnswerSize:])
	if err != nil {
		return UnixQueue{}, fmt.Errorf("an answer's attributes are not understood: %w", err)
	}
	for attributes.Next() {
		switch value := attributes.Bytes(); {
		case attributes.Type() == attributePeer && len(value) >= 4:
			q.Peer = binary.NativeEndian.Uint32(value)
		case attributes.Type() == attributeQueues && len(value) >= 8:
			q.Received = binary.NativeEndian.Uint32(value)
			if q.Listening { // of other sockets it is the memory of what was sent
				q.Limit = binary.NativeEndian.Uint32(value[4:])
			}
		case attributes.Type() == attributeShutdown && len(value) >= 1:
			q.ReadShut = value[0]&shutReceiving != 0
		}
	}
	return q, attributes.Err()
}
