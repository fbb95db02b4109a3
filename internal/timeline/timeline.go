// Package timeline turns the events of a tracer into one ordered history with state: threads, epoll instances,
// their interests, open files and sockets, each with what is known of it and since when. It joins the kernel's
// side with the program's: receives with the calls that caused them, deliveries with the files they mean. It
// judges nothing, and it never guesses: what a trace that starts in mid-life or lost records cannot tell is
// unknown. A Timeline is used by one goroutine.
package timeline

import (
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// DefaultWindow is how far out of order events may arrive when Options leave it open.
const DefaultWindow = 20 * time.Millisecond

// grace is how long an ended file or socket can still be named: the kernel reports the reset and the last state
// of a socket after its file is gone, and a dying process closes its files after its exit was recorded.
const grace = time.Second

// Options configure a Timeline.
type Options struct {
	// Window is how far out of order events may arrive; 0 means DefaultWindow. An event that comes later than
	// that is counted in Stats.Late, marked AfterGap, and treated like a loss.
	Window time.Duration
	// Observe is called for each event in final order after the state was updated. The event is the timeline's
	// own and holds until Observe returns. It may be nil.
	Observe func(*event.Event)
	// Matched is called when a user-side read and its receives were matched or given up. It may be nil.
	Matched func(Match)
	// PIDs are the processes observed from the start. They may be empty.
	PIDs []uint32
	// Follow says that children are observed too, so that what a fork gives to them is seen to be used and closed.
	Follow bool
}

// Subject is what the event being observed is about, as far as it is known; any pointer may be nil.
type Subject struct {
	Process  *Process
	Thread   *Thread
	File     *File
	NewFile  *File // accept: what the new descriptor names
	Sock     *Sock
	Epoll    *Epoll
	Interest *Interest
}

// Timeline orders events and keeps the state that follows from them. Its memory is bounded by the objects alive,
// the window, what ended within the last second, and the last events that Recall finds.
type Timeline struct {
	opt   Options
	order order
	now   event.Time
	seq   uint64
	gap   Gap
	cpus  []event.Time // time of the last record of each CPU
	sub   Subject
	stats Stats
	until []func(event.Time)
	// seesSplice: a receive was seen inside a splice, so those of splices are hooked.
	seesSplice bool

	fileIDs  event.FileID
	sockIDs  event.SockID
	epollIDs event.EpollID

	files    map[event.Addr]*File
	socks    map[event.Addr]*Sock
	epolls   map[event.Addr]*Epoll
	fds      map[descriptor]binding
	epollFDs map[descriptor]*Epoll
	threads  map[uint32]*Thread
	procs    map[uint32]*Process
	ended    graveyard
	// lately holds what the last events were about, which the next ones mostly are about too.
	lately struct {
		proc   *Process
		thread *Thread
	}
	swept event.Time

	recent [recallable]moment // by sequence number
	slow   [slowParts]event.Event
	slows  uint64
}

// New returns a Timeline without events.
func New(opt Options) *Timeline {
	if opt.Window <= 0 {
		opt.Window = DefaultWindow
	}
	t := &Timeline{
		opt:      opt,
		files:    make(map[event.Addr]*File),
		socks:    make(map[event.Addr]*Sock),
		epolls:   make(map[event.Addr]*Epoll),
		fds:      make(map[descriptor]binding),
		epollFDs: make(map[descriptor]*Epoll),
		threads:  make(map[uint32]*Thread),
		procs:    make(map[uint32]*Process),
	}
	for _, pid := range opt.PIDs {
		t.process(pid)
	}
	return t
}

// Add takes a copy of one event. It is observed when Advance or Close says that nothing earlier can follow.
func (t *Timeline) Add(ev *event.Event) { t.order.push(ev) }

// Advance observes all events older than now less the window: everything recorded before that has to have been added.
func (t *Timeline) Advance(now event.Time) {
	horizon := now.Add(-t.opt.Window)
	t.release(horizon)
	t.now = max(t.now, horizon)
}

// Close observes everything that is left. end is when the observation ended; 0 means with the last event.
func (t *Timeline) Close(end event.Time) {
	t.release(maxTime)
	t.settleAll()
	t.now = max(t.now, end)
}

// Now returns the time up to which the history is complete: the last event's, or the horizon of Advance.
func (t *Timeline) Now() event.Time { return t.now }

// Subject returns what the event being observed is about. It holds during Observe.
func (t *Timeline) Subject() *Subject { return &t.sub }

// BeforeEach has a function called with the time of each event that is later than the ones before, while the state
// is still what it was up to then: what did not happen by that time did not happen.
func (t *Timeline) BeforeEach(f func(now event.Time)) { t.until = append(t.until, f) }

// Gap returns the last loss of records, the zero Gap if there was none.
func (t *Timeline) Gap() Gap { return t.gap }

// GapSeq returns the Seq of the last loss of records.
func (t *Timeline) GapSeq() uint64 { return t.gap.Seq }

const maxTime = event.Time(1<<63 - 1)

func (t *Timeline) release(horizon event.Time) {
	for {
		ev, ok := t.order.pop(horizon)
		if !ok {
			return
		}
		t.take(ev)
	}
}

// take gives the event its place and applies it. The steps are in this order because each uses the one before: time
// first, for those who wait for something not to happen; then the gap, since it makes older knowledge unknown; then settling receives that no call can claim any more;
// then the objects; then what the kind means for them.
func (t *Timeline) take(ev *event.Event) {
	t.seq++
	ev.Seq = t.seq
	t.sub = Subject{}
	if ev.Time < t.now && t.seq > 1 {
		t.stats.Late++
		ev.Flags |= event.AfterGap
		// What a late event says is old news, so even its own word is not fresh.
		t.openGap(ev, ev.Seq+1, ev.Time)
	}
	if ev.Time > t.now {
		t.now = ev.Time
		for _, f := range t.until {
			f(ev.Time)
		}
	}
	t.noteLoss(ev)
	t.ended.expire(t, t.now)
	t.count(ev)
	t.sub.Process, t.sub.Thread = t.actor(ev)
	t.settle(ev)
	t.apply(ev)
	t.name(ev)
	t.remember(ev)
	if t.opt.Observe != nil {
		t.opt.Observe(ev)
	}
	if th := t.sub.Thread; th != nil && ev.Kind == event.KindExit {
		t.endThread(ev, th)
	}
}

// apply changes the state as the kind says; one method per kind, beside the state it changes.
func (t *Timeline) apply(ev *event.Event) {
	switch ev.Kind {
	case event.KindWakeup:
		t.wakeup(ev)
	case event.KindRecv:
		t.receive(ev)
	case event.KindSend:
		t.sub.Sock = t.sock(ev)
	case event.KindReset:
		t.reset(ev)
	case event.KindState:
		t.state(ev)
	case event.KindQueued:
		t.queued(ev)
	case event.KindRelease:
		t.releaseFile(ev)
	case event.KindPacket:
		t.packet(ev)
	case event.KindEpollCreate:
		t.epollCreate(ev)
	case event.KindEpollCtl:
		t.epollCtl(ev)
	case event.KindWaitEnter:
		t.waitEnter(ev)
	case event.KindWaitReturn:
		t.waitReturn(ev)
	case event.KindWoken:
		t.woken(ev)
	case event.KindDeliver:
		t.deliver(ev)
	case event.KindRead:
		t.read(ev)
	case event.KindWrite:
		t.write(ev)
	case event.KindShutdown:
		t.shutdown(ev)
	case event.KindAccept:
		t.accept(ev)
	case event.KindClose:
		t.closeFD(ev)
	case event.KindDup:
		t.dup(ev)
	case event.KindFork:
		t.fork(ev)
	case event.KindExec:
		t.exec(ev)
	case event.KindExit:
		t.exit(ev)
	case event.KindSignal:
		t.signal(ev)
	case event.KindSnapshot:
		t.snapshot(ev)
	case event.KindUnseen:
		t.unseen(ev)
	}
}

// onTheWayOut reports whether such an event belongs to the end of a file, so that its last descriptor is meant.
func onTheWayOut(k event.Kind) bool { return k == event.KindReset || k == event.KindRelease }

// name writes the ordinals of the event's objects into it, and the descriptor where exactly one is known.
func (t *Timeline) name(ev *event.Event) {
	s := &t.sub
	if s.File == nil && s.Sock != nil {
		s.File = s.Sock.File
	}
	if s.Sock == nil && s.File != nil && ev.Kind != event.KindAccept {
		s.Sock = s.File.Sock
	}
	if s.File != nil {
		ev.File = s.File.ID
		if ev.FD == event.NoFD && ev.Kind.Kernel() && (!s.File.Ended || onTheWayOut(ev.Kind)) {
			ev.FD = s.File.FD()
		}
	}
	if s.NewFile != nil {
		ev.NewFile = s.NewFile.ID
	}
	if s.Sock != nil {
		ev.Sock = s.Sock.ID
	}
	if s.Epoll != nil {
		ev.Epoll = s.Epoll.ID
	}
}
