package render

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// phrase is an event in words: what happened, to what, and how loud to say it.
type phrase struct {
	what   string
	detail string
	style  style
}

// phrases has one function per kind. A kind without one is shown by its name.
var phrases = [...]func(names, *event.Event) phrase{
	event.KindWakeup:      wakeupWords,
	event.KindRecv:        recvWords,
	event.KindSend:        sendWords,
	event.KindReset:       resetWords,
	event.KindState:       stateWords,
	event.KindEpollCreate: createWords,
	event.KindEpollCtl:    ctlWords,
	event.KindWaitEnter:   waitEnterWords,
	event.KindWaitReturn:  waitReturnWords,
	event.KindDeliver:     deliverWords,
	event.KindRead:        readWords,
	event.KindWrite:       writeWords,
	event.KindAccept:      acceptWords,
	event.KindClose:       closeWords,
	event.KindDup:         dupWords,
	event.KindFork:        forkWords,
	event.KindExit:        exitWords,
	event.KindSignal:      signalWords,
	event.KindSnapshot:    snapshotWords,
	event.KindLost:        lostWords,
	event.KindWoken:       wokenWords,
	event.KindQueued:      queuedWords,
	event.KindRelease:     releaseWords,
	event.KindShutdown:    shutdownWords,
	event.KindExec:        execWords,
	event.KindUnseen:      unseenWords,
	event.KindSched:       schedWords,
}

func (n names) words(ev *event.Event) phrase {
	if int(ev.Kind) < len(phrases) && phrases[ev.Kind] != nil {
		return phrases[ev.Kind](n, ev)
	}
	return phrase{what: ev.Kind.String(), detail: n.subject(ev)}
}

func wakeupWords(n names, ev *event.Event) phrase {
	bits := wakeupBits(ev)
	p := phrase{what: "wakeup", detail: join(n.subject(ev), bits, unread(ev))}
	switch {
	case ev.Has(event.Disarmed):
		p.detail, p.style = p.detail+"; ignored: disarmed", yellow
	case ev.Has(event.Filtered):
		p.detail += "; ignored: not asked for"
	case ev.Has(event.Coalesced):
		p.detail += "; was ready already"
	}
	return p
}

// wakeupBits says which news the kernel brought. TCP announces any input as IN|PRI|RDNORM|RDBAND, so what the item
// does not ask for says nothing; a key of 0 is the kernel saying "look yourself".
func wakeupBits(ev *event.Event) string {
	asked := ev.Key & ev.Events &^ event.Private
	switch {
	case ev.Key == 0:
		return ""
	case asked != 0:
		return asked.String()
	case ev.Key&event.In != 0:
		return event.In.String()
	default:
		return ev.Key.String()
	}
}

func recvWords(n names, ev *event.Event) phrase {
	p := phrase{what: "received"}
	switch {
	case ev.Ret < 0:
		p.detail = join(n.subject(ev), errno(ev.Ret))
	case ev.Ret == 0:
		p.detail = join(n.subject(ev), "end of stream", left(ev))
	case ev.Has(event.Peek):
		p.detail = join(n.subject(ev), plural(uint64(ev.Ret), "byte")+" peeked at", left(ev))
	default:
		p.detail = join(n.subject(ev), plural(uint64(ev.Ret), "byte"), left(ev))
	}
	return p
}

func sendWords(n names, ev *event.Event) phrase {
	return phrase{what: "sent", detail: join(n.subject(ev), outcome(ev.Ret))}
}

func resetWords(n names, ev *event.Event) phrase {
	detail := join(n.subject(ev), "RST sent")
	switch {
	case ev.Has(event.HasUnread) && ev.Unread > 0:
		detail += ", " + plural(uint64(ev.Unread), "byte") + " never read"
	case ev.Reason != event.ReasonUnknown:
		detail += ", " + ev.Reason.String()
	}
	return phrase{what: "reset", detail: detail, style: red}
}

func stateWords(n names, ev *event.Event) phrase {
	change := ev.NewState.String()
	if ev.OldState != 0 {
		change = ev.OldState.String() + " → " + change
	}
	p := phrase{what: "state", detail: join(n.subject(ev), change)}
	if ev.Has(event.HasUnread) && ev.Unread > 0 {
		p.detail = join(p.detail, unread(ev))
	}
	return p
}

