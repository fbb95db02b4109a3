// Package sockdiag lists the TCP, UDP and UNIX sockets of a network namespace with what their queues hold, as netstat and ss do:
// through netlink's sock_diag, or through /proc/net/tcp and /proc/net/udp where the kernel lacks the module. It changes nothing, and
// it does not watch: every list is one moment.
package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/epwatch/epwatch/internal/event"
)

// Family is a socket's address family with the kernel's number.
type Family uint8

// The families that have TCP and UDP.
const (
	IPv4 Family = 2
	IPv6 Family = 10
)

// Protocol is what runs over IP.
type Protocol uint8

// The protocols that can be listed. The zero value is TCP.
const (
	TCP Protocol = iota
	UDP
)

func (p Protocol) number() byte {
	if p == UDP {
		return 17
	}
	return 6
}

// String returns the name that /proc/net gives its table.
func (p Protocol) String() string {
	if p == UDP {
		return "udp"
	}
	return "tcp"
}

// Socket is one TCP or UDP socket at the moment of the list.
type Socket struct {
	Family      Family
	State       event.State    // of UDP Established when it is connected, else Closed
	Local, Peer netip.AddrPort // IPv4 in IPv6 is shown as IPv4

	// RecvQueue and SendQueue are the kernel's numbers. Of a listener they are the connections that wait to be
	// accepted, and how many may (0 when read from /proc, which does not say). Of UDP they are not bytes of data but of
	// memory, 0 when there is no datagram.
	RecvQueue, SendQueue uint32

	Inode  uint32 // 0 when no file holds the socket
	UID    uint32
	Cookie uint64 // the kernel's own number for the socket; 0 when read from /proc
}

// Unread returns the bytes that can be read, and whether the peer's FIN stands behind them, not read yet. The FIN takes
// one sequence number and comes after every byte, so where one was received, a receive queue that is not empty
// ends with it.
func (s Socket) Unread() (bytes uint32, fin bool) {
	switch s.State {
	case event.Listen:
		return 0, false
	case event.CloseWait, event.LastAck, event.Closing:
		if s.RecvQueue > 0 {
			return s.RecvQueue - 1, true
		}
	}
	return s.RecvQueue, false
}

// Filter says which sockets to list, and where.
type Filter struct {
	Protocol Protocol
	Port     uint16 // only sockets with this local or peer port; 0 is all
	NetNS    int    // descriptor of a network namespace; 0 is the caller's
}

func (f Filter) wants(s Socket) bool {
	return f.Port == 0 || s.Local.Port() == f.Port || s.Peer.Port() == f.Port
}

// ErrNoDiag: this kernel cannot list these sockets by netlink.
var ErrNoDiag = errors.New("the kernel lacks it (modules inet_diag, tcp_diag, udp_diag, unix_diag)")

// List returns the IPv4 and IPv6 sockets that f wants, ordered by local and peer address. It reads /proc where
// the kernel lacks sock_diag.
func List(ctx context.Context, f Filter) ([]Socket, error) {
	socks, err := Diag(ctx, f)
	if !errors.Is(err, ErrNoDiag) {
		return socks, err
	}
	socks, procErr := Proc(f)
	if procErr != nil {
		return nil, fmt.Errorf("%w; and %w", err, procErr)
	}
	return socks, nil
}

func sorted(socks []Socket) []Socket {
	slices.SortFunc(socks, func(a, b Socket) int {
		if c := a.Local.Compare(b.Local); c != 0 {
			return c
		}
		if c := a.Peer.Compare(b.Peer); c != 0 {
			return c
		}
		if a.Family != b.Family {
			return int(a.Family) - int(b.Family)
		}
		return int(a.Inode) - int(b.Inode)
	})
	return socks
}
