package diagnose

import (
	"fmt"
	"maps"
	"slices"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

func spuriousWakeup() Check {
	return Check{
		Code:  "spurious-wakeup",
		Title: "deliveries whose first read or accept finds nothing",
		Doc: Doc{
			Symptom: "Reads and accepts return EAGAIN about as often as they return anything, and processor time goes into loops " +
				"that come up empty.",
			Mechanism: "epoll_wait looks at the file once more before it hands it out, so at that moment there was something. When the " +
				"program's first look finds nothing, somebody else was faster: another thread or process that watches the same " +
				"file or was handed the same item, or the program itself, which had read on before it asked. Datagrams with a " +
				"wrong checksum are dropped by the read that was promised them (select(2), Bugs).",
			Proof: "The deliveries of input in one second, with the first read or accept on the file after each; half of these or " +
				"more, and more than the threshold, returned EAGAIN. Where another thread had taken the input since the wakeup, " +
				"it is named.",
			Blind: "Half is where a delivery is worth less than a guess; workers on a shared listener under full load stay well below. " +
				"What a process takes that is not observed is not seen to be taken. Deliveries that nobody looks at are not counted, nor is " +
				"anything but the first look: reading an edge-triggered file until EAGAIN is right. A file counts by itself, and all " +
				"files of an instance together.",
			Repair: "Let one thread have the file: EPOLLONESHOT or EPOLLET where threads share an instance, EPOLLEXCLUSIVE or " +
				"SO_REUSEPORT where processes share a listener; and do not read from files whose delivery is still to come.",
			RepairC: spuriousWakeupC,
			References: []string{
				"epoll(7)", "epoll_ctl(2), EPOLLEXCLUSIVE and EPOLLONESHOT", "fs/eventpoll.c: ep_send_events, ep_item_poll",
			},
			DependsOn: []string{"thundering-herd"},
		},
		New: func(c *Context) Rule {
			return &spuriousRule{
				c: c, files: make(map[*timeline.File]*looks), instances: make(map[*timeline.Epoll]*looks),
				threshold: c.Thresholds.SpuriousWakeup,
			}
		},
	}
}

const (
	fixSpuriousShared = "let one thread have it: EPOLLONESHOT or EPOLLET in a shared instance, EPOLLEXCLUSIVE or SO_REUSEPORT for a " +
		"shared listener"
	fixSpuriousSelf = "handle each delivery before reading from its file for another reason, and do not wait for what was read already"
)

type spuriousRule struct {
	c         *Context
	files     map[*timeline.File]*looks
	instances map[*timeline.Epoll]*looks
	free      []*looks
	threshold int
	gap       gapWatch
	swept     event.Time
}

// looks are the first looks at a file, or at all files of an instance.
type looks struct {
	whole bool // an instance's
	told  [maxTold]told
	open  int // of told
	// taken is the last look that found something.
	taken    timeline.Mark
	takenPID uint32
	// One second.
	from   event.Time
	all    int
	empty  int
	lost   int // of the empty ones, those that another thread was faster at
	before int // the empty ones of the second before
	// The latest empty one.
	item   *timeline.Interest
	tid    uint32
	seqs   [4]uint64
	winner timeline.Mark // who was faster
	whose  uint32        // and its process

	worst struct{ all, empty, lost int }
	rated
}

// told is a delivery that nobody has looked at yet.
type told struct {
	item     *timeline.Interest
	pid, tid uint32
	seq      uint64
	time     event.Time
	woken    event.Time
	answer   uint64 // another thread of the process has found something: it was handed over, or taken away
}

// maxTold bounds the deliveries of one file that are waited for at the same time; it is the threads that got it.
const maxTold = 4

// Expire forgets files that have ended unseen.
func (r *spuriousRule) Expire(now event.Time) {
	if now.Sub(r.swept) < rateGrace {
		return
	}
	r.swept = now
	for _, f := range endedFiles(r.files) {
		r.drop(f)
	}
	for ep, l := range r.instances {
		if ep.Ended {
			l.over(r.c, l.says)
			delete(r.instances, ep)
		}
	}
}

// Finish judges the last second.
func (r *spuriousRule) Finish(end event.Time) {
	for _, f := range filesInOrder(r.files) {
		l := r.files[f]
		r.judge(l, end)
		l.calm(r.c, end, l.says)
	}
	for _, ep := range slices.SortedFunc(maps.Keys(r.instances), func(a, b *timeline.Epoll) int { return int(a.ID) - int(b.ID) }) {
		l := r.instances[ep]
		r.judge(l, end)
		l.calm(r.c, end, l.says)
	}
	// Only now: an instance's judgement asks for that of the file.
	for _, f := range endedFiles(r.files) {
		r.drop(f)
	}
}

func (r *spuriousRule) drop(f *timeline.File) {
	l := r.files[f]
	l.over(r.c, l.says)
	delete(r.files, f)
	*l = looks{}
	r.free = append(r.free, l)
}

// Kinds are those that Observe looks at.
func (*spuriousRule) Kinds() []event.Kind {
	return []event.Kind{
		event.KindDeliver, event.KindRead, event.KindAccept, event.KindClose, event.KindRelease,
	}
}

// Observe joins deliveries of input with the first look at their file.
func (r *spuriousRule) Observe(ev *event.Event) {
	if r.gap.isNew(r.c.Timeline) {
		for _, l := range r.files {
			l.open = 0
			l.begin(0)
		}
		for _, l := range r.instances {
			l.begin(0)
		}
	}
	switch ev.Kind {
	case event.KindDeliver:
		r.delivered(ev, r.c.Timeline.Subject())
	case event.KindRead, event.KindAccept:
		r.looked(ev, r.c.Timeline.Subject())
	case event.KindClose, event.KindRelease:
		if f := r.c.Timeline.Subject().File; f != nil && f.Ended && r.files[f] != nil {
			r.drop(f)
		}
	}
}

// input are the bits that promise a look something; with an error or a hang-up it finds that.
const (
	inputBits = event.In | event.RdNorm
	otherBits = event.Err | event.Hup
)

// delivered waits for the first look.
func (r *spuriousRule) delivered(ev *event.Event, sub *timeline.Subject) {
	i := sub.Interest
	if i == nil || ev.Events&inputBits == 0 || ev.Events&otherBits != 0 || i.File.Type == timeline.FileEpoll {
		return
	}
	l := r.files[i.File]
	if l == nil {
		l = r.newLooks()
		r.files[i.File] = l
	}
	n := 0
	for n < l.open && l.told[n].tid != ev.TID {
		n++
	}
	n = min(n, maxTold-1) // the latest gives way
	if n == l.open {
		l.open++
	}
	if t := &l.told[n]; t.answer != 0 {
		r.answered(ev, l, t, true)
	}
	l.told[n] = told{i, ev.PID, ev.TID, ev.Seq, ev.Time, i.LastWakeup.Time, 0}
}

func (r *spuriousRule) newLooks() *looks {
	if n := len(r.free); n > 0 {
		l := r.free[n-1]
		r.free = r.free[:n-1]
		return l
	}
	return &looks{}
}

// looked finds the delivery that a look belongs to: the thread's own, or the oldest of its process. Another thread that found
// something may have been handed the delivery, or have been faster; which it was shows when the thread that was told looks
// itself. A call that had begun before the delivery and found nothing is not its answer.
func (r *spuriousRule) looked(ev *event.Event, sub *timeline.Subject) {
	l := r.files[sub.File]
	if l == nil || interrupted(ev.Ret) {
		return
	}
	own, other := -1, -1
	for k := range l.told[:l.open] {
		switch t := &l.told[k]; {
		case t.tid == ev.TID:
			own = k
		case other < 0 && t.pid == ev.PID && t.answer == 0 && (t.time <= ev.Start || ev.Ret != again):
			other = k
		}
	}
	switch {
	case own >= 0:
		t := &l.told[own]
		// A thread that has been back to its wait meanwhile looks for another reason.
		found := ev.Ret != again || t.answer != 0 && (sub.Thread == nil || sub.Thread.MovedOn(timeline.Mark{Seq: t.seq}))
		r.answered(ev, l, t, found)
		l.forget(own)
	case other >= 0 && ev.Ret == again:
		r.answered(ev, l, &l.told[other], false)
		l.forget(other)
	case other >= 0:
		l.told[other].answer = ev.Seq
	}
	if ev.Ret != again {
		l.taken, l.takenPID = timeline.Mark{Seq: ev.Seq, Time: ev.Time, TID: ev.TID}, ev.PID
	}
}

// interrupted reports whether a signal ended the call before it could find anything: -EINTR, or one of the kernel's own
// codes for a restart (include/linux/errno.h).
func interrupted(ret int64) bool { return ret == -4 || ret <= -512 && ret >= -516 }

func (l *looks) forget(n int) {
	l.open--
	l.told[n] = l.told[l.open]
	l.told[l.open] = told{}
}

// answered counts a first look, for its file and for the instance.
func (r *spuriousRule) answered(ev *event.Event, l *looks, t *told, found bool) {
	if p := r.c.Timeline.Subject().Process; p != nil && p.Unseen {
		return
	}
	r.second(l, ev.Time)
	in := r.instances[t.item.Epoll]
	if in == nil {
		in = &looks{whole: true}
		r.instances[t.item.Epoll] = in
	}
	r.second(in, ev.Time)
	l.count(ev, t, l, found)
	if l.finding == nil || l.finding.Outcome != OutcomeOngoing {
		in.count(ev, t, l, found) // what is told of its file is not told of the instance as well
	}
}

// count adds a look; of is what is known of its file.
func (l *looks) count(ev *event.Event, t *told, of *looks, found bool) {
	l.all++
	if found {
		return
	}
	l.empty++
	l.item, l.tid = t.item, ev.TID
	l.seqs = [4]uint64{t.item.LastWakeup.Seq, t.seq, 0, ev.Seq}
	if of.taken.Seq != 0 && of.taken.TID != ev.TID && of.taken.Time >= t.woken {
		l.lost++
		l.winner, l.whose = of.taken, of.takenPID
		l.seqs[2] = of.taken.Seq
	}
}

func (l *looks) begin(at event.Time) {
	l.before = l.empty
	l.from, l.all, l.empty, l.lost = at, 0, 0, 0
}

// second begins a new second when the old one is over.
func (r *spuriousRule) second(l *looks, now event.Time) {
	if l.from == 0 {
		l.begin(now)
	}
	if now.Sub(l.from) >= ratePeriod {
		r.judge(l, now)
		l.calm(r.c, now, l.says)
		l.begin(now)
	}
}

// judge decides whether a second was bad.
func (r *spuriousRule) judge(l *looks, now event.Time) {
	if l.empty < r.threshold || 2*l.empty < l.all || l.item == nil {
		return
	}
	if l.whole && (l.empty-r.ofFiles(l.item.Epoll) < r.threshold || r.bad(r.files[l.item.File])) {
		return
	}
	if l.empty > l.worst.empty {
		l.worst.all, l.worst.empty, l.worst.lost = l.all, l.empty, l.lost
	}
	f := newFinding(l.item.File, l.item)
	f.TID, f.Start, f.Evidence, f.Fix = l.tid, l.from, slices.Clone(l.seqs[:]), fixSpuriousSelf
	if l.lost > 0 || len(l.item.File.Interests) > 1 {
		f.Fix = fixSpuriousShared
	}
	if p := l.item.Epoll.PID; p != 0 {
		f.PID = p
	}
	l.worse(r.c, f, min(now, l.from.Add(ratePeriod)), l.says)
}

// bad reports whether a file is told of by itself, also where several instances watch it.
func (r *spuriousRule) bad(l *looks) bool { return l != nil && max(l.empty, l.before) >= r.threshold }

// ofFiles counts the empty looks of an instance that are told of their file.
func (r *spuriousRule) ofFiles(ep *timeline.Epoll) int {
	empty := 0
	for _, l := range r.files {
		if r.bad(l) && l.item.Epoll == ep {
			empty += max(l.empty, l.before)
		}
	}
	return empty
}

func (l *looks) says(*rated) string {
	f := l.finding
	who := f.who()
	if l.whole {
		who = fmt.Sprintf("epoll instance fd %d, last %s", f.EpFD, who)
	}
	words := fmt.Sprintf("%s: %d of %d deliveries in one second found nothing at the first look (EAGAIN)", who, l.worst.empty, l.worst.all)
	switch {
	case l.worst.lost == 0:
		words += "; nobody who is observed took it"
	case l.whose != f.PID:
		words += fmt.Sprintf("; %d times another had taken it, last thread %d of process %d", l.worst.lost, l.winner.TID, l.whose)
	default:
		words += fmt.Sprintf("; %d times another thread had taken it, last thread %d", l.worst.lost, l.winner.TID)
	}
	return words + l.badSeconds()
}
