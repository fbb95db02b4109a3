package event

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// jsonEvent is what ParseJSON reads. Pointers tell "0" from "not there".
type jsonEvent struct {
	Type      string   `json:"type"`
	Seq       uint64   `json:"seq"`
	Kind      string   `json:"kind"`
	Time      int64    `json:"ts"`
	Start     int64    `json:"start"`
	PID       uint32   `json:"pid"`
	TID       uint32   `json:"tid"`
	CPU       uint16   `json:"cpu"`
	Call      string   `json:"call"`
	Op        string   `json:"op"`
	FD        *int32   `json:"fd"`
	EpFD      *int32   `json:"epfd"`
	File      uint32   `json:"file"`
	NewFile   uint32   `json:"new_file"`
	Sock      uint32   `json:"sock"`
	Epoll     uint32   `json:"epoll"`
	Events    string   `json:"events"`
	Key       string   `json:"key"`
	Data      string   `json:"data"`
	Ret       int64    `json:"ret"`
	Timeout   int64    `json:"timeout"`
	MaxEvents uint32   `json:"maxevents"`
	Unread    *uint32  `json:"unread"`
	Old       string   `json:"old"`
	State     string   `json:"state"`
	Reason    string   `json:"reason"`
	Signal    uint8    `json:"signal"`
	Local     string   `json:"local"`
	Peer      string   `json:"peer"`
	Flags     []string `json:"flags"`
	Lost      uint32   `json:"lost"`
	TCPSeq    uint32   `json:"tcp_seq"`
	TCPAck    uint32   `json:"tcp_ack"`
	Len       uint32   `json:"len"`
	Window    uint16   `json:"window"`
	TCPFlags  string   `json:"tcp_flags"`
	Doing     string   `json:"doing"`
	Lasted    int64    `json:"lasted"`
	Times     uint32   `json:"times"`
	BlockedIn string   `json:"blocked_in"`
	Stack     *struct {
		User   []string `json:"user"`
		Kernel []string `json:"kernel"`
	} `json:"stack"`
}

// ParseJSON reads what AppendJSON writes. The ordinals are also used as addresses, so that a written history can
// be given to a timeline again. Fields it does not know are passed over, words it does not know are errors.
func ParseJSON(line []byte) (Event, error) {
	var j jsonEvent
	if err := json.Unmarshal(line, &j); err != nil {
		return Event{}, fmt.Errorf("parsing an event: %w", err)
	}
	if j.Type != "event" && j.Type != "" {
		return Event{}, fmt.Errorf("parsing an event: type is %q", j.Type)
	}
	e := Event{
		Seq: j.Seq, Time: Time(j.Time), Start: Time(j.Start), CPU: j.CPU,
		PID: j.PID, TID: j.TID, Lost: j.Lost, FD: NoFD, EpFD: NoFD,
		FileAddr: Addr(j.File), NewFileAddr: Addr(j.NewFile), SockAddr: Addr(j.Sock), EpollAddr: Addr(j.Epoll),
		File: FileID(j.File), NewFile: FileID(j.NewFile), Sock: SockID(j.Sock), Epoll: EpollID(j.Epoll),
		Ret: j.Ret, Timeout: time.Duration(j.Timeout), MaxEvents: j.MaxEvents, Signal: j.Signal,
		Packet: Packet{Seq: j.TCPSeq, Ack: j.TCPAck, Len: j.Len, Window: j.Window},
	}
	if j.FD != nil {
		e.FD = *j.FD
	}
	if j.EpFD != nil {
		e.EpFD = *j.EpFD
	}
	if j.Unread != nil {
		e.Unread, e.Flags = *j.Unread, HasUnread
	}
	p := wordParser{}
	e.Kind = p.kind(j.Kind)
	e.Call = p.call(j.Call)
	if j.Doing != "" {
		e.Sched = Sched{Doing: p.doing(j.Doing), Times: j.Times, For: time.Duration(j.Lasted), Call: j.BlockedIn}
		if j.Stack != nil {
			e.Sched.Stack = &Stack{User: j.Stack.User, Kernel: j.Stack.Kernel}
		}
	}
	e.Op = p.op(e.Kind, j.Op)
	e.Events = p.mask("events", j.Events)
	e.Key = p.mask("key", j.Key)
	e.Data = p.hex(j.Data)
	e.OldState = p.state("old", j.Old)
	e.NewState = p.state("state", j.State)
	e.Reason = p.reason(j.Reason)
	e.Local = p.addr("local", j.Local)
	e.Peer = p.addr("peer", j.Peer)
	e.Flags |= p.flags(j.Flags)
	e.Packet.Flags = p.tcpFlags(j.TCPFlags)
	if e.Kind != KindPacket {
		e.Packet = Packet{}
	}
	return e, p.err
}