func createWords(_ names, ev *event.Event) phrase {
	if ev.Ret < 0 {
		return phrase{what: call(ev, "epoll_create1"), detail: errno(ev.Ret), style: yellow}
	}
	return phrase{what: call(ev, "epoll_create1"), detail: descriptor(int32(ev.Ret)) + ", a new epoll instance"}
}

func ctlWords(n names, ev *event.Event) phrase {
	p := phrase{what: "epoll_ctl " + event.CtlName(ev.Op), detail: n.subject(ev)}
	if ev.Op != event.CtlDel {
		p.detail = join(p.detail, ev.Events.String())
	}
	if ev.Ret < 0 {
		p.detail, p.style = join(p.detail, "→ "+errno(ev.Ret)), yellow
	}
	return p
}

func waitEnterWords(_ names, ev *event.Event) phrase {
	p := phrase{what: "epoll_wait", style: dim}
	switch {
	case ev.Timeout < 0:
		p.detail = "waits"
	case ev.Timeout == 0:
		p.detail = "looks, without waiting"
	default:
		p.detail = "waits up to " + ev.Timeout.Round(time.Millisecond).String()
	}
	return p
}

func waitReturnWords(_ names, ev *event.Event) phrase {
	switch {
	case ev.Ret < 0:
		return phrase{what: "epoll_wait", detail: "→ " + errno(ev.Ret)}
	case ev.Ret == 0:
		return phrase{what: "epoll_wait → 0", detail: "nothing ready", style: dim}
	default:
		return phrase{what: "epoll_wait → " + strconv.FormatInt(ev.Ret, 10)}
	}
}

func deliverWords(n names, ev *event.Event) phrase {
	subject := n.subject(ev)
	switch {
	case ev.Has(event.Ambiguous):
		subject = "one of several with data " + hex(ev.Data)
	case subject == "":
		subject = "data " + hex(ev.Data)
	}
	return phrase{what: "delivered", detail: join(subject, ev.Events.String())}
}

func readWords(n names, ev *event.Event) phrase {
	p := phrase{what: call(ev, "read")}
	switch {
	case ev.Has(event.Messages):
		p.detail = join(n.subject(ev), outcome(ev.Ret), left(ev)) // a message may be empty
	case ev.Ret == 0:
		p.detail = join(n.subject(ev), "0 bytes, end of stream")
	default:
		p.detail = join(n.subject(ev), outcome(ev.Ret))
	}
	return p
}

func writeWords(n names, ev *event.Event) phrase {
	return phrase{what: call(ev, "write"), detail: join(n.subject(ev), outcome(ev.Ret))}
}

func acceptWords(n names, ev *event.Event) phrase {
	p := phrase{what: call(ev, "accept"), detail: descriptor(ev.FD)}
	if ev.Ret < 0 {
		p.detail = join(p.detail, errno(ev.Ret))
		if ev.Ret != -eagain {
			p.style = yellow
		}
		return p
	}
	p.detail += " → " + descriptor(int32(ev.Ret))
	if s := n[ev.Sock]; s.peer.IsValid() && s.peer.Port() != 0 {
		p.detail += ", from " + s.peer.String()
	}
	return p
}

func closeWords(n names, ev *event.Event) phrase {
	detail := n.subject(ev)
	if ev.Ret < 0 {
		detail = join(detail, errno(ev.Ret))
	}
	return phrase{what: "close", detail: detail}
}

func dupWords(n names, ev *event.Event) phrase {
	if ev.Ret < 0 {
		return phrase{what: call(ev, "dup"), detail: join(n.subject(ev), errno(ev.Ret))}
	}
	return phrase{what: call(ev, "dup"), detail: descriptor(ev.FD) + " → " + descriptor(int32(ev.Ret))}
}

func forkWords(_ names, ev *event.Event) phrase {
	return phrase{what: "fork", detail: "child " + strconv.FormatInt(ev.Ret, 10)}
}

func execWords(names, *event.Event) phrase { return phrase{what: "exec", detail: "a new program"} }

func unseenWords(_ names, ev *event.Event) phrase {
	p := phrase{what: "unseen", detail: "calls that are not followed", style: yellow}
	switch {
	case ev.Has(event.Compat):
		p.detail = "32-bit calls, which are not followed"
	case ev.Call != event.CallNone:
		p.detail = ev.Call.String() + ": what is done by it is not followed"
	}
	return p
}

