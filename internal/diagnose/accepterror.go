package diagnose

import (
	"fmt"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

func acceptError() Check {
	return Check{
		Code:  "accept-error",
		Title: "accept fails again and again because a limit is reached",
		Doc: Doc{
			Symptom: "New clients are connected and get no answer, or are reset after a while, and the server burns a core.",
			Mechanism: "accept reserves a descriptor before it looks at the queue. At a limit it fails and takes nothing out, so the connection " +
				"stays, the listener stays ready, and a level-triggered wait returns it at once: the loop spins until something " +
				"gives descriptors back. EMFILE is the process's limit, ENFILE the system's, ENOBUFS and ENOMEM are memory.",
			Proof: "So many accepts of one thread within a second that failed with the same kind of error, and none of the process on that listener " +
				"that succeeded between them.",
			Blind: "A program that pauses after each failure stays at its limit too, and is left alone. So is one that gives a spare descriptor back, " +
				"accepts with it and closes at once, since its accepts succeed. What holds the descriptors is not said: close-wait may.",
			Repair: "Raise the limit, and find out who keeps the descriptors. On EMFILE stop watching the listener for a while, or keep a spare " +
				"descriptor: close it, accept, close the connection, open the spare again.",
			RepairC:  acceptErrorC,
			Runtimes: acceptErrorRuntimes(),
			References: []string{
				"accept(2), ERRORS", "getrlimit(2), RLIMIT_NOFILE", "proc_sys_fs(5), file-max", "net/socket.c: __sys_accept4_file",
				"net/ipv4/inet_connection_sock.c: inet_csk_accept",
			},
		},
		New: func(c *Context) Rule {
			return &acceptErrorRule{c: c, failing: make(map[acceptor]*acceptFailure), threshold: c.Thresholds.AcceptError}
		},
	}
}

var limitFixes = map[int64]string{
	-12:  "find what uses the memory (/proc/meminfo, the cgroup's memory.max), and pause after a failed accept",
	-23:  "raise fs.file-max (sysctl) and look for who holds the files (lsof), and pause after a failed accept",
	-24:  "raise the limit on descriptors (ulimit -n, LimitNOFILE=) or look for a leak in /proc/PID/fd, and pause after a failed accept",
	-105: "find what uses the memory of the network (net.ipv4.tcp_mem, /proc/net/sockstat), and pause after a failed accept",
}

var limitWords = map[int64]string{
	-12:  "the kernel has no memory left for it",
	-23:  "the system is at its limit of open files (fs.file-max)",
	-24:  "the process is at its limit of open files (ulimit -n)",
	-105: "the network's memory is used up (net.ipv4.tcp_mem)",
}

const (
	// failureWindow is the time in which the failures are counted.
	failureWindow = time.Second
	// sameFailure is how soon after a success the failures must be back to belong to the same finding.
	sameFailure = 10 * time.Second
)

// acceptor is a listener in a process: limits are the process's, and so is what frees a descriptor.
type acceptor struct {
	file *timeline.File
	pid  uint32
}

// acceptFailure is what went wrong at a listener since the last accept that succeeded.
type acceptFailure struct {
	file    *timeline.File
	threads []failingThread
	first   timeline.Mark
	last    timeline.Mark
	errno   int64
	count   int // of the finding, or since the last success
	told    int // the count that was reported last
	finding *Finding
}

// failingThread counts per thread: in a pool each thread may fail once and pause.
type failingThread struct {
	tid   uint32
	since event.Time
	count int
}

type acceptErrorRule struct {
	c         *Context
	failing   map[acceptor]*acceptFailure
	threshold int
	gap       gapWatch
}

// Kinds are those that Observe looks at.
func (*acceptErrorRule) Kinds() []event.Kind {
	return []event.Kind{
		event.KindAccept, event.KindClose, event.KindRelease, event.KindDup, event.KindExit,
	}
}

// Observe follows the accepts.
func (r *acceptErrorRule) Observe(ev *event.Event) {
	switch ev.Kind {
	case event.KindAccept:
		r.accept(ev, r.c.Timeline.Subject().File)
	case event.KindClose, event.KindRelease, event.KindDup, event.KindExit:
		if len(r.failing) > 0 {
			r.ended()
		}
	}
}

// Finish says how often it was in the end.
func (r *acceptErrorRule) Finish(event.Time) {
	for _, a := range r.failing {
		if a.finding != nil && a.finding.End == 0 {
			r.update(a)
		}
	}
}

func (r *acceptErrorRule) accept(ev *event.Event, f *timeline.File) {
	if ev.Ret >= 0 && len(r.failing) == 0 || f == nil {
		return
	}
	if r.gap.isNew(r.c.Timeline) {
		r.forget()
	}
	k := acceptor{f, ev.PID}
	a := r.failing[k]
	if ev.Ret >= 0 {
		r.succeeded(ev, a)
		return
	}
	if limitErrors[ev.Ret] == "" {
		return
	}
	if a == nil {
		a = &acceptFailure{file: f}
		r.failing[k] = a
	}
	if a.finding != nil && a.finding.End != 0 && ev.Time.Sub(a.finding.End) > sameFailure {
		*a = acceptFailure{file: f, threads: a.threads}
	}
	r.failed(ev, f, a)
}

// forget takes back the counts after a loss: an accept that succeeded may be among what was lost.
func (r *acceptErrorRule) forget() {
	for k, a := range r.failing {
		if a.finding == nil {
			delete(r.failing, k)
		}
	}
}

func (r *acceptErrorRule) failed(ev *event.Event, f *timeline.File, a *acceptFailure) {
	mark := timeline.Mark{Seq: ev.Seq, Time: ev.Time, TID: ev.TID}
	if a.count == 0 {
		a.first = mark
	}
	a.count++
	a.last, a.errno = mark, ev.Ret
	if a.finding != nil && a.finding.End == 0 {
		if a.count >= 10*a.told {
			r.update(a)
		}
		return
	}
	if a.inARow(ev) < r.threshold {
		return
	}
	if old := a.finding; old != nil {
		old.End, old.Outcome = 0, OutcomeOngoing
		r.update(a)
		return
	}
	r.found(ev, f, a)
}

// inARow counts the failures of the event's thread within the window.
func (a *acceptFailure) inARow(ev *event.Event) int {
	for i := range a.threads {
		th := &a.threads[i]
		if th.tid != ev.TID {
			continue
		}
		if ev.Time.Sub(th.since) > failureWindow {
			th.since, th.count = ev.Time, 0
		}
		th.count++
		return th.count
	}
	a.threads = append(a.threads, failingThread{ev.TID, ev.Time, 1})
	return 1
}

func (r *acceptErrorRule) found(ev *event.Event, f *timeline.File, a *acceptFailure) {
	var watched *timeline.Interest
	if len(f.Interests) > 0 {
		watched = f.Interests[len(f.Interests)-1]
	}
	found := newFinding(f, watched)
	found.PID, found.FD, found.TID = ev.PID, ev.FD, ev.TID
	found.Severity, found.Outcome, found.Start = SeverityError, OutcomeOngoing, a.first.Time
	if f.Sock != nil {
		found.Evidence = append(found.Evidence, f.Sock.BacklogSeq())
	}
	if watched != nil {
		found.Evidence = append(found.Evidence, watched.LastDelivery.Seq)
	}
	found.Fix = limitFixes[ev.Ret]
	found.Evidence = append(found.Evidence, a.first.Seq)
	a.finding = found
	r.describe(a)
	a.tellWaiting()
	r.c.add(found, ev.Time)
}

// describe says what is known up to now.
func (r *acceptErrorRule) describe(a *acceptFailure) {
	f := a.finding
	a.told = a.count
	f.Evidence = append(f.Evidence, a.last.Seq)
	f.Message = fmt.Sprintf("%s: accept failed %d times in %s with %s: %s", f.who(), a.count, span(a.last.Time.Sub(f.Start)),
		limitErrors[a.errno], limitWords[a.errno])
}

func (r *acceptErrorRule) update(a *acceptFailure) {
	if a.told == a.count && a.finding.End == 0 {
		return
	}
	r.describe(a)
	a.tellWaiting()
	r.c.change(a.finding)
}

// tellWaiting says how many clients wait for it, as far as known.
func (a *acceptFailure) tellWaiting() {
	if a.file.Sock == nil {
		return
	}
	if n, known := a.file.Sock.Backlog(); known && n > 0 {
		a.finding.Unread = n
		a.finding.Message += fmt.Sprintf("; %s waiting to be accepted", connections(n))
	}
}

// succeeded ends what went on: there was a descriptor to be had.
func (r *acceptErrorRule) succeeded(ev *event.Event, a *acceptFailure) {
	if a == nil {
		return
	}
	a.threads = a.threads[:0]
	f := a.finding
	switch {
	case f == nil:
		a.count = 0
	case f.End == 0:
		r.describe(a)
		f.Outcome, f.End = OutcomeOver, ev.Time
		f.Evidence = append(f.Evidence, ev.Seq)
		f.Message += fmt.Sprintf("; the next one succeeded %s later", span(ev.Time.Sub(a.last.Time)))
		r.c.change(f)
	case ev.Time.Sub(f.End) > sameFailure:
		*a = acceptFailure{file: a.file, threads: a.threads}
	}
}

// ended drops the listeners that are no more.
func (r *acceptErrorRule) ended() {
	for k, a := range r.failing {
		if !k.file.Ended {
			continue
		}
		delete(r.failing, k)
		if f := a.finding; f != nil && f.End == 0 {
			r.describe(a)
			f.Outcome, f.End = OutcomeOver, k.file.EndTime
			f.Evidence = append(f.Evidence, k.file.EndSeq)
			f.Message += "; then the listener was closed"
			r.c.change(f)
		}
	}
}
