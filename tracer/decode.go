package tracer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// shortSize is the length of a record that ends before struct call_event's file (bpf/event.h).
const shortSize = 64

// maxDeliveries is how many items one record holds at most (bpf/calls.h, DELIVER_MAX).
const maxDeliveries = 1024

// decoder turns records into events. It holds room for one record, so that decoding allocates nothing.
type decoder struct {
	_      [0]uint64 // aligned like the records
	stacks func(pid uint32, user, kernel []uint64) *event.Stack
	raw    [unsafe.Sizeof(epwatchDeliverEvent{}) + maxDeliveries*16]byte
}

// decode appends what one record holds to dst; deliveries and turns hold more than one event. The result does not refer
// to raw.
func (d *decoder) decode(dst []event.Event, raw []byte) ([]event.Event, error) {
	if len(raw) < shortSize || len(raw) > len(d.raw) {
		return dst, fmt.Errorf("a record has %d bytes", len(raw))
	}
	copy(d.raw[:], raw)
	// A short record ends early; what it leaves out is zero.
	clear(d.raw[len(raw):max(len(raw), int(unsafe.Sizeof(epwatchCallEvent{})))])
	header := (*epwatchCallEvent)(unsafe.Pointer(&d.raw)).H
	kind := event.Kind(header.Kind)
	if kind == event.KindNone || kind.String() == "unknown" {
		return dst, fmt.Errorf("a record has the unknown kind %d", header.Kind)
	}
	e := event.Event{
		Time: event.Time(header.Ts), Kind: kind, CPU: header.Cpu, PID: header.Pid, TID: header.Tid, Lost: header.Lost,
		FD: event.NoFD, EpFD: event.NoFD,
	}
	switch {
	case kind == event.KindSnapshot && len(raw) == shortSize:
		decodeFile(&e, (*epwatchCallEvent)(unsafe.Pointer(&d.raw)))
		return append(dst, e), nil
	case kind == event.KindDeliver:
		return appendDeliveries(dst, e, (*epwatchDeliverEvent)(unsafe.Pointer(&d.raw)), d.raw[:len(raw)])
	case kind == event.KindSched:
		return d.appendTurn(dst, e, d.raw[:len(raw)]), nil
	case kind == event.KindState, kind == event.KindSnapshot:
		decodeSock(&e, (*epwatchSockEvent)(unsafe.Pointer(&d.raw)))
	case kind == event.KindRead && (*epwatchCallEvent)(unsafe.Pointer(&d.raw)).Op == opReceived:
		return appendReceived(dst, e, (*epwatchCallEvent)(unsafe.Pointer(&d.raw))), nil
	case kind == event.KindPacket:
		decodePacket(&e, (*epwatchPacketEvent)(unsafe.Pointer(&d.raw)))
	default:
		decodeCall(&e, (*epwatchCallEvent)(unsafe.Pointer(&d.raw)))
	}
	return append(dst, e), nil
}

// opReceived marks a read that carries the receive inside it (bpf/event.h, OP_RECEIVED).
const opReceived = 1

// appendReceived unpacks a read and the receive inside it.
func appendReceived(dst []event.Event, e event.Event, r *epwatchCallEvent) []event.Event {
	received := e
	received.Kind, received.Ret = event.KindRecv, int64(r.Data)
	received.Flags = event.Flags(r.Events) | event.IsSocket
	received.FileAddr, received.SockAddr, received.Unread = event.Addr(r.File), event.Addr(r.Sock), r.Unread
	dst = append(dst, received)
	e.Lost = 0 // told once
	decodeCall(&e, r)
	e.Op, e.Data, e.Events, e.Unread = 0, 0, 0, 0
	return append(dst, e)
}

