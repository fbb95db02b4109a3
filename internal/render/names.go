package render

import (
	"net/netip"
	"strconv"

	"github.com/epwatch/epwatch/internal/event"
)

// names remembers the addresses of live sockets, because an event says them once at most.
type names map[event.SockID]endpoints

// maxRemembered bounds what is remembered of sockets whose end was lost, and of the wire. Forgetting is harmless: a socket is
// then called by its number, and sequence numbers start again at 1.
const maxRemembered = 1 << 16

type endpoints struct{ local, peer netip.AddrPort }

// learn takes from ev what it says about a socket, before ev is shown.
func (n names) learn(ev *event.Event) {
	if ev.Sock != 0 && ev.Kind != event.KindPacket && ev.Local.IsValid() {
		if len(n) >= maxRemembered {
			clear(n)
		}
		n[ev.Sock] = endpoints{ev.Local, ev.Peer}
	}
}

// forget drops what ended with ev, after ev was shown.
func (n names) forget(ev *event.Event) {
	if ev.Kind == event.KindState && ev.NewState == event.Closed {
		delete(n, ev.Sock)
	}
}

// subject says what ev is about: the descriptor, or else the peer, or else nothing.
func (n names) subject(ev *event.Event) string {
	known, ok := n[ev.Sock]
	switch {
	case ev.FD != event.NoFD:
		return descriptor(ev.FD)
	case ev.Local.IsValid():
		return endpoints{ev.Local, ev.Peer}.String()
	case ok:
		return known.String()
	case ev.Sock != 0:
		return "socket " + strconv.Itoa(int(ev.Sock))
	default:
		return ""
	}
}

// String names the end that tells sockets apart: the peer, or where it listens.
func (e endpoints) String() string {
	if e.peer.IsValid() && e.peer.Port() != 0 {
		return "peer " + e.peer.String()
	}
	return e.local.String()
}

func descriptor(fd int32) string { return "fd " + strconv.Itoa(int(fd)) }

// directions gives sequence numbers relative to the first one of each direction, as people read them.
type directions map[direction]uint32

type direction struct{ from, to netip.AddrPort }

// relative returns the segment's own number and the acknowledged one. A direction first met in mid-life starts at 1.
func (d directions) relative(ev *event.Event) (seq, ack uint32) {
	own, other := direction{ev.Local, ev.Peer}, direction{ev.Peer, ev.Local}
	p := &ev.Packet
	if len(d) >= maxRemembered {
		clear(d)
	}
	if p.Flags&flagSYN != 0 {
		d[own] = p.Seq
	}
	if _, known := d[own]; !known {
		d[own] = p.Seq - 1
	}
	if p.Flags&flagACK == 0 {
		return p.Seq - d[own], 0
	}
	if _, known := d[other]; !known {
		d[other] = p.Ack - 1
	}
	return p.Seq - d[own], p.Ack - d[other]
}

// The header's flag bits that are looked at.
const (
	flagSYN event.TCPFlags = 1 << 1
	flagRST event.TCPFlags = 1 << 2
	flagACK event.TCPFlags = 1 << 4
)
