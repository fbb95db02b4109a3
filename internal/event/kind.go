package event

// Kind says what happened. Its values are the wire's (bpf/event.h, enum event_kind) and its names are the JSON
// names; neither is ever reused.
type Kind uint16

// The kinds. "Kernel side" kinds are seen where the kernel does them, in whatever context that is; "user side"
// kinds are system calls of the target, recorded at their return unless said otherwise.
const (
	// KindNone is the zero value and never a real event.
	KindNone Kind = iota
	// Wakeup: an epoll item's wait-queue callback was called (kernel side). Epoll, File, FD, Data, Events (the
	// registered mask), Key, Unread, and the flags Coalesced, Disarmed, Filtered, Overflow, Listener, FIN.
	// PID is the process that the epoll instance belongs to; TID is not known.
	KindWakeup
	// Recv: the kernel handed input of a socket to a reader (kernel side, inside the reader's call). Sock, Ret
	// (bytes, 0 at end of stream, or a negative errno), Unread (what is left), flag Peek.
	KindRecv
	// Send: the kernel took output from a writer (kernel side). Sock, Ret.
	KindSend
	// Reset: a TCP reset was sent for a socket of the target (kernel side). Sock, Unread, Reason.
	KindReset
	// State: a TCP socket changed its state (kernel side). Sock, OldState, NewState, Local, Peer, Unread.
	KindState
	// EpollCreate: epoll_create or epoll_create1 returned. Ret is the descriptor, Epoll the instance.
	KindEpollCreate
	// EpollCtl: epoll_ctl returned. EpFD, Epoll, FD, File, Sock, Op, Events, Data, Ret.
	KindEpollCtl
	// WaitEnter: a thread entered epoll_wait (recorded at entry). EpFD, Epoll, MaxEvents, Timeout.
	KindWaitEnter
	// WaitReturn: epoll_wait returned. EpFD, Epoll, Start, Ret (number of deliveries that follow, or -errno).
	KindWaitReturn
	// Deliver: epoll_wait handed out one item. EpFD, Epoll, Events, Data. File and FD are the timeline's, found
	// by (Epoll, Data).
	KindDeliver
	// Read: a reading call returned. Call, FD, File, Sock, Start, Ret.
	KindRead
	// Write: a writing call returned. Call, FD, File, Sock, Start, Ret.
	KindWrite
	// Accept: accept or accept4 returned. FD and File are the listener's; Ret is the new descriptor, NewFile
	// and Sock what is behind it.
	KindAccept
	// Close: close returned. FD, and File and Sock that it named before; flag Last where the kernel said that
	// this was the last reference.
	KindClose
	// Dup: a descriptor was duplicated. FD the old one, Ret the new one, File.
	KindDup
	// Fork: the process made a child. Ret is the child's PID.
	KindFork
	// Exec: the process runs a new program.
	KindExec
	// Exit: a thread ended; flag Last when it was the last of its process. Ret is the wait status.
	KindExit
	// Signal: a signal was delivered to the process. Signal.
	KindSignal
	// Snapshot: something that exists, seen when it was first met: a socket with its addresses, or a file or
	// interest from before the trace. Sock, File, FD, Local, Peer, NewState, Unread; Epoll, Data and Events for an
	// interest.
	KindSnapshot
	// Lost: records could not be sent. Lost says how many, CPU where.
	KindLost
	// Woken: the kernel picked this sleeping thread to return from epoll_wait. TID is the sleeper, Epoll.
	KindWoken
	// Queued: a finished handshake entered a listener's accept queue. Sock is the listener, Unread the length of
	// the queue including this one.
	KindQueued
	// Release: the last reference to an open file is gone. Sock or File, Unread: what was left in it.
	KindRelease
	// Packet: one TCP segment on the wire of a traced connection. Local is the sender, Peer the receiver.
	KindPacket
	// Shutdown: shutdown returned. FD, File, Sock, Op (0 read, 1 write, 2 both), Ret.
	KindShutdown
	// Unseen: the process does something whose calls are not followed: io_uring (Call), or 32-bit calls (flag
	// Compat). Once for each process and class.
	KindUnseen
	// Sched: what became of a thread's time between a wait's return (Start) and the next wait, or Time where it is not over
	// (kernel side): one event for each part (Sched), all with the same Start and Time. Only of turns that are slow, or
	// that somebody asked about; then the part that lasts carries Ongoing.
	KindSched

	numKinds
)

var kindNames = [numKinds]string{
	KindNone: "none", KindWakeup: "wakeup", KindRecv: "recv", KindSend: "send", KindReset: "reset", KindState: "state",
	KindEpollCreate: "epoll-create", KindEpollCtl: "epoll-ctl", KindWaitEnter: "wait-enter",
	KindWaitReturn: "wait-return", KindDeliver: "deliver", KindRead: "read", KindWrite: "write",
	KindAccept: "accept", KindClose: "close", KindDup: "dup", KindFork: "fork", KindExec: "exec", KindExit: "exit",
	KindSignal: "signal", KindSnapshot: "snapshot", KindLost: "lost", KindWoken: "woken", KindQueued: "queued",
	KindRelease: "release", KindPacket: "packet", KindShutdown: "shutdown", KindUnseen: "unseen",
	KindSched: "sched",
}

// String returns the JSON name of k, or "unknown".
func (k Kind) String() string {
	if k >= numKinds {
		return "unknown"
	}
	return kindNames[k]
}

// KindByName returns the kind with that JSON name, and whether there is one.
func KindByName(name string) (Kind, bool) {
	for k, n := range kindNames {
		if n == name && k != 0 {
			return Kind(k), true
		}
	}
	return KindNone, false
}

// Kinds returns all kinds in the order of their values.
func Kinds() []Kind {
	ks := make([]Kind, 0, numKinds-1)
	for k := KindNone + 1; k < numKinds; k++ {
		ks = append(ks, k)
	}
	return ks
}

// Kernel reports whether the kind is one of the kernel's own doings rather than a call of the program.
func (k Kind) Kernel() bool {
	switch k {
	case KindWakeup, KindRecv, KindSend, KindReset, KindState, KindWoken, KindQueued, KindRelease, KindPacket, KindSched:
		return true
	default:
		return false
	}
}