// appendDeliveries unpacks the return of a wait and what it handed out: the caller's array of struct epoll_event, which only
// x86-64 packs.
func appendDeliveries(dst []event.Event, e event.Event, r *epwatchDeliverEvent, raw []byte) ([]event.Event, error) {
	itemSize, dataOffset := 16, 8
	if runtime.GOARCH == "amd64" {
		itemSize, dataOffset = 12, 4
	}
	items := raw[unsafe.Sizeof(*r):]
	if uint64(r.Number)*uint64(itemSize) > uint64(len(items)) {
		return dst, fmt.Errorf("a record of %d bytes claims %d deliveries", len(raw), r.Number)
	}
	e.EpollAddr = event.Addr(r.Epoll)
	e.EpFD = r.Epfd
	if r.Start != 0 {
		returned := e
		returned.Kind, returned.Start, returned.Call, returned.Ret = event.KindWaitReturn, event.Time(r.Start), event.Call(r.Call), int64(r.Ret)
		dst = append(dst, returned)
		e.Lost = 0 // told once
	}
	for range r.Number {
		e.Events = event.Mask(binary.NativeEndian.Uint32(items))
		e.Data = binary.NativeEndian.Uint64(items[dataOffset:])
		dst = append(dst, e)
		e.Lost = 0 // told once
		items = items[itemSize:]
	}
	return dst, nil
}

func decodeCall(e *event.Event, r *epwatchCallEvent) {
	e.Start = event.Time(r.Start)
	e.Flags = event.Flags(r.Flags)
	e.Call = event.Call(r.Call)
	e.Op = r.Op
	e.FD = r.Fd
	e.EpFD = r.Epfd
	e.FileAddr = event.Addr(r.File)
	e.SockAddr = event.Addr(r.Sock)
	e.EpollAddr = event.Addr(r.Epoll)
	e.Events = event.Mask(r.Events)
	e.Data = r.Data
	e.Ret = r.Ret
	e.Unread = r.Unread
	// Some fields mean something else for some kinds: bpf/event.h says which.
	switch e.Kind {
	case event.KindWakeup:
		e.Key = event.Mask(r.Key)
	case event.KindReset:
		e.Reason = event.Reason(r.Key)
	case event.KindSignal:
		e.Signal = uint8(r.Key)
	case event.KindAccept, event.KindDup:
		e.NewFileAddr, e.EpollAddr = event.Addr(r.Epoll), 0
	case event.KindWaitReturn:
		e.Data = 0
	case event.KindWaitEnter:
		e.Timeout, e.Data = time.Duration(int64(r.Data)), 0
		e.MaxEvents, e.Events = r.Events, 0
	}
}

func decodeSock(e *event.Event, r *epwatchSockEvent) {
	e.SockAddr = event.Addr(r.Sock)
	e.FileAddr = event.Addr(r.File)
	e.FD = r.Fd
	e.Flags = event.Flags(r.Flags)
	e.Unread = r.Unread
	e.OldState = event.State(r.OldState)
	e.NewState = event.State(r.NewState)
	e.Local = addrPort(r.Family, &r.Local, r.LocalPort)
	e.Peer = addrPort(r.Family, &r.Peer, r.PeerPort)
}

// decodeFile reads the first sight of a file that is no socket.
func decodeFile(e *event.Event, r *epwatchCallEvent) {
	e.Flags = event.Flags(r.Flags)
	e.FD = r.Fd
	e.FileAddr = event.Addr(r.Data)
	e.EpollAddr = event.Addr(r.Epoll)
}

func decodePacket(e *event.Event, r *epwatchPacketEvent) {
	e.SockAddr = event.Addr(r.Sock)
	e.Local = addrPort(r.Family, &r.Src, r.Sport)
	e.Peer = addrPort(r.Family, &r.Dst, r.Dport)
	e.Packet = event.Packet{Seq: r.Seq, Ack: r.Ack, Len: r.Len, Window: r.Window, Flags: event.TCPFlags(r.TcpFlags)}
}

// addrPort returns an address; IPv4 mapped into IPv6 comes out as IPv4, as people know the connection. A socket
// without a port is not bound, or not any more: then the address says nothing.
func addrPort(family uint16, bytes *[16]byte, port uint16) netip.AddrPort {
	if port == 0 {
		return netip.AddrPort{}
	}
	switch family {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(bytes[:4])), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(*bytes).Unmap(), port)
	default:
		return netip.AddrPort{}
	}
}
