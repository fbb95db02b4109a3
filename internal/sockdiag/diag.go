package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
)

const (
	netlinkSockDiag  = 4  // NETLINK_SOCK_DIAG
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY

	// A dump that sockets came and went under may miss some; the kernel says so, and asking again helps.
	attempts = 4
)

// errInterrupted: sockets came and went during a dump.
var errInterrupted = errors.New("the list changed while it was read")

// Diag lists by netlink only. The error wraps ErrNoDiag where this kernel cannot.
func Diag(ctx context.Context, f Filter) ([]Socket, error) {
	socks, err := diag(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("listing sockets by sock_diag: %w", err)
	}
	return sorted(socks), nil
}

func diag(ctx context.Context, f Filter) ([]Socket, error) {
	return converse(ctx, f, func(conn *netlink.Conn) ([]Socket, error) { return dump(conn, f) })
}

// converse has the kernel asked in a network namespace, and asked again where the list changed meanwhile. It ends with the context.
func converse[T any](ctx context.Context, f Filter, ask func(*netlink.Conn) (T, error)) (T, error) {
	var found T
	if err := ctx.Err(); err != nil {
		return found, err
	}
	conn, err := netlink.Dial(netlinkSockDiag, &netlink.Config{NetNS: f.NetNS})
	if err != nil {
		return found, explain(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	for range attempts {
		if found, err = ask(conn); !errors.Is(err, errInterrupted) {
			break
		}
	}
	return found, explain(ctx, err)
}

// answers sends one request for a list.
func answers(conn *netlink.Conn, request []byte) ([]netlink.Message, error) {
	return conn.Execute(netlink.Message{
		Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump},
		Data:   request,
	})
}

// wholeList is answers to which nothing is missing, or errInterrupted.
func wholeList(conn *netlink.Conn, request []byte) ([]netlink.Message, error) {
	list, err := answers(conn, request)
	if slices.ContainsFunc(list, func(m netlink.Message) bool { return m.Header.Flags&netlink.DumpInterrupted != 0 }) {
		return nil, errInterrupted
	}
	return list, err
}

func dump(conn *netlink.Conn, f Filter) ([]Socket, error) {
	var socks []Socket
	seen := make(map[uint64]bool) // a connection to its own port answers both requests
	for i, r := range requests(f) {
		list, err := wholeList(conn, r.encode())
		if err != nil {
			if r.family == IPv6 && errors.Is(err, syscall.ENOENT) && i > 0 {
				break // a kernel without IPv6
			}
			return nil, err
		}
		for _, m := range list {
			s, err := decode(m.Data)
			if err != nil {
				return nil, err
			}
			if !seen[s.Cookie] {
				seen[s.Cookie] = true
				socks = append(socks, s)
			}
		}
	}
	return socks, nil
}

// requests lets the kernel filter by port: a request's ports must both match, so a port at either end takes two.
func requests(f Filter) []request {
	if f.Port == 0 {
		return []request{{f.Protocol, IPv4, 0, 0}, {f.Protocol, IPv6, 0, 0}}
	}
	return []request{
		{f.Protocol, IPv4, f.Port, 0}, {f.Protocol, IPv4, 0, f.Port},
		{f.Protocol, IPv6, f.Port, 0}, {f.Protocol, IPv6, 0, f.Port},
	}
}

// explain says what an error of the kernel means here: EPROTONOSUPPORT when it has no sock_diag at all, ENOENT when
// it has none for the protocol.
func explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, syscall.EPROTONOSUPPORT), errors.Is(err, syscall.ENOENT):
		return ErrNoDiag
	default:
		return err
	}
}
