package diagnose

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// parts are what the scheduler says that a thread did with a turn: the last word of several.
type parts struct {
	at   event.Time // when it was so; 0 when nobody said anything
	of   []event.Sched
	seqs []uint64
	now  event.Sched // what lasts, DoingUnknown when the turn is over
}

func (p *parts) reset() {
	p.at, p.now = 0, event.Sched{}
	p.of, p.seqs = p.of[:0], p.seqs[:0]
}

// add takes a part. All parts of one word have the same time.
func (p *parts) add(ev *event.Event) {
	if ev.Time != p.at {
		p.reset()
		p.at = ev.Time
	}
	p.of, p.seqs = append(p.of, ev.Sched), append(p.seqs, ev.Seq)
	if ev.Has(event.Ongoing) {
		p.now = ev.Sched
	}
}

// foreign is the time that others took from the thread.
func (p *parts) foreign() time.Duration {
	var d time.Duration
	for _, s := range p.of {
		if s.Doing == event.Runnable || s.Doing == event.Stopped {
			d += s.For
		}
	}
	return d
}

// waitUnseen reports whether the thread sleeps in a wait whose entry was not recorded.
func (p *parts) waitUnseen() bool {
	return slices.ContainsFunc(p.of, func(s event.Sched) bool { return s.Doing == event.Blocked && strings.HasPrefix(s.Call, "epoll_") })
}

// sorted returns the parts that matter, the longest first. What is less than a hundredth of the whole does not.
func (p *parts) sorted() []event.Sched {
	var whole time.Duration
	for _, s := range p.of {
		whole += s.For
	}
	list := slices.DeleteFunc(slices.Clone(p.of), func(s event.Sched) bool { return s.For < whole/100 })
	slices.SortStableFunc(list, func(a, b event.Sched) int { return cmp.Compare(b.For, a.For) })
	return list
}

// stack is where the thread was in what it did longest, of the parts that have one.
func (p *parts) stack() *event.Stack {
	for _, s := range p.sorted() {
		if s.Stack != nil {
			return s.Stack
		}
	}
	return nil
}

// words say what the thread did, the longest first.
func (p *parts) words() string {
	list := p.sorted()
	if len(list) == 0 {
		return "it is not known whether it was computing or parked"
	}
	said := make([]string, 0, len(list))
	for _, s := range list {
		said = append(said, partWords(s))
	}
	return "it was " + strings.Join(said, ", ")
}

func partWords(s event.Sched) string {
	switch s.Doing {
	case event.Computing:
		return "computing for " + span(s.For)
	case event.Runnable:
		return "without a processor for " + span(s.For) + ", because others had them"
	case event.Stopped:
		return "stopped by a signal or a debugger for " + span(s.For)
	case event.Blocked:
		if s.Call == "" {
			return "blocked in a page fault or the like for " + span(s.For)
		}
		return "blocked in " + s.Call + " for " + span(s.For)
	default:
		return "doing something else for " + span(s.For)
	}
}

// fix names the repair for what the thread did longest.
func (p *parts) fix(foreign bool) string {
	if foreign {
		return "nothing in this program: give it more processor time, or look at who takes or stops it"
	}
	for _, s := range p.sorted() {
		switch s.Doing {
		case event.Computing:
			return "do the work in pieces between waits, or in another thread"
		case event.Blocked:
			return blockedFix(s.Call)
		}
	}
	return "do long work in pieces or in another thread, and make no blocking calls in the thread of the loop"
}

func blockedFix(call string) string {
	switch call {
	case "":
		return "keep what the loop touches in memory (mlock(2)), or touch it in another thread"
	case "futex":
		return "do not wait for locks or other threads in the thread of the loop: have them wake it by an eventfd"
	case "nanosleep", "clock_nanosleep":
		return "do not sleep in the thread of the loop: give epoll_wait a time-out, or watch a timerfd"
	case event.OtherCalls:
		return "make no blocking calls in the thread of the loop"
	default:
		return "do not block in " + call + " in the thread of the loop: make it non-blocking, or move it to another thread"
	}
}
