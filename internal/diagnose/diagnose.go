// Package diagnose judges a timeline: it holds the checks and the findings they make. It never changes the
// timeline, never guesses across lost records, and would rather be silent than accuse a healthy program.
package diagnose

import (
	"net/netip"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

// Severity says how bad a finding is.
type Severity string

// The severities. A finding of SeverityInfo accuses nobody.
const (
	SeverityInfo    Severity = "info"
	SeverityWarning Severity = "warning"
	SeverityError   Severity = "error"
)

// Outcome says how a finding ended.
type Outcome string

// The outcomes. OutcomeUnknown stands where records were lost before the end was seen.
const (
	OutcomeUnknown     Outcome = ""
	OutcomeOngoing     Outcome = "ongoing"
	OutcomeRescued     Outcome = "rescued"      // only new input woke it
	OutcomeLost        Outcome = "lost"         // closed with input unread
	OutcomeSelfResumed Outcome = "self-resumed" // the program went on by itself: held back, not forgotten
	OutcomeOver        Outcome = "over"         // it was as bad as it says, and has ended
)

// Result is what a check says about a whole observation.
type Result string

// The results.
const (
	Found       Result = "found"
	Clean       Result = "clean"
	UnknownNow  Result = "unknown"
	maxEvidence        = 10
)

// Doc explains a check to people.
type Doc struct {
	Symptom    string   // what is seen from outside
	Mechanism  string   // what the kernel does, and why that leads there
	Proof      string   // which events prove it
	Blind      string   // what the check cannot see
	Repair     string   // what to change
	RepairC    string   // the same in a few lines of C
	Runtimes   []Advice // what it means to users of a runtime that owns the loop, where it means something else to them
	References []string // manual pages and kernel functions
	DependsOn  []string // checks whose findings on the same file are the root of this one
}

// Advice is a repair in the words of one runtime or library.
type Advice struct {
	Runtime string // such as "libuv"
	Words   string
}

// Check is one thing to look for. Code is a contract and never reused.
type Check struct {
	Code  string
	Title string
	Doc   Doc
	New   func(*Context) Rule
}

// Checks returns all checks, causes before their followers.
func Checks() []Check {
	return []Check{
		etUnread(), oneshotDisarmed(), closeWait(), resetOnClose(), acceptBacklog(), acceptError(), ghostEvent(),
		concurrentDelivery(), busyLoop(), thunderingHerd(), spuriousWakeup(), loopStall(),
	}
}

// Rule is a check at work on one timeline.
type Rule interface {
	// Observe is shown each event, after the timeline took it in.
	Observe(ev *event.Event)
	// Finish is told that no event follows.
	Finish(end event.Time)
}

// expirer is a Rule for which time matters.
type expirer interface {
	// Expire is told the time before anything that happens then changes the timeline: what had to happen earlier did
	// not.
	Expire(now event.Time)
}

// picky is a Rule that is shown the events of some kinds only, and after a loss of records the next of any kind.
type picky interface {
	Kinds() []event.Kind
}

// Finding is what a check found. The engine changes it while the story goes on; the pointer is its identity.
type Finding struct {
	ID       int // counted from 1 in the order of the finds
	Check    string
	Severity Severity
	Outcome  Outcome
	PID, TID uint32
	Comm     string
	FD, EpFD int32 // NoFD when not known
	File     event.FileID
	Epoll    event.EpollID

	Local, Peer netip.AddrPort
	Start       event.Time
	End         event.Time // 0 while it is not over
	Unread      uint32     // bytes, without the FIN; of a listener, connections to accept
	Message     string
	Evidence    []uint64 // sequence numbers of the events that prove it
	// Proof is those events, as far as they could be kept, and where they are few what happened to the file around them. They have
	// no addresses of the kernel's, and of numbers of objects only File.
	Proof []event.Event
	Fix   string
	Root  string // code of the finding on the same file that explains this one
	// Snapshot: it rests on what was there when the observation began and on nothing having happened since. How it
	// came about was not seen, and Start is only when it was first looked at.
	Snapshot bool
	// Stack is where the thread was, of loop-stall; nil when that is not known.
	Stack *event.Stack

	// Fingerprint is the same for the same fault in every run; Group is the findings of the process that share it.
	Fingerprint string
	Group       *Group
	// Accepted is why the baseline accepts the fault, empty when it does not.
	Accepted string

	made    event.Time     // when it was reported first
	fact    bool           // the kernel's own word: no loss elsewhere can make it wrong
	robust  bool           // its check takes lost records into account itself
	file    *timeline.File // what it is about, until it is over
	mode    string         // how that is watched
	again   bool           // the same was found on the same file before
	counted counted
}

// Options configure an Engine.
type Options struct {
	Thresholds Thresholds
	// Only are the codes of the checks to run; empty means all.
	Only []string
	// Report is called when a finding is made, and again with the same pointer each time it changes. May be nil.
	Report func(*Finding)
	// Missing gives, by check, why this observation cannot show what the check needs.
	Missing map[string]string
	// Look asks what a thread is doing. Whoever knows answers with events of kind sched, at the time of the answer; nobody
	// has to. May be nil.
	Look func(pid, tid uint32)
	// Comm names a process. May be nil.
	Comm func(pid uint32) string
	// Kind says what sort of file a descriptor that is no socket names: eventfd, pipe and so on; empty when it cannot. May be
	// nil.
	Kind func(pid uint32, fd int32) string
	// Baseline is what is known and accepted. May be nil.
	Baseline *Baseline
}

// Verdict is what a check says in the end, with the reason where there is one to give: why it is unknown, or that what was found
// is accepted.
type Verdict struct {
	Check  string
	Result Result
	Reason string
}

// Context is what a rule works with.
type Context struct {
	Timeline   *timeline.Timeline
	Thresholds Thresholds

	engine *Engine
	check  *Check
	doubt  string
}

// look asks what a thread is doing.
func (c *Context) look(th *timeline.Thread) {
	if c.engine.opt.Look != nil {
		c.engine.opt.Look(th.PID, th.TID)
	}
}

// Unknown says that something could not be judged, so that the check must not call the observation clean.
func (c *Context) Unknown(reason string) {
	if c.doubt == "" {
		c.doubt = reason
	}
}