// wordParser reads words and keeps the first error.
type wordParser struct{ err error }

func (p *wordParser) fail(field, word string) {
	if p.err == nil {
		p.err = fmt.Errorf("parsing an event: %s has the unknown value %q", field, word)
	}
}

func (p *wordParser) kind(s string) Kind {
	k, ok := KindByName(s)
	if !ok {
		p.fail("kind", s)
	}
	return k
}

func (p *wordParser) call(s string) Call {
	for c, n := range callNames {
		if n == s {
			return Call(c)
		}
	}
	p.fail("call", s)
	return CallNone
}

func (p *wordParser) doing(s string) Doing {
	for d, n := range doingNames {
		if n == s {
			return Doing(d)
		}
	}
	p.fail("doing", s)
	return DoingUnknown
}

func (p *wordParser) op(k Kind, s string) uint8 {
	if s == "" {
		return 0
	}
	if k == KindShutdown {
		for op, n := range shutdownNames {
			if n == s {
				return uint8(op)
			}
		}
	} else {
		for op := CtlAdd; op <= CtlMod; op++ {
			if CtlName(op) == s {
				return op
			}
		}
	}
	return p.number("op", s)
}

// number reads a value without a name, written as "field N".
func (p *wordParser) number(field, s string) uint8 {
	word, _, _ := strings.Cut(s, " ")
	digits, ok := strings.CutPrefix(s, word+" ")
	v, err := strconv.ParseUint(digits, 10, 8)
	if !ok || err != nil {
		p.fail(field, s)
	}
	return uint8(v)
}

func (p *wordParser) mask(field, s string) Mask {
	m, ok := ParseMask(s)
	if !ok {
		p.fail(field, s)
	}
	return m
}

func (p *wordParser) hex(s string) uint64 {
	if s == "" {
		return 0
	}
	digits, ok := strings.CutPrefix(s, "0x")
	v, err := strconv.ParseUint(digits, 16, 64)
	if !ok || err != nil {
		p.fail("data", s)
	}
	return v
}

func (p *wordParser) state(field, s string) State {
	for i, n := range stateNames {
		if n == s {
			return State(i)
		}
	}
	return State(p.number(field, s))
}

func (p *wordParser) reason(s string) Reason {
	for i, n := range reasonNames {
		if n == s {
			return Reason(i)
		}
	}
	p.fail("reason", s)
	return ReasonUnknown
}

func (p *wordParser) addr(field, s string) netip.AddrPort {
	if s == "" {
		return netip.AddrPort{}
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Addr().Zone() != "" {
		p.fail(field, s)
		return netip.AddrPort{}
	}
	return a
}

func (p *wordParser) flags(words []string) Flags {
	var f Flags
next:
	for _, w := range words {
		for _, n := range flagNames {
			if n.name == w {
				f |= n.flag
				continue next
			}
		}
		p.fail("flags", w)
	}
	return f
}

func (p *wordParser) tcpFlags(s string) TCPFlags {
	var f TCPFlags
	if s == "none" {
		return 0
	}
	for i := range len(s) {
		bit := strings.IndexByte(tcpFlagLetters, s[i])
		if bit < 0 {
			p.fail("tcp_flags", s)
			return 0
		}
		f |= 1 << bit
	}
	return f
}
