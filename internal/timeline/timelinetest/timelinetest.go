// Package timelinetest checks that a history is one that a kernel can have produced. It shares no code with
// package timeline, so that the two can disagree, and is meant for the tests of every package that makes or
// consumes histories.
package timelinetest

import (
	"errors"
	"fmt"

	"github.com/epwatch/epwatch/internal/event"
)

// Validator follows a history event by event. The zero value is ready.
type Validator struct {
	seq     uint64
	time    event.Time
	threads map[uint32]*thread
	closed  map[event.FileID]uint64
	reads   map[uint64]bool
	recvs   map[uint64]event.Event
	taken   map[uint64]bool
	gap     bool
	errs    []error
}

type thread struct {
	known     bool // its last wait-return was seen
	open      bool // between that and the next wait-enter
	promised  int64
	delivered int64
}

// Err returns everything that was wrong so far, nil if nothing was.
func (v *Validator) Err() error { return errors.Join(v.errs...) }

func (v *Validator) wrong(ev *event.Event, format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("event %d (%v at %d): %s", ev.Seq, ev.Kind, ev.Time, fmt.Sprintf(format, args...)))
}

// Observe takes the next event.
func (v *Validator) Observe(ev *event.Event) {
	if v.threads == nil {
		v.threads = make(map[uint32]*thread)
		v.closed = make(map[event.FileID]uint64)
		v.recvs = make(map[uint64]event.Event)
		v.reads = make(map[uint64]bool)
		v.taken = make(map[uint64]bool)
	}
	if ev.Has(event.AfterGap) || ev.Lost > 0 || ev.Kind == event.KindLost {
		v.gap = true
		clear(v.threads)
	}
	v.order(ev)
	v.files(ev)
	switch ev.Kind {
	case event.KindWaitEnter:
		v.waitEnter(ev)
	case event.KindWaitReturn:
		v.threads[ev.TID] = &thread{known: true, open: true, promised: max(ev.Ret, 0)}
	case event.KindDeliver:
		v.deliver(ev)
	case event.KindRecv:
		v.recvs[ev.Seq] = *ev
	case event.KindRead:
		v.reads[ev.Seq] = true
	case event.KindExit:
		delete(v.threads, ev.TID)
	}
}

func (v *Validator) order(ev *event.Event) {
	if ev.Seq != v.seq+1 {
		v.wrong(ev, "follows event %d", v.seq)
	}
	v.seq = ev.Seq
	if ev.Time < v.time && !ev.Has(event.AfterGap) {
		v.wrong(ev, "is earlier than the one before it, at %d", v.time)
	}
	v.time = max(v.time, ev.Time)
	if ev.Start > ev.Time {
		v.wrong(ev, "begins at %d, after its end", ev.Start)
	}
	if ev.Kind == event.KindNone || ev.Kind.String() == "unknown" {
		v.wrong(ev, "has no kind")
	}
}

func (v *Validator) waitEnter(ev *event.Event) {
	th := v.threads[ev.TID]
	if th != nil && th.known && th.open && th.delivered != th.promised {
		v.wrong(ev, "the last wait returned %d and was followed by %d deliveries", th.promised, th.delivered)
	}
	v.threads[ev.TID] = &thread{known: true}
}

func (v *Validator) deliver(ev *event.Event) {
	th := v.threads[ev.TID]
	switch {
	case th == nil && v.gap:
	case th == nil:
		v.wrong(ev, "delivered to thread %d, which has not returned from a wait", ev.TID)
	case !th.open:
		v.wrong(ev, "delivered to thread %d while it waits", ev.TID)
	default:
		th.delivered++
		if th.delivered > th.promised {
			v.wrong(ev, "delivery %d of %d", th.delivered, th.promised)
		}
	}
}

// files checks that nothing but the kernel's last words follows a file's end.
func (v *Validator) files(ev *event.Event) {
	if ev.File == 0 {
		return
	}
	if end, ok := v.closed[ev.File]; ok && !v.gap {
		switch ev.Kind {
		case event.KindRead, event.KindWrite, event.KindRecv, event.KindDeliver, event.KindWakeup,
			event.KindShutdown, event.KindAccept:
			v.wrong(ev, "concerns file %d, which ended at event %d", ev.File, end)
		}
	}
	if ev.Kind == event.KindRelease || ev.Kind == event.KindClose && ev.Has(event.Last) {
		v.closed[ev.File] = ev.Seq
	}
}

// Matched takes what was matched: the call and the receive, either of them 0 if there is none, and the bytes.
func (v *Validator) Matched(read, recv uint64, bytes int64) {
	// A match is made while the call that ends it is taken in, just before it is observed.
	if read != 0 && !v.reads[read] && read != v.seq+1 {
		v.errs = append(v.errs, fmt.Errorf("event %d is matched but was not seen", read))
	}
	if recv == 0 {
		return
	}
	if v.taken[recv] {
		v.errs = append(v.errs, fmt.Errorf("receive %d is matched twice", recv))
	}
	v.taken[recv] = true
	if ev, ok := v.recvs[recv]; ok && ev.Ret != bytes {
		v.errs = append(v.errs, fmt.Errorf("receive %d moved %d bytes and is matched with %d", recv, ev.Ret, bytes))
	}
}

// Finish checks what can be checked only at the end.
func (v *Validator) Finish() {
	for seq, ev := range v.recvs {
		if ev.Ret > 0 && !v.taken[seq] {
			v.errs = append(v.errs, fmt.Errorf("receive %d was neither matched nor given up", seq))
		}
	}
}
