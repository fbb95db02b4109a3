package render

import (
	"bufio"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/epwatch/epwatch/internal/event"
)

// The columns of the text: number, time, side, what, detail; Columns in all.
const (
	// Columns is the width that every line of the text keeps to.
	Columns = 100

	numberWidth = 7
	timeWidth   = 10
	sideWidth   = 6
	whatWidth   = 14
	sideColumn  = numberWidth + 1 + timeWidth + 2
	whatColumn  = sideColumn + sideWidth + 2
	detailStart = whatColumn + whatWidth + 2
)

// text writes one line an event, and leaves out or joins what says the same twice. A wait that handed something out and its
// first delivery share a line, because they are one answer of the kernel; the first sight of a socket is left out
// before its change of state, which says more. So both are held until the next event.
type text struct {
	out     *bufio.Writer
	paint   palette
	quiet   bool
	start   event.Time
	mainPID uint32 // the only process; 0 when there are several
	comms   map[uint32]string

	names      names
	directions directions
	born       map[event.SockID]struct{} // sockets whose beginning was shown, so that a snapshot adds nothing
	held       event.Event               // a wait's return or a snapshot, KindNone when none is held
	killed     map[uint32]int            // by process, threads that a signal to all of them ended
	live       map[liveKey]*live
	due        []*live // that have something new to say
}

func newText(w io.Writer, o Options) *text {
	return &text{
		out:        bufio.NewWriterSize(w, bufferSize),
		paint:      palette(o.Color),
		quiet:      o.Quiet,
		names:      names{},
		directions: directions{},
		born:       map[event.SockID]struct{}{},
		killed:     map[uint32]int{},
		comms:      map[uint32]string{},
		live:       map[liveKey]*live{},
	}
}

// row is one line before it is laid out.
type row struct {
	number, time, side string
	what, detail       string // with an empty what the detail begins in its column
	style, sideStyle   style
}

func (t *text) Event(ev *event.Event) {
	if ev.Lost > 0 && ev.Kind != event.KindLost {
		t.gap(ev)
	}
	t.names.learn(ev)
	switch {
	case ev.Kind == event.KindDeliver && t.held.Kind == event.KindWaitReturn && t.held.TID == ev.TID:
		t.answer(ev)
	case ev.Kind == event.KindWaitReturn && ev.Ret > 0, ev.Kind == event.KindSnapshot:
		t.release()
		t.held = *ev
	case ev.Kind == event.KindState && t.held.Kind == event.KindSnapshot && t.held.Sock == ev.Sock:
		t.held = event.Event{}
		t.show(ev)
	case t.oneOfMany(ev):
	default:
		t.release()
		t.show(ev)
	}
	t.names.forget(ev)
	t.grow(ev)
}

// grow keeps track of which sockets began before the reader's eyes.
func (t *text) grow(ev *event.Event) {
	switch {
	case ev.Sock == 0 || ev.Kind != event.KindState:
	case ev.NewState == event.Closed:
		delete(t.born, ev.Sock)
	default:
		if len(t.born) >= maxRemembered {
			clear(t.born)
		}
		t.born[ev.Sock] = struct{}{}
	}
}

// oneOfMany reports whether ev is a part of a process's death by a signal, which its last thread's exit tells whole: the
// kernel ends all threads with SIGKILL then, whatever the signal was. SIGURG ends nobody; the Go runtime sends it to its own
// threads all the time (runtime/preempt.go).
func (t *text) oneOfMany(ev *event.Event) bool {
	switch {
	case ev.Kind == event.KindSignal:
		name := signalName(int64(ev.Signal))
		return name == "SIGKILL" || name == "SIGURG"
	case ev.Kind == event.KindExit && killedBy(ev.Ret) != 0:
		t.killed[ev.PID]++
		return !ev.Has(event.Last)
	default:
		return false
	}
}

// release shows the held event by itself.
func (t *text) release() {
	if t.held.Kind == event.KindNone {
		return
	}
	held := t.held
	t.held = event.Event{}
	t.show(&held)
}

// answer shows the held wait together with the first item that it handed out.
func (t *text) answer(first *event.Event) {
	p := t.names.words(&t.held)
	t.write(row{
		number: span(t.held.Seq, first.Seq), time: t.at(first.Time), side: "user", what: p.what,
		detail: t.names.words(first).detail + t.thread(first), sideStyle: green,
	})
	t.held = event.Event{}
}

func (t *text) show(ev *event.Event) {
	if _, born := t.born[ev.Sock]; born && ev.Kind == event.KindSnapshot {
		return
	}
	r := row{number: number(ev.Seq), time: t.at(ev.Time)}
	if ev.Kind == event.KindPacket {
		r.side, r.sideStyle, r.detail = "wire", violet, t.directions.packetWords(ev)
		if ev.Packet.Flags&flagRST != 0 {
			r.style = red
		}
		t.write(r)
		return
	}
	p := t.names.words(ev)
	if n := t.killed[ev.PID]; ev.Kind == event.KindExit && ev.Has(event.Last) && n > 1 {
		p.detail += ", " + strconv.Itoa(n) + " threads"
	}
	r.what, r.detail, r.style = p.what, p.detail+t.thread(ev), p.style
	r.side, r.sideStyle = side(ev.Kind)
	t.write(r)
	if ev.Kind == event.KindExit && ev.Has(event.Last) {
		delete(t.killed, ev.PID)
	}
}

