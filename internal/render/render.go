// Package render shows an observation to people (text) and to programs (JSON). It receives events in their final
// order and findings as they are made, and decides nothing: what is not in its input is not in its output.
package render

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
)

// Schema is the version of the JSON output. It grows when a field changes its meaning or goes away; new fields
// and new types of line may come without that.
const Schema = 1

// Printer shows one observation: Meta first, then events, lines and findings as they come, Conclude last. Methods
// are for one goroutine, and nothing that is passed in is kept, but the groups of findings, which are looked at again. The first error of the output stays: every later call does nothing
// and Flush returns it.
type Printer interface {
	// Meta says what is observed and how.
	Meta(*Meta)
	// Event shows one event of the timeline.
	Event(*event.Event)
	// Line shows a line that an observed program printed.
	Line(*Line)
	// Process says that a process is observed from now on, or has a new name. Those in Meta need no such word.
	Process(event.Time, Process)
	// Note shows what is worth knowing and is neither an event nor a finding.
	Note(*Note)
	// Finding shows a finding when it is made, and again when it has changed. The time is when that became known.
	Finding(event.Time, *diagnose.Finding)
	// Tick says that time went on. It is called every now and then, and may show what was held back of findings.
	Tick(event.Time)
	// Conclude shows what came of it all.
	Conclude(*Conclusion)
	// Flush writes what is held back and returns the first error of the output.
	Flush() error
}

// Format names a way to show an observation.
type Format string

// The formats.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// Options choose what is shown.
type Options struct {
	Format Format // FormatText when empty
	Color  bool   // text only: emphasis by terminal colours
	Quiet  bool   // leave out events and printed lines
}

// New returns a Printer that writes to w. An unknown format is an error.
func New(w io.Writer, o Options) (Printer, error) {
	var p Printer
	switch o.Format {
	case FormatText, "":
		p = newText(w, o)
	case FormatJSON:
		p = newJSON(w)
	default:
		return nil, fmt.Errorf("choosing an output: unknown format %q (text or json)", string(o.Format))
	}
	if o.Quiet {
		p = quiet{p}
	}
	return p, nil
}

// quiet leaves findings and the conclusion.
type quiet struct{ Printer }

func (quiet) Event(*event.Event) {}
func (quiet) Line(*Line)         {}

// Meta says what is observed and how.
type Meta struct {
	Version   string
	Kernel    string
	Command   string // what was asked for, for instance "trace et-partial"
	Processes []Process
	Hooks     []Hook
	Missing   map[string]string // checks that cannot be answered here, and why
	Start     event.Time        // zero point of the text's times
	Wall      time.Time         // the same point on the wall clock
}

// Process names one observed process.
type Process struct {
	PID  uint32 `json:"pid"`
	Comm string `json:"comm,omitempty"`
}

// Note is a plain word on the observation itself.
type Note struct {
	Time event.Time
	PID  uint32 // the process that it is about, 0 for none
	Text string // one sentence without a full stop
}

// Hook says where in the kernel an event is taken.
type Hook struct {
	Event    string   `json:"event"`
	Family   string   `json:"family,omitempty"` // empty when there is no hook
	Programs []string `json:"programs,omitempty"`
	Misses   string   `json:"misses,omitempty"` // what cannot be seen this way
	Reason   string   `json:"reason,omitempty"` // why not a better family, or why none
}

// Line is one line that a program printed.
type Line struct {
	Time   event.Time // when it was read from the program
	Source string     // "server" or "client"
	PID    uint32     // 0 when it is epwatch's own process
	Text   string     // without the line end
}

// Answer is what became of a claim.
type Answer string

// The answers.
const (
	Shown      Answer = "shown"
	NotShown   Answer = "not shown"
	NotReached Answer = "not reached" // the observation ended before
)

// Claim is something that the observed program must show.
type Claim struct {
	ID     string
	Text   string
	Answer Answer
	Events []uint64 // sequence numbers of the events that show it
	Why    string   // what was seen instead, when it was not shown
}

// Journal compares the program's own word for what it read with what the kernel handed out.
type Journal struct {
	Entries   int // reads that the program wrote down
	Receives  int // receives that the kernel side saw
	Matched   int
	Unmatched []Unmatched
	Lost      uint64 // records that did not arrive
}

// Unmatched is one class of entries without their counterpart.
type Unmatched struct {
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

// Table is the socket table at one moment, as netstat would show it.
type Table struct {
	Moment  string
	Time    event.Time
	Sockets []Socket
}

// Socket is one line of a Table.
type Socket struct {
	Local, Peer netip.AddrPort
	State       event.State
	RecvQueue   uint32 // as netstat shows it: unread bytes, and one for an unread FIN
	Unread      uint32 // bytes; connections when listening
	FIN         bool   // the peer's FIN stands in the receive queue
	SendQueue   uint32
	PID         uint32 // owner, 0 when nobody holds it
	FD          int32  // event.NoFD when not known
	Comm        string
}

// Conclusion is what came of an observation.
type Conclusion struct {
	Claims     []Claim
	Journal    *Journal // nil when there is none
	Verdicts   []Verdict
	Findings   []*diagnose.Finding
	Groups     []*diagnose.Group // the same, each fault once
	Tables     []Table
	Departures []string // where the outcome differs from what was expected, one plain sentence each
	Summary    Summary
}

// Summary is the figures at the end.
type Summary struct {
	Duration   time.Duration
	Events     map[event.Kind]uint64
	Lost       uint64
	LowerBound bool   // the kernel does not count the program runs that it skips, so more may be missing
	Missed     uint64 // program runs that the kernel skipped, of any process
	Reads      uint64
	Receives   uint64
	Matched    uint64
	Unmatched  []Unmatched
	Unhooked   uint64         // reads of files whose receives no hook sees, since they are not TCP: nothing to match
	Findings   map[string]int // by check, without those of severity info
	Accepted   map[string]int // of those, by check, how many the baseline accepts
	Stale      []string       // fingerprints that the baseline accepts and that were not found
	Unknown    []Unknown
	Ended      string // who or what ended it, empty when it came to its own end
	Early      bool   // Ended names what kept it from its end, rather than the way it is meant to end
	Cost       Cost
}

// Cost is what an observation took.
type Cost struct {
	CPU     time.Duration // processor time of epwatch itself since everything was attached
	BPF     time.Duration // processor time of its programs in the kernel, 0 where the kernel does not measure it
	BPFRuns uint64        // how often they ran, 0 likewise
}

// Verdict is what a check says in the end.
type Verdict struct {
	Check  string `json:"check"`
	Result string `json:"result"`           // found, clean or unknown
	Reason string `json:"reason,omitempty"` // why it is unknown, or that all of it is accepted
}

// Unknown is a check that could not be answered.
type Unknown struct {
	Check  string `json:"check"`
	Reason string `json:"reason"`
}

// total returns the number of events.
func (s *Summary) total() uint64 {
	n := uint64(0)
	for _, k := range s.Events {
		n += k
	}
	return n
}

// rate returns the events per second.
func (s *Summary) rate() float64 {
	if s.Duration <= 0 {
		return 0
	}
	return float64(s.total()) / s.Duration.Seconds()
}

const (
	// bufferSize is how much is gathered for one write: under load there are megabytes a second.
	bufferSize = 64 << 10
	// maxFindings bounds what is remembered of findings, so that they are not said twice.
	maxFindings = 4096
)
