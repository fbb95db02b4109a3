// Package event is epwatch's vocabulary: what can happen, in the words of epoll(7) and tcp(7), as plain values.
// It knows nothing of how events are recorded, ordered, judged or shown, and imports the standard library only.
package event

import (
	"net/netip"
	"time"
)

// Time is a point on CLOCK_MONOTONIC in nanoseconds, the clock of bpf_ktime_get_ns.
type Time int64

// Sub returns the time from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Add returns the point d after t.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Addr is a kernel address used as a name for an object while that object lives. The kernel reuses addresses, so
// an Addr alone is never an identity; and it is a secret of the kernel, so it is never shown. 0 means not known.
type Addr uint64

// FileID is the timeline's own number for one open file (struct file) from its first sight to its end, counted
// from 1. 0 means not known.
type FileID uint32

// EpollID is the timeline's own number for one epoll instance, counted from 1. 0 means not known.
type EpollID uint32

// SockID is the timeline's own number for one socket, counted from 1. 0 means not known.
type SockID uint32

// NoFD stands where no descriptor is known.
const NoFD int32 = -1

// Event is one thing that happened. It is a flat value; which fields hold is said at each Kind. An absent value
// is zero, but NoFD for descriptors and an unset flag for Unread.
type Event struct {
	Seq   uint64 // place in the timeline, from 1; 0 until the timeline has given it
	Time  Time   // when it happened; a call's return
	Start Time   // a call's entry, 0 for events without length
	Kind  Kind
	CPU   uint16
	Flags Flags
	Call  Call
	Op    uint8 // epoll_ctl operation or shutdown direction

	PID  uint32 // process (tgid); 0 when the context says nothing
	TID  uint32 // thread; 0 when the context says nothing
	Lost uint32 // records that CPU failed to send just before this one

	FD   int32
	EpFD int32

	// The addresses name kernel objects for the timeline; the IDs are its answer.
	FileAddr, NewFileAddr, SockAddr, EpollAddr Addr

	File    FileID
	NewFile FileID
	Sock    SockID
	Epoll   EpollID

	Events Mask   // registered, requested or delivered mask, by kind
	Key    Mask   // wakeup: the poll key; 0 when the kernel passed none
	Data   uint64 // epoll_data, opaque

	Ret       int64         // a call's result, or a negative errno
	Timeout   time.Duration // wait-enter: negative waits for ever
	MaxEvents uint32        // wait-enter
	Unread    uint32        // TCP: bytes without the FIN, UDP and UNIX: messages, Listener: connections; holds when HasUnread is set

	OldState, NewState State
	Reason             Reason
	Signal             uint8

	Local, Peer netip.AddrPort
	Packet      Packet
	Sched       Sched
}

// Packet is the header of one TCP segment. No payload is ever recorded.
type Packet struct {
	Seq, Ack uint32 // as on the wire
	Len      uint32 // payload bytes
	Window   uint16 // as on the wire, not scaled
	Flags    TCPFlags
}

// Has reports whether all flags of f are set.
func (e *Event) Has(f Flags) bool { return e.Flags&f == f }

// Bytes returns how many bytes a read, write, recv or send moved.
func (e *Event) Bytes() int64 { return max(e.Ret, 0) }

// Flags qualify an event. The low 16 are the wire's (bpf/event.h, enum event_flag).
type Flags uint32

const (
	// HasUnread: Unread was read from the kernel.
	HasUnread Flags = 1 << iota
	// Coalesced: the item was on the ready list already, so this wakeup merges into an earlier one.
	Coalesced
	// Disarmed: the item's mask holds private bits only (EPOLLONESHOT has fired), so the kernel ignores the wakeup.
	Disarmed
	// Filtered: the poll key shares no bit with the mask, so the kernel ignores the wakeup.
	Filtered
	// Overflow: another thread was just harvesting the ready list; the item went to the overflow list.
	Overflow
	// Listener: the socket listens, and Unread counts connections.
	Listener
	// FIN: the peer has closed its side.
	FIN
	// FINUnread: the peer's FIN stands in the receive queue, not read yet (it counts one in netstat's Recv-Q).
	FINUnread
	// Peek: MSG_PEEK, nothing was consumed.
	Peek
	// Last: last reference (close, release) or last thread (exit).
	Last
	// Nonblock: the open file is non-blocking.
	Nonblock
	// Waiter: a thread slept in epoll_wait on the instance when the wakeup came.
	Waiter
	// IsEpoll: the file is an epoll instance.
	IsEpoll
	// IsSocket: the file is a socket.
	IsSocket
	// Dead: the process is on its way out (PF_EXITING) while this happens.
	Dead
	// Compat: a 32-bit call; its arguments were not decoded.
	Compat
)