func side(k event.Kind) (string, style) {
	if k.Kernel() || k == event.KindLost || k == event.KindSignal || k == event.KindSnapshot {
		return "kernel", cyan
	}
	return "user", green
}

// thread names who did it where that is not clear from the header.
func (t *text) thread(ev *event.Event) string {
	thread := ev.TID
	if ev.Kind == event.KindExit && t.comms[ev.PID] == "" {
		return "" // its own words say as much
	}
	if ev.Kind.Kernel() || ev.Kind == event.KindExit || ev.Kind == event.KindSnapshot {
		thread = 0 // nobody's doing, or told already
	}
	if ev.PID == t.mainPID || ev.PID == 0 {
		if thread == 0 || thread == ev.PID {
			return ""
		}
		return "  [thread " + strconv.FormatUint(uint64(thread), 10) + "]"
	}
	who := Escape(t.comms[ev.PID])
	if who == "" {
		who = "pid"
	}
	who += " " + strconv.FormatUint(uint64(ev.PID), 10)
	if thread != 0 && thread != ev.PID {
		who += "/" + strconv.FormatUint(uint64(thread), 10)
	}
	return "  [" + who + "]"
}

func (t *text) Process(_ event.Time, p Process) {
	if len(t.comms) >= maxRemembered {
		clear(t.comms)
	}
	t.comms[p.PID] = p.Comm
	if p.PID != t.mainPID {
		t.mainPID = 0 // from here on it has to be said who does what
	}
}

func (t *text) Note(n *Note) {
	t.release()
	t.lines(row{number: "note", time: t.at(n.Time), style: yellow, detail: Escape(n.Text)}, sideColumn, sideColumn)
}

func (t *text) gap(ev *event.Event) {
	t.release()
	p := lostWords(nil, ev)
	t.write(row{time: t.at(ev.Time), side: "kernel", what: p.what, detail: p.detail, style: p.style})
}

func (t *text) Line(l *Line) {
	t.release()
	words, s := Escape(l.Text), bold
	if l.Source != "server" {
		s = plain
	}
	t.write(row{time: t.at(l.Time), side: l.Source, detail: words, style: s})
}

func (t *text) Flush() error {
	t.release()
	return t.out.Flush()
}

func (t *text) at(at event.Time) string {
	if at == 0 {
		return ""
	}
	us := at.Sub(t.start).Microseconds()
	sign := ""
	if us < 0 {
		sign, us = "-", -us
	}
	s := strconv.FormatInt(us%1000, 10)
	return sign + strconv.FormatInt(us/1000, 10) + "." + strings.Repeat("0", 3-len(s)) + s
}

// number is an event's place; events that have none yet show none.
func number(seq uint64) string {
	if seq == 0 {
		return ""
	}
	return strconv.FormatUint(seq, 10)
}

// span writes two neighbouring numbers as one, "12-13", or "99999-0" where the whole would not fit.
func span(first, last uint64) string {
	a, b := number(first), number(last)
	if a == "" || b == "" || a == b {
		return b
	}
	if width(a)+1+width(b) <= numberWidth {
		return a + "-" + b
	}
	i := 0
	for i < len(a)-1 && len(a) == len(b) && a[i] == b[i] {
		i++
	}
	return a + "-" + b[i:]
}

func (t *text) write(r row) {
	if r.what == "" {
		t.lines(r, whatColumn, whatColumn+2)
		return
	}
	r.detail = padRight(r.what, whatWidth) + "  " + r.detail
	t.lines(r, whatColumn, detailStart)
}

// lines writes the head of r up to column at, its detail, and what does not fit on lines indented to next.
func (t *text) lines(r row, at, next int) {
	head := padLeft(r.number, numberWidth) + " " + padLeft(r.time, timeWidth)
	body := Wrap(strings.TrimRight(r.detail, " "), Columns-at)
	if len(body) > 1 {
		body = append(body[:1:1], Wrap(strings.Join(body[1:], " "), Columns-next)...)
	}
	t.out.WriteString(head + "  ")
	if at > sideColumn {
		t.out.WriteString(t.paint.paint(r.sideStyle, r.side) + strings.Repeat(" ", max(sideWidth-width(r.side), 0)+2))
	}
	for i, words := range slices.All(body) {
		if i > 0 {
			t.out.WriteString(strings.Repeat(" ", next))
		}
		t.out.WriteString(t.paint.paint(r.style, words) + "\n")
	}
}
