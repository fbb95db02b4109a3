package render

import (
	"strconv"
	"strings"
	"time"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
)

// proof draws the events that prove a finding, with the time from the first of them on.
func (t *text) proof(f *diagnose.Finding, now event.Time, indent int) {
	if len(f.Proof) == 0 {
		return
	}
	t.release()
	first, before := f.Proof[0].Time, f.Proof[0].Time
	for i := range f.Proof {
		ev := &f.Proof[i]
		t.pause(indent, before, ev.Time)
		before = ev.Time
		p := t.names.words(ev)
		who, s := side(ev.Kind)
		t.beat(indent, since(first, ev.Time), who, s, p.what, p.detail+other(ev, f), p.style)
	}
	if f.Outcome == diagnose.OutcomeOngoing {
		t.pause(indent, before, now)
		t.beat(indent, since(first, now), "", plain, "still so", "", dim)
	}
}

// other names the thread of an event where it is not the finding's own.
func other(ev *event.Event, f *diagnose.Finding) string {
	own := f.TID
	if own == 0 {
		own = f.PID
	}
	switch {
	case ev.Kind.Kernel() || ev.Kind == event.KindExit || ev.TID == 0 || ev.TID == own:
		return ""
	case ev.PID == f.PID:
		return "  [thread " + strconv.FormatUint(uint64(ev.TID), 10) + "]"
	default:
		return "  [pid " + strconv.FormatUint(uint64(ev.PID), 10) + "]"
	}
}

// pause draws a time in which nothing of the story happened, as far as a reader would notice it.
func (t *text) pause(indent int, from, to event.Time) {
	if to.Sub(from) >= 100*time.Millisecond {
		t.out.WriteString(strings.Repeat(" ", indent) + t.paint.paint(dim, "┊") + "\n")
	}
}

// beat writes one line of a drawn timeline, in the columns of an event.
func (t *text) beat(indent int, when, who string, whoStyle style, what, detail string, s style) {
	const whenWidth = 8
	room := Columns - indent - 2 - whenWidth - 2 - sideWidth - 2 - whatWidth - 2
	for i, line := range Wrap(strings.TrimRight(detail, " "), room) {
		if i > 0 {
			when, who, what = "", "", ""
		}
		t.out.WriteString(strings.Repeat(" ", indent) + t.paint.paint(dim, "│") + " " + padLeft(when, whenWidth) + "  " +
			t.paint.paint(whoStyle, who) + strings.Repeat(" ", sideWidth-width(who)+2) +
			t.paint.paint(s, strings.TrimRight(padRight(what, whatWidth)+"  "+line, " ")) + "\n")
	}
}

func since(first, at event.Time) string {
	d := at.Sub(first)
	switch {
	case d <= 0:
		return "0"
	case d >= time.Second && d < 10*time.Second:
		return "+" + strconv.FormatFloat(d.Seconds(), 'f', 3, 64) + " s"
	default:
		return "+" + lasted(d)
	}
}

// lasted writes a duration with the digits that matter.
func lasted(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case d < 10*time.Millisecond:
		return strconv.FormatFloat(d.Seconds()*1e3, 'f', 1, 64) + " ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 100*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	default:
		return d.Round(time.Second).String()
	}
}
