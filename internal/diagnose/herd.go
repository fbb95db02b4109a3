package diagnose

import (
	"fmt"
	"slices"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

func thunderingHerd() Check {
	return Check{
		Code:  "thundering-herd",
		Title: "one arrival wakes several waiters, and all but one find nothing",
		Doc: Doc{
			Symptom: "Processor time and context switches grow with the number of workers and not with the work; workers wake " +
				"up, call accept, get EAGAIN and go back to sleep.",
			Mechanism: "Each epoll instance that watches a file has an entry of its own in the file's wait queue, and an arrival calls " +
				"all of them (__wake_up_common), so one sleeper of every instance is woken. Within one instance a " +
				"level-triggered item goes back on the ready list while it is handed out, and the scan then wakes the next " +
				"sleeper for it (ep_done_scan). EPOLLEXCLUSIVE makes the queue stop after one instance that took it.",
			Proof: "Arrivals of one file with the sleepers that the kernel picked for each, and what became of these in one second: " +
				"waits that handed the file out and whose first read or accept found nothing, and waits that went back to sleep " +
				"at once because a poll found nothing any more. Half of the wakeups have to be for nothing, so two waiters make a herd " +
				"only when every arrival wakes both.",
			Blind: "Only the waiters of observed processes are seen: observe all workers (several PIDs, or --follow). Processes that are " +
				"busy are not woken, so a herd shows under light load and not under full load. Workers that wait in accept itself, or in " +
				"select or poll, are not seen. Which wakeup picked a sleeper is taken from the order of the records of a processor.",
			Repair: "Add the listener with EPOLLEXCLUSIVE in every instance; or give each worker a listener of its own with " +
				"SO_REUSEPORT; or let one thread accept and hand on. For threads that share one instance use EPOLLET or " +
				"EPOLLONESHOT.",
			RepairC:  thunderingHerdC,
			Runtimes: thunderingHerdRuntimes(),
			References: []string{
				"epoll_ctl(2), EPOLLEXCLUSIVE", "socket(7), SO_REUSEPORT",
				"kernel/sched/wait.c: __wake_up_common", "fs/eventpoll.c: ep_poll_callback, ep_done_scan",
			},
		},
		New: func(c *Context) Rule {
			return &herdRule{
				c: c, files: make(map[*timeline.File]*herd), sleepers: make(map[uint32]sleeper), threshold: c.Thresholds.ThunderingHerd,
			}
		},
	}
}

const (
	fixHerd = "add it with EPOLLEXCLUSIVE in every instance, or use SO_REUSEPORT and a listener for each worker, or let one " +
		"thread accept"
	fixHerdShared = "add it with EPOLLET or EPOLLONESHOT, so that one thread of the instance is woken for each arrival"
)

type herdRule struct {
	c         *Context
	files     map[*timeline.File]*herd
	sleepers  map[uint32]sleeper // by thread: those that were woken and have not looked yet
	threshold int
	gap       gapWatch
	swept     event.Time
}

// sleeper is a thread that the kernel picked.
type sleeper struct {
	file   *timeline.File // for what; nil until a delivery tells
	seq    uint64
	handed bool // its wait handed the file out
}

// herd is one file with several waiters.
type herd struct {
	file *timeline.File
	// The arrival that is going on: the items that it has woken, and the sleepers that were picked for it.
	items  []*timeline.Interest
	at     event.Time
	cpu    uint16
	picked int
	// One second.
	from     event.Time
	arrivals int // that picked anybody
	several  int // that picked more than one
	wakeups  int // sleepers that were picked
	useless  int // of these, those that found nothing
	watchers int // epoll instances that watched, at most; a process that ends takes them away first
	// What the evidence is.
	seqs   [6]uint64
	loser  uint32
	shared bool // the sleepers are of one instance
	worst  struct{ arrivals, wakeups, useless, instances int }
	rated
}

// arrivalTime is how long one arrival may take to call all entries of a wait queue.
const arrivalTime = 200_000 // ns

// Expire forgets files that have ended unseen.
func (r *herdRule) Expire(now event.Time) {
	if now.Sub(r.swept) < rateGrace {
		return
	}
	r.swept = now
	for _, f := range endedFiles(r.files) {
		r.drop(f)
	}
}

// Finish judges the last second.
func (r *herdRule) Finish(end event.Time) {
	for _, f := range filesInOrder(r.files) {
		h := r.files[f]
		r.judge(h, end)
		h.calm(r.c, end, h.says)
		if f.Ended {
			r.drop(f)
		}
	}
}

func (r *herdRule) drop(f *timeline.File) {
	r.files[f].over(r.c, r.files[f].says)
	delete(r.files, f)
}

// Kinds are those that Observe looks at.
func (*herdRule) Kinds() []event.Kind {
	return []event.Kind{
		event.KindWakeup, event.KindWoken, event.KindWaitReturn, event.KindDeliver, event.KindAccept, event.KindRead, event.KindWaitEnter, event.KindExit, event.KindClose, event.KindRelease,
	}
}

// Observe follows sleepers from their wakeup to what they find.
func (r *herdRule) Observe(ev *event.Event) {
	if r.gap.isNew(r.c.Timeline) {
		r.forget()
	}
	sub := r.c.Timeline.Subject()
	switch ev.Kind {
	case event.KindWakeup:
		r.arrived(ev, sub)
	case event.KindWoken:
		r.woken(ev, sub)
	case event.KindWaitReturn:
		if ev.Ret <= 0 && len(r.sleepers) > 0 {
			r.backToSleep(ev)
		}
	case event.KindDeliver:
		if len(r.sleepers) > 0 {
			r.delivered(ev, sub)
		}
	case event.KindAccept, event.KindRead:
		if len(r.sleepers) > 0 {
			r.looked(ev, sub)
		}
	case event.KindWaitEnter, event.KindExit:
		if len(r.sleepers) > 0 {
			delete(r.sleepers, ev.TID)
		}
	case event.KindClose, event.KindRelease:
		if f := sub.File; f != nil && f.Ended && r.files[f] != nil {
			r.drop(f)
		}
	}
}

// forget drops what was being counted when records were lost.
func (r *herdRule) forget() {
	clear(r.sleepers)
	for _, h := range r.files {
		h.from, h.items, h.picked = 0, h.items[:0], 0
		h.begin(0)
	}
}

func (h *herd) begin(at event.Time) {
	h.from, h.arrivals, h.several, h.wakeups, h.useless = at, 0, 0, 0, 0
}

// arrived begins an arrival, or adds a watcher to the one that is going on.
func (r *herdRule) arrived(ev *event.Event, sub *timeline.Subject) {
	i := sub.Interest
	if i == nil || ev.Has(event.Disarmed) || ev.Has(event.Filtered) || len(i.File.Interests) < 2 && i.Epoll.Waiting < 2 {
		return
	}
	h := r.files[i.File]
	if h == nil {
		h = &herd{file: i.File}
		r.files[i.File] = h
	}
	same := ev.CPU == h.cpu && ev.Time.Sub(h.at) < arrivalTime
	for _, other := range h.items {
		same = same && other != i
	}
	if !same {
		h.items, h.at, h.cpu, h.picked = h.items[:0], ev.Time, ev.CPU, 0
	}
	h.items = append(h.items, i)
}

// woken notes whom the kernel picked. A thread that is picked again without having returned went back to sleep: a poll had
// found nothing.
func (r *herdRule) woken(ev *event.Event, sub *timeline.Subject) {
	th := sub.Thread
	if th == nil {
		return
	}
	r.backToSleep(ev)
	s := sleeper{seq: ev.Seq}
	if i := th.WokenBy; i != nil {
		h := r.files[i.File]
		if h == nil {
			return
		}
		s.file = i.File
		r.pick(ev, h)
	} else if sub.Epoll == nil || sub.Epoll.Waiting < 2 {
		return
	}
	r.sleepers[ev.TID] = s
}

// pick counts a sleeper for the arrival that is going on.
func (r *herdRule) pick(ev *event.Event, h *herd) {
	r.second(h, ev.Time)
	h.picked++
	h.wakeups++
	switch h.picked {
	case 1:
		h.arrivals++
		h.watchers = max(h.watchers, len(h.file.Interests))
		h.seqs[0] = ev.Seq
	case 2:
		h.several++
		h.seqs[1] = ev.Seq
		h.shared = len(h.items) < 2
	}
}

// backToSleep counts a sleeper that was picked and has not come back with anything.
func (r *herdRule) backToSleep(ev *event.Event) {
	s, ok := r.sleepers[ev.TID]
	if !ok {
		return
	}
	delete(r.sleepers, ev.TID)
	if h := r.files[s.file]; h != nil {
		r.wasted(ev, h, s)
	}
}

func (r *herdRule) wasted(ev *event.Event, h *herd, s sleeper) {
	r.second(h, ev.Time)
	h.useless++
	h.loser = ev.TID
	h.seqs[2], h.seqs[3] = s.seq, ev.Seq
}

// delivered tells what a sleeper was woken for: one that a scan passed the wakeup on to learns it only here.
func (r *herdRule) delivered(ev *event.Event, sub *timeline.Subject) {
	s, ok := r.sleepers[ev.TID]
	if !ok || sub.File == nil || ev.Events&(event.In|event.RdNorm) == 0 {
		return
	}
	if s.file == nil {
		h := r.files[sub.File]
		if h == nil {
			return
		}
		s.file = sub.File
		r.pick(ev, h)
	}
	if s.file == sub.File {
		s.handed = true
		h := r.files[s.file]
		h.seqs[4] = ev.Seq
	}
	r.sleepers[ev.TID] = s
}

// looked is the first look of a sleeper at what it was woken for.
func (r *herdRule) looked(ev *event.Event, sub *timeline.Subject) {
	s, ok := r.sleepers[ev.TID]
	if !ok || s.file != sub.File || !s.handed {
		return
	}
	delete(r.sleepers, ev.TID)
	h := r.files[s.file]
	if ev.Ret == again && h != nil && sub.Process != nil && !sub.Process.Unseen {
		r.wasted(ev, h, s)
	}
}

// again is what a call on a non-blocking file returns when there is nothing (-EAGAIN).
const again = -11

// second begins a new second when the old one is over.
func (r *herdRule) second(h *herd, now event.Time) {
	if h.from == 0 {
		h.begin(now)
	}
	if now.Sub(h.from) >= ratePeriod {
		r.judge(h, now)
		h.calm(r.c, now, h.says)
		h.begin(now)
	}
}

// judge decides whether a second was a herd's.
func (r *herdRule) judge(h *herd, now event.Time) {
	if h.useless < r.threshold || 2*h.several < h.arrivals || 2*h.useless < h.wakeups {
		return
	}
	if h.useless > h.worst.useless {
		h.worst.arrivals, h.worst.wakeups, h.worst.useless = h.arrivals, h.wakeups, h.useless
		h.worst.instances = h.watchers
	}
	f := newFinding(h.file, first(h.file.Interests))
	f.TID, f.Start, f.Evidence = h.loser, h.from, slices.Clone(h.seqs[:])
	f.Fix = fixHerd
	if h.shared {
		f.Fix = fixHerdShared
	}
	h.worse(r.c, f, min(now, h.from.Add(ratePeriod)), h.says)
}

func (h *herd) says(t *rated) string {
	w := h.worst
	where := fmt.Sprintf("in %d epoll instances", w.instances)
	if h.shared {
		where = "of one epoll instance"
	}
	return fmt.Sprintf("%s: an arrival wakes %.1f threads %s and all but one find nothing: %d of %d wakeups in one second were for "+
		"nothing%s", t.finding.who(), float64(w.wakeups)/float64(max(w.arrivals, 1)), where, w.useless, w.wakeups, t.badSeconds())
}