func exitWords(_ names, ev *event.Event) phrase {
	who := "thread " + strconv.FormatUint(uint64(ev.TID), 10)
	if ev.Has(event.Last) {
		who = "process " + strconv.FormatUint(uint64(ev.PID), 10)
	}
	return phrase{what: "exit", detail: who + ", " + waitStatus(ev.Ret)}
}

func signalWords(_ names, ev *event.Event) phrase {
	return phrase{what: "signal", detail: signalName(int64(ev.Signal))}
}

func snapshotWords(n names, ev *event.Event) phrase {
	detail := n.subject(ev)
	if ev.Has(event.IsEpoll) && ev.EpFD == event.NoFD {
		detail = join(detail, "an epoll instance")
	}
	if ev.FD != event.NoFD && ev.Local.IsValid() {
		detail = join(detail, endpoints{ev.Local, ev.Peer}.String())
	}
	if ev.Events != 0 {
		detail = join(detail, ev.Events.String())
	}
	return phrase{what: "found", detail: join(detail, ev.NewState.String(), unread(ev)), style: dim}
}

func lostWords(_ names, ev *event.Event) phrase {
	return phrase{
		what:   "lost",
		detail: plural(uint64(ev.Lost), "record") + " lost; what was known is unknown from here",
		style:  red,
	}
}

func wokenWords(_ names, ev *event.Event) phrase {
	return phrase{what: "woken", detail: "thread " + strconv.FormatUint(uint64(ev.TID), 10), style: dim}
}

// schedWords says one part of what a thread did since its last wait.
func schedWords(_ names, ev *event.Event) phrase {
	s := &ev.Sched
	p := phrase{what: s.Doing.String(), detail: lasted(s.For)}
	if ev.Start != 0 {
		p.detail += " of " + lasted(ev.Time.Sub(ev.Start))
	}
	switch s.Doing {
	case event.Runnable:
		p.detail += ", no processor free"
	case event.Blocked:
		p.detail += " in " + blockedIn(s.Call)
		if s.Times > 1 {
			p.detail += ", " + plural(uint64(s.Times), "time")
		}
	}
	if ev.Has(event.Ongoing) {
		p.detail += ", and still is"
	}
	if ev.TID != ev.PID {
		p.detail = join(p.detail, "thread "+strconv.FormatUint(uint64(ev.TID), 10))
	}
	return p
}

// blockedIn names a call, which may come out of a history.
func blockedIn(call string) string {
	if call == "" {
		return "a page fault"
	}
	return Escape(call)
}

func queuedWords(n names, ev *event.Event) phrase {
	detail := n.subject(ev)
	if ev.Has(event.HasUnread) {
		detail = join(detail, plural(uint64(ev.Unread), "connection")+" to accept")
	}
	return phrase{what: "queued", detail: detail}
}

func releaseWords(n names, ev *event.Event) phrase {
	return phrase{what: "released", detail: join(n.subject(ev), "last reference", unread(ev))}
}

func shutdownWords(n names, ev *event.Event) phrase {
	ways := [...]string{"reading", "writing", "reading and writing"}
	detail := n.subject(ev)
	if int(ev.Op) < len(ways) {
		detail = join(detail, ways[ev.Op])
	}
	if ev.Ret < 0 {
		detail = join(detail, errno(ev.Ret))
	}
	return phrase{what: "shutdown", detail: detail}
}

// packetWords writes the sender in full, and of the receiver only the port when the address is the same.
func (d directions) packetWords(ev *event.Event) string {
	to := ev.Peer.String()
	if ev.Local.Addr() == ev.Peer.Addr() {
		to = ":" + strconv.Itoa(int(ev.Peer.Port()))
	}
	p := &ev.Packet
	seq, ack := d.relative(ev)
	var b strings.Builder
	fmt.Fprintf(&b, "%s → %s  %-3s seq %d", ev.Local, to, p.Flags, seq)
	if p.Len > 0 {
		fmt.Fprintf(&b, ":%d", seq+p.Len)
	}
	if p.Flags&flagACK != 0 {
		fmt.Fprintf(&b, " ack %d", ack)
	}
	if p.Len > 0 {
		fmt.Fprintf(&b, " len %d", p.Len)
	}
	fmt.Fprintf(&b, " win %d", p.Window)
	return b.String()
}
