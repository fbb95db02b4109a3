package timeline

import "github.com/epwatch/epwatch/internal/event"

// Class says how a read or a receive was matched, or why not.
type Class uint8

// The classes.
const (
	// ClassMatched: the call and the receives inside it agree in number and size.
	ClassMatched Class = iota
	// ClassNotHooked: the call read a file whose receives are not hooked, since it is not TCP, or by a splice where those of
	// splices are not. Such reads are not counted as unmatched.
	ClassNotHooked
	// ClassNoCall: the kernel handed input over outside of any call that was seen, as io_uring does.
	ClassNoCall
	// ClassNoReceive: a call returned bytes of a TCP socket, and no receive was seen inside it.
	ClassNoReceive
	// ClassSizeDiffers: the call and the receives inside it disagree.
	ClassSizeDiffers
	// ClassLost: records were lost meanwhile.
	ClassLost
	// ClassCutOff: the call around the receive was under way when the observation began or ended, so that half of it was
	// seen.
	ClassCutOff

	numClasses
)

var classNames = [numClasses]string{
	"matched", "read of a file whose receives are not hooked", "receive without a call", "call without a receive",
	"size differs", "records lost", "call under way when the observation began or ended",
}

// String says the class in words.
func (c Class) String() string { return classNames[c] }

// Classes returns all classes of what may not be matched.
func Classes() []Class {
	return []Class{ClassNotHooked, ClassNoCall, ClassNoReceive, ClassSizeDiffers, ClassLost, ClassCutOff}
}

// Match joins one user-side read with one kernel-side receive. Several receives of one call give several.
type Match struct {
	Class Class
	Read  uint64 // sequence number of the call, 0 if there is none
	Recv  uint64 // sequence number of the receive, 0 if there is none
	Bytes int64  // what the receive moved, or the call if there is no receive
}

// receive is a receive that waits for its call's return.
type receive struct {
	seq  uint64
	time event.Time
	ret  int64
	told bool // it said what is left in the queue
}

// maxReceives bounds the receives of one call: recvmmsg takes at most 1,024 messages (UIO_MAXIOV).
const maxReceives = 1024

// hold keeps a receive until the call around it returns.
func (t *Timeline) hold(ev *event.Event) {
	if ev.Ret > 0 {
		t.stats.Receives++
	}
	th := t.sub.Thread
	if th == nil {
		if ev.Ret > 0 {
			t.unmatched(ClassNoCall, 0, ev.Seq, ev.Ret)
		}
		return
	}
	if len(th.receives) >= maxReceives {
		t.giveUp(th, th.receives[0].time+1, t.whyNoCall(th))
	}
	th.receives = append(th.receives, receive{ev.Seq, ev.Time, ev.Ret, ev.Has(event.HasUnread)})
}

// settle gives up receives that no call can claim any more: the thread has begun another call since.
func (t *Timeline) settle(ev *event.Event) {
	th := t.sub.Thread
	if th == nil || len(th.receives) == 0 && th.called || ev.Kind.Kernel() || ev.Kind == event.KindDeliver ||
		ev.Kind == event.KindSignal {
		return
	}
	t.giveUp(th, startOf(ev), t.whyNoCall(th))
	th.called = true
}

// whyNoCall says why the thread's receives have no call around them: before its first call that was seen, the observation had
// begun inside of one. The operations of io_uring have none.
func (t *Timeline) whyNoCall(th *Thread) Class {
	if p := t.procs[th.PID]; th.called || p != nil && p.uring {
		return ClassNoCall
	}
	return ClassCutOff
}

// giveUp counts the thread's receives before that time as unmatched.
func (t *Timeline) giveUp(th *Thread, before event.Time, why Class) {
	n := 0
	for n < len(th.receives) && th.receives[n].time < before {
		if r := th.receives[n]; r.ret > 0 {
			t.unmatched(why, 0, r.seq, r.ret)
		}
		n++
	}
	if n > 0 {
		th.receives = append(th.receives[:0], th.receives[n:]...)
	}
}

func (t *Timeline) settleAll() {
	for _, th := range t.threads {
		why := ClassCutOff
		if p := t.procs[th.PID]; p != nil && p.uring {
			why = ClassNoCall
		}
		t.giveUp(th, maxTime, why)
	}
}

// match joins a reading call with the receives inside it, which are what settle left. It reports whether there
// were any, and whether they said what is left in the queue.
func (t *Timeline) match(ev *event.Event) (inCall, told bool) {
	th := t.sub.Thread
	if th == nil {
		return false, false
	}
	inside := th.receives
	inCall = len(inside) > 0
	th.receives = th.receives[:0]
	var bytes, count int64
	for _, r := range inside {
		told = told || r.told
		if r.ret > 0 {
			bytes += r.ret
			count++
		}
	}
	if ev.Ret <= 0 && count == 0 {
		t.stats.EmptyReads++
		return inCall, told
	}
	if len(inside) == 0 {
		t.alone(ev)
		return inCall, told
	}
	t.seesSplice = t.seesSplice || ev.Call == event.CallSplice
	t.stats.Reads++
	want := bytes
	if ev.Call == event.CallRecvmmsg {
		want = count // it returns messages, not bytes
	}
	if want != max(ev.Ret, 0) {
		t.unmatchedRead(ev, inside)
		return inCall, told
	}
	for _, r := range inside {
		if r.ret > 0 {
			t.stats.Matched++
			t.tell(Match{ClassMatched, ev.Seq, r.seq, r.ret})
		}
	}
	return inCall, told
}

func (t *Timeline) unmatchedRead(ev *event.Event, inside []receive) {
	why := ClassSizeDiffers
	if t.gap.Seq != 0 && t.gap.From <= ev.Time && startOf(ev) <= t.gap.To {
		why = ClassLost
	}
	for _, r := range inside {
		if r.ret > 0 {
			t.unmatched(why, ev.Seq, r.seq, r.ret)
		}
	}
}

// alone classes a call that returned bytes without any receive inside.
func (t *Timeline) alone(ev *event.Event) {
	f := t.sub.File
	if f == nil || f.Sock == nil || !f.Sock.TCP || ev.Call == event.CallSplice && !t.seesSplice {
		t.stats.Unmatched[ClassNotHooked]++
		t.tell(Match{ClassNotHooked, ev.Seq, 0, ev.Ret})
		return
	}
	t.stats.Reads++
	why := ClassNoReceive
	if t.gap.Seq != 0 && startOf(ev) <= t.gap.To {
		why = ClassLost
	}
	t.unmatched(why, ev.Seq, 0, ev.Ret)
}

func (t *Timeline) unmatched(why Class, read, recv uint64, bytes int64) {
	t.stats.Unmatched[why]++
	t.tell(Match{why, read, recv, bytes})
}

func (t *Timeline) tell(m Match) {
	if t.opt.Matched != nil {
		t.opt.Matched(m)
	}
}