const (
	// Ambiguous: two items share the same epoll_data; File was not guessed. Set by the timeline.
	Ambiguous Flags = 1 << (16 + iota)
	// AfterGap: set by the timeline where records of this CPU or file were lost before.
	AfterGap
	// Ongoing: a part of a turn that is not over: this is what the thread is doing. Set by the tracer.
	Ongoing
	// Messages: Unread counts the messages of a UDP or UNIX socket. Set by the timeline.
	Messages
)

// Call is the system call behind an event, independent of the architecture's numbers.
type Call uint8

// The calls, in the wire's order (bpf/event.h, enum call_id).
const (
	CallNone Call = iota
	CallEpollCreate
	CallEpollCreate1
	CallEpollCtl
	CallEpollWait
	CallEpollPwait
	CallEpollPwait2
	CallRead
	CallReadv
	CallRecvfrom
	CallRecvmsg
	CallRecvmmsg
	CallPreadv2
	CallSplice
	CallTee
	CallSendfile
	CallWrite
	CallWritev
	CallSendto
	CallSendmsg
	CallSendmmsg
	CallPwritev2
	CallAccept
	CallAccept4
	CallClose
	CallCloseRange
	CallDup
	CallDup2
	CallDup3
	CallFcntl
	CallShutdown
	CallSocket
	CallConnect
	CallIOUring

	numCalls
)

var callNames = [numCalls]string{
	"", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "read", "readv",
	"recvfrom", "recvmsg", "recvmmsg", "preadv2", "splice", "tee", "sendfile", "write", "writev", "sendto",
	"sendmsg", "sendmmsg", "pwritev2", "accept", "accept4", "close", "close_range", "dup", "dup2", "dup3", "fcntl",
	"shutdown", "socket", "connect", "io_uring_enter",
}

// String returns the system call's name, empty for CallNone.
func (c Call) String() string {
	if c >= numCalls {
		return "unknown"
	}
	return callNames[c]
}

// State is a TCP state with the kernel's numbers (include/net/tcp_states.h).
type State uint8

var stateNames = [...]string{
	"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK",
	"LISTEN", "CLOSING", "NEW_SYN_RECV",
}

// The TCP states. 0 means not known.
const (
	Established State = iota + 1
	SynSent
	SynRecv
	FinWait1
	FinWait2
	TimeWait
	Closed
	CloseWait
	LastAck
	Listen
	Closing
	NewSynRecv
)

// String returns the state in netstat's words.
func (s State) String() string {
	if int(s) >= len(stateNames) {
		return "unknown"
	}
	return stateNames[s]
}

// Reason is why a reset was sent, as far as the kernel says (enum sk_rst_reason, since 6.10; not known before).
type Reason uint8

// The reasons, in the wire's order (bpf/event.h, enum reset_reason).
const (
	ReasonUnknown Reason = iota
	ReasonAbortOnClose
	ReasonAbortOnLinger
	ReasonAbortOnData
	ReasonAbortOnMemory
	ReasonTCPState
	ReasonKeepalive
	ReasonDisconnectWithData
	ReasonOther

	numReasons
)

var reasonNames = [numReasons]string{
	"", "closed with unread data", "negative linger2", "data after close", "out of memory", "disconnected or linger 0",
	"keepalive timeout", "disconnected with data", "other",
}

// String says the reason in words, empty when not known.
func (r Reason) String() string {
	if r >= numReasons {
		return "unknown"
	}
	return reasonNames[r]
}
