package event

import (
	"net/netip"
	"strconv"
)

// flagNames are the JSON names of the flags. HasUnread has none: the field unread says it by being there.
var flagNames = [...]struct {
	flag Flags
	name string
}{
	{Coalesced, "coalesced"}, {Disarmed, "disarmed"}, {Filtered, "filtered"}, {Overflow, "overflow"},
	{Listener, "listener"}, {FIN, "fin"}, {FINUnread, "fin-unread"}, {Peek, "peek"}, {Last, "last"},
	{Nonblock, "nonblock"}, {Waiter, "waiter"}, {IsEpoll, "epoll"}, {IsSocket, "socket"}, {Dead, "dead"},
	{Compat, "compat"}, {Ambiguous, "ambiguous"}, {AfterGap, "after-gap"}, {Ongoing, "ongoing"}, {Messages, "messages"},
}

// fieldSet says which fields of an event are always written for a kind, because their zero is a fact there.
type fieldSet uint8

const (
	hasRet fieldSet = 1 << iota
	hasBytes
	hasKey
	hasData
	hasEvents
	hasTimeout
)

// fieldsOf holds no entry for kinds whose zero values all mean "not known".
var fieldsOf = [numKinds]fieldSet{
	KindWakeup: hasKey | hasData | hasEvents, KindRecv: hasRet | hasBytes, KindSend: hasRet | hasBytes,
	KindEpollCreate: hasRet, KindEpollCtl: hasRet | hasData | hasEvents, KindWaitEnter: hasTimeout,
	KindWaitReturn: hasRet, KindDeliver: hasData | hasEvents, KindRead: hasRet | hasBytes,
	KindWrite: hasRet | hasBytes, KindAccept: hasRet, KindClose: hasRet, KindDup: hasRet, KindFork: hasRet,
	KindExit: hasRet, KindShutdown: hasRet,
}

// AppendJSON appends e as one JSON object of type "event", without a line end. A field that is not there is not
// known. Kernel addresses are never written; the timeline's ordinals stand for them. epoll_data is a hexadecimal
// string, because a JSON number does not hold 64 bits.
func AppendJSON(b []byte, e *Event) []byte {
	var always fieldSet
	if e.Kind < numKinds {
		always = fieldsOf[e.Kind]
	}
	b = append(b, `{"type":"event"`...)
	b = appendUint(b, "seq", e.Seq)
	b = appendString(b, "kind", e.Kind.String())
	b = append(b, `,"ts":`...)
	b = strconv.AppendInt(b, int64(e.Time), 10)
	b = appendInt(b, "start", int64(e.Start))
	b = appendUint(b, "pid", uint64(e.PID))
	b = appendUint(b, "tid", uint64(e.TID))
	b = append(b, `,"cpu":`...)
	b = strconv.AppendUint(b, uint64(e.CPU), 10)
	if e.Call != CallNone && e.Call < numCalls {
		b = appendString(b, "call", e.Call.String())
	}
	b = appendOp(b, e)
	b = appendFD(b, "fd", e.FD)
	b = appendFD(b, "epfd", e.EpFD)
	b = appendUint(b, "file", uint64(e.File))
	b = appendUint(b, "new_file", uint64(e.NewFile))
	b = appendUint(b, "sock", uint64(e.Sock))
	b = appendUint(b, "epoll", uint64(e.Epoll))
	b = appendMask(b, "events", e.Events, always&hasEvents != 0)
	b = appendMask(b, "key", e.Key, always&hasKey != 0)
	if e.Data != 0 || always&hasData != 0 {
		b = append(b, `,"data":"0x`...)
		b = strconv.AppendUint(b, e.Data, 16)
		b = append(b, '"')
	}
	if e.Ret != 0 || always&hasRet != 0 {
		b = append(b, `,"ret":`...)
		b = strconv.AppendInt(b, e.Ret, 10)
	}
	if always&hasBytes != 0 && e.Ret >= 0 {
		b = append(b, `,"bytes":`...)
		b = strconv.AppendInt(b, e.Ret, 10)
	}
	if e.Timeout != 0 || always&hasTimeout != 0 {
		b = append(b, `,"timeout":`...)
		b = strconv.AppendInt(b, int64(e.Timeout), 10)
	}
	b = appendUint(b, "maxevents", uint64(e.MaxEvents))
	if e.Has(HasUnread) {
		b = append(b, `,"unread":`...)
		b = strconv.AppendUint(b, uint64(e.Unread), 10)
	}
	b = appendState(b, "old", e.OldState)
	b = appendState(b, "state", e.NewState)
	if e.Reason != ReasonUnknown && e.Reason < numReasons {
		b = appendString(b, "reason", e.Reason.String())
	}
	b = appendUint(b, "signal", uint64(e.Signal))
	b = appendAddr(b, "local", e.Local)
	b = appendAddr(b, "peer", e.Peer)
	b = appendSched(b, &e.Sched)
	b = appendFlags(b, e.Flags)
	b = appendUint(b, "lost", uint64(e.Lost))
	if e.Kind == KindPacket {
		b = appendPacket(b, &e.Packet)
	}
	return append(b, '}')
}

