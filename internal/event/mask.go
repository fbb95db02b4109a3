package event

import (
	"strconv"
	"strings"
)

// Mask is a set of epoll events and registration bits, with the values of <sys/epoll.h>.
type Mask uint32

// The bits of a Mask.
const (
	In        Mask = 0x1
	Pri       Mask = 0x2
	Out       Mask = 0x4
	Err       Mask = 0x8
	Hup       Mask = 0x10
	Nval      Mask = 0x20
	RdNorm    Mask = 0x40
	RdBand    Mask = 0x80
	WrNorm    Mask = 0x100
	WrBand    Mask = 0x200
	Msg       Mask = 0x400
	RdHup     Mask = 0x2000
	PollFree  Mask = 0x4000
	Exclusive Mask = 1 << 28
	WakeUp    Mask = 1 << 29
	OneShot   Mask = 1 << 30
	ET        Mask = 1 << 31

	// Private are the bits that say how to watch, not what for (EP_PRIVATE_BITS, fs/eventpoll.c).
	Private = Exclusive | WakeUp | OneShot | ET
)

var maskNames = [...]struct {
	bit  Mask
	name string
}{
	{In, "IN"}, {Pri, "PRI"}, {Out, "OUT"}, {Err, "ERR"}, {Hup, "HUP"}, {Nval, "NVAL"}, {RdNorm, "RDNORM"},
	{RdBand, "RDBAND"}, {WrNorm, "WRNORM"}, {WrBand, "WRBAND"}, {Msg, "MSG"}, {RdHup, "RDHUP"},
	{PollFree, "POLLFREE"}, {Exclusive, "EXCLUSIVE"}, {WakeUp, "WAKEUP"}, {OneShot, "ONESHOT"}, {ET, "ET"},
}

// String writes the mask in epoll(7)'s words without their EPOLL prefix, "0" when empty, and bits without a name
// in hexadecimal.
func (m Mask) String() string { return string(m.AppendTo(nil)) }

// AppendTo appends what String returns.
func (m Mask) AppendTo(b []byte) []byte {
	if m == 0 {
		return append(b, '0')
	}
	start := len(b)
	for _, n := range maskNames {
		if m&n.bit == 0 {
			continue
		}
		if len(b) > start {
			b = append(b, '|')
		}
		b = append(b, n.name...)
		m &^= n.bit
	}
	if m != 0 {
		if len(b) > start {
			b = append(b, '|')
		}
		b = append(b, "0x"...)
		b = strconv.AppendUint(b, uint64(m), 16)
	}
	return b
}

// ParseMask reads what String writes. It reports false when a word is not known.
func ParseMask(s string) (Mask, bool) {
	if s == "0" || s == "" {
		return 0, true
	}
	var m Mask
	for word := range strings.SplitSeq(s, "|") {
		bit, ok := parseBit(word)
		if !ok {
			return 0, false
		}
		m |= bit
	}
	return m, true
}

func parseBit(word string) (Mask, bool) {
	for _, n := range maskNames {
		if n.name == word {
			return n.bit, true
		}
	}
	if hex, ok := strings.CutPrefix(word, "0x"); ok {
		v, err := strconv.ParseUint(hex, 16, 32)
		return Mask(v), err == nil
	}
	return 0, false
}

// The operations of epoll_ctl (<sys/epoll.h>).
const (
	CtlAdd uint8 = 1
	CtlDel uint8 = 2
	CtlMod uint8 = 3
)

// CtlName returns the operation's name without its EPOLL_CTL prefix.
func CtlName(op uint8) string {
	switch op {
	case CtlAdd:
		return "ADD"
	case CtlDel:
		return "DEL"
	case CtlMod:
		return "MOD"
	default:
		return "op " + strconv.Itoa(int(op))
	}
}

// TCPFlags are the flag bits of a TCP header, as on the wire.
type TCPFlags uint8

const tcpFlagLetters = "FSRP.UEW"

// String writes the set flags, "." for ACK as tcpdump does, for instance "P." or "R.".
func (f TCPFlags) String() string { return string(f.appendTo(nil)) }

func (f TCPFlags) appendTo(b []byte) []byte {
	const ack = 4 // tcpdump writes it last
	if f == 0 {
		return append(b, "none"...)
	}
	for i := range len(tcpFlagLetters) {
		if i != ack && f&(1<<i) != 0 {
			b = append(b, tcpFlagLetters[i])
		}
	}
	if f&(1<<ack) != 0 {
		b = append(b, tcpFlagLetters[ack])
	}
	return b
}
