package timeline

import (
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// recalling observes events and keeps a copy of each.
type recalling struct {
	tl  *Timeline
	now event.Time
	all []event.Event
}

func newRecalling() *recalling {
	r := &recalling{now: 1e9}
	r.tl = New(Options{Window: time.Microsecond, Observe: func(ev *event.Event) { r.all = append(r.all, *ev) }})
	return r
}

func (r *recalling) put(kind event.Kind, file event.Addr, change func(*event.Event)) {
	r.now += 1000
	ev := event.Event{Kind: kind, Time: r.now, PID: 7, TID: 7, FD: int32(file), EpFD: event.NoFD, FileAddr: file}
	if change != nil {
		change(&ev)
	}
	r.tl.Add(&ev)
	r.tl.Advance(r.now + 10_000)
	r.now += 10_000
}

// same compares what is kept of an event.
func same(a, b event.Event) bool {
	a.FileAddr, a.NewFileAddr, a.SockAddr, a.EpollAddr = 0, 0, 0, 0
	a.File, a.NewFile, a.Sock, a.Epoll, a.Start, a.MaxEvents = b.File, 0, 0, 0, 0, 0
	return a == b
}

// TestRecall: the last events of all are kept, whatever they are about, and nothing else is made up.
func TestRecall(t *testing.T) {
	r := newRecalling()
	for i := range recallable + 100 {
		r.put(event.KindRead, event.Addr(i%50+5), func(e *event.Event) { e.Ret, e.Call = int64(i), event.CallRead })
	}
	r.put(event.KindWaitEnter, 0, func(e *event.Event) { e.FD, e.EpFD, e.Timeout = event.NoFD, 4, -1 })
	r.put(event.KindWaitReturn, 0, func(e *event.Event) { e.FD, e.EpFD, e.Ret = event.NoFD, 4, 1 })
	r.put(event.KindDeliver, 0, func(e *event.Event) { e.FD, e.EpFD, e.Data, e.Events = event.NoFD, 4, 0xffff_ffff_ffff_fff0, event.In })
	r.put(event.KindSched, 0, func(e *event.Event) {
		e.FD, e.Start, e.Sched = event.NoFD, r.now-500, event.Sched{Doing: event.Blocked, Times: 3, For: 400, Call: "nanosleep"}
	})
	for i, want := range r.all {
		if want.Kind == event.KindSched {
			want.File, want.FileAddr = 0, 0
			if got, kept := r.tl.Recall(nil, want.Seq); !kept || got != want {
				t.Errorf("of a slow turn: kept %t\n got %+v\nwant %+v", kept, got, want)
			}
			continue
		}
		got, kept := r.tl.Recall(nil, want.Seq)
		if kept != (i >= len(r.all)-recallable) || kept && !same(want, got) {
			t.Fatalf("event %d of %d: kept %t\n got %+v\nwant %+v", want.Seq, len(r.all), kept, got, want)
		}
	}
	for _, seq := range []uint64{0, uint64(len(r.all)) + 1, 1 << 40} {
		if ev, kept := r.tl.Recall(nil, seq); kept {
			t.Errorf("event %d is %+v", seq, ev)
		}
	}
}

// TestRecallOfAFile: of a file its own last events are kept, however much happens to others, and a row of one kind takes the
// place of two.
func TestRecallOfAFile(t *testing.T) {
	r := newRecalling()
	const fd = 900
	r.put(event.KindRead, fd, func(e *event.Event) { e.Ret = 16 })
	f := r.tl.Subject().File
	for i := range 200 {
		r.put(event.KindWrite, fd, func(e *event.Event) { e.Ret = int64(i + 1) })
	}
	r.put(event.KindShutdown, fd, nil)
	for i := range 2 * recallable {
		r.put(event.KindRead, event.Addr(i%50+5), nil)
	}
	var kinds []event.Kind
	var last event.Event
	for ev := range f.Recent() {
		kinds = append(kinds, ev.Kind)
		last = ev
		if got, kept := r.tl.Recall(f, ev.Seq); !kept || got != ev || !same(r.all[ev.Seq-1], ev) {
			t.Errorf("event %d: kept %t, %+v", ev.Seq, kept, got)
		}
	}
	if len(kinds) != 4 || kinds[0] != event.KindRead || kinds[1] != event.KindWrite || kinds[2] != event.KindWrite || last.Kind != event.KindShutdown {
		t.Errorf("kept are %v", kinds)
	}
	if _, kept := r.tl.Recall(nil, last.Seq); kept {
		t.Error("without the file it is kept too: the test shows nothing")
	}
	for range f.Recent() { // may be left early
		break
	}
}

// TestRecallOfALoop: that its loop went back to wait belongs to the story of each file that was handled.
func TestRecallOfALoop(t *testing.T) {
	r := newRecalling()
	at := func(change func(*event.Event)) func(*event.Event) {
		return func(e *event.Event) {
			e.EpollAddr, e.EpFD = 0xe, 4
			if change != nil {
				change(e)
			}
		}
	}
	r.put(event.KindEpollCtl, 5, at(func(e *event.Event) { e.Op, e.Events, e.Data = event.CtlAdd, event.In|event.ET, 5 }))
	f := r.tl.Subject().File
	none := func(e *event.Event) { e.FD, e.FileAddr = event.NoFD, 0 }
	r.put(event.KindWaitEnter, 0, at(none))
	r.put(event.KindWaitReturn, 0, at(func(e *event.Event) { none(e); e.Ret = 1 }))
	r.put(event.KindDeliver, 0, at(func(e *event.Event) { none(e); e.Data, e.Events = 5, event.In }))
	r.put(event.KindWaitEnter, 0, at(none))
	var kinds []event.Kind
	for ev := range f.Recent() {
		kinds = append(kinds, ev.Kind)
	}
	if len(kinds) != 3 || kinds[1] != event.KindDeliver || kinds[2] != event.KindWaitEnter {
		t.Errorf("kept are %v", kinds)
	}
}

// TestKindsFit: each kind has a bit of its own.
func TestKindsFit(t *testing.T) {
	for _, k := range event.Kinds() {
		if k >= 32 {
			t.Errorf("kind %s is number %d", k, k)
		}
	}
}

// TestRecallKeepsTheLastOfEachKind: requests that come and go do not push out what happened once.
func TestRecallKeepsTheLastOfEachKind(t *testing.T) {
	r := newRecalling()
	r.put(event.KindShutdown, 5, nil)
	f := r.tl.Subject().File
	for i := range 100 {
		r.put(event.KindRead, 5, func(e *event.Event) { e.Ret = int64(i) })
		r.put(event.KindWrite, 5, nil)
	}
	var kinds []event.Kind
	for ev := range f.Recent() {
		kinds = append(kinds, ev.Kind)
	}
	if len(kinds) != perFile || kinds[0] != event.KindShutdown {
		t.Errorf("kept are %v", kinds)
	}
}