func appendUint(b []byte, name string, v uint64) []byte {
	if v == 0 {
		return b
	}
	return strconv.AppendUint(appendName(b, name), v, 10)
}

func appendInt(b []byte, name string, v int64) []byte {
	if v == 0 {
		return b
	}
	return strconv.AppendInt(appendName(b, name), v, 10)
}

func appendFD(b []byte, name string, fd int32) []byte {
	if fd == NoFD {
		return b
	}
	return strconv.AppendInt(appendName(b, name), int64(fd), 10)
}

func appendName(b []byte, name string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

// appendString takes only words from this package's own tables, which need no escaping.
func appendString(b []byte, name, v string) []byte {
	b = append(appendName(b, name), '"')
	b = append(b, v...)
	return append(b, '"')
}

func appendMask(b []byte, name string, m Mask, always bool) []byte {
	if m == 0 && !always {
		return b
	}
	b = append(appendName(b, name), '"')
	return append(m.AppendTo(b), '"')
}

func appendState(b []byte, name string, s State) []byte {
	switch {
	case s == 0:
		return b
	case int(s) < len(stateNames):
		return appendString(b, name, stateNames[s])
	default:
		b = append(appendName(b, name), `"state `...)
		return append(strconv.AppendUint(b, uint64(s), 10), '"')
	}
}

func appendAddr(b []byte, name string, a netip.AddrPort) []byte {
	// A zone is text from outside; sockets of the target never have one here.
	if !a.IsValid() || a.Addr().Zone() != "" {
		return b
	}
	b = append(appendName(b, name), '"')
	return append(a.AppendTo(b), '"')
}

var shutdownNames = [...]string{"RD", "WR", "RDWR"}

func appendOp(b []byte, e *Event) []byte {
	switch {
	case e.Kind == KindShutdown && int(e.Op) < len(shutdownNames):
		return appendString(b, "op", shutdownNames[e.Op])
	case e.Op >= CtlAdd && e.Op <= CtlMod && e.Kind != KindShutdown:
		return appendString(b, "op", CtlName(e.Op))
	case e.Op == 0:
		return b
	default:
		b = append(appendName(b, "op"), `"op `...)
		return append(strconv.AppendUint(b, uint64(e.Op), 10), '"')
	}
}

func appendFlags(b []byte, f Flags) []byte {
	open := false
	for _, n := range flagNames {
		if f&n.flag == 0 {
			continue
		}
		if open {
			b = append(b, ',', '"')
		} else {
			b = append(b, `,"flags":["`...)
		}
		open = true
		b = append(b, n.name...)
		b = append(b, '"')
	}
	if open {
		b = append(b, ']')
	}
	return b
}

func appendPacket(b []byte, p *Packet) []byte {
	b = append(b, `,"tcp_seq":`...)
	b = strconv.AppendUint(b, uint64(p.Seq), 10)
	b = append(b, `,"tcp_ack":`...)
	b = strconv.AppendUint(b, uint64(p.Ack), 10)
	b = append(b, `,"len":`...)
	b = strconv.AppendUint(b, uint64(p.Len), 10)
	b = append(b, `,"window":`...)
	b = strconv.AppendUint(b, uint64(p.Window), 10)
	b = append(b, `,"tcp_flags":"`...)
	b = p.Flags.appendTo(b)
	return append(b, '"')
}
