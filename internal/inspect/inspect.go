// Package inspect takes a look at one process's epoll instances from outside, twice within a moment, and says what in them stood
// still that should not. It needs no BPF and changes nothing; it does not watch, so what it calls suspicious is
// a state and never a story.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/proc"
	"github.com/epwatch/epwatch/internal/sockdiag"
)

// ErrNoEpoll: the process has no epoll instance.
var ErrNoEpoll = errors.New("has no epoll instance")

// Options say what to look at.
type Options struct {
	PID    uint32
	Sample time.Duration     // between the two samples; 0 is DefaultSample
	Now    func() event.Time // the clock of Report.Time
}

// DefaultSample is the time between the two samples.
const DefaultSample = 300 * time.Millisecond

// Report is one look at a process.
type Report struct {
	Process   proc.Process
	Time      event.Time    // of the second sample
	Sample    time.Duration // between the two samples, as it came out
	Instances []Instance    // by descriptor
	Missing   []Missing
}

// Missing is something that could not be read.
type Missing struct {
	What   string
	Reason string
	Checks []string // that cannot be answered therefore
}

// Instance is one epoll instance.
type Instance struct {
	FD      int32
	Also    []int32  // further descriptors of the same instance
	Waiters []uint32 // threads that were blocked waiting on it; holds when HasWaiters is set
	// HasWaiters: what every thread does could be read.
	HasWaiters bool
	Sharers    []uint32 // other processes that hold it under the same number; looked for only when an item's file is not to be found
	Items      []Item   // by descriptor

	idle bool // no thread was seen to wait on it, though every thread could be looked at
}

// Item is one file on an interest list, in the second sample.
type Item struct {
	FD       int32
	Mask     event.Mask
	Data     uint64
	Inode    uint64
	Kind     string // tcp, unix-stream, eventfd, pipe and so on; empty when not known
	Name     string // path of a file or UNIX socket, link of everything else
	Link     Link
	Armed    bool
	Standing bool // nothing that can be seen of it changed between the two samples

	Sock       *Socket // of TCP, UDP and UNIX, where its queue could be read
	State      string  // of sockets that tell
	Suspicions []Suspicion
	Notes      []string
	holder     uint32 // of the file, when Link is LinkElsewhere
	unlisted   bool   // a TCP socket that is in no table: reset, closed or never connected
	unproven   bool   // of Standing, what looked the same may have been other input of the same length
}

// Socket is what is behind an item.
type Socket struct {
	State       event.State    // of UDP and UNIX, Listen, Established when it is connected, or Closed
	Local, Peer netip.AddrPort // not valid of UNIX
	Unread      uint32         // bytes, without the FIN; of a listener the connections to accept
	Datagrams   bool           // Unread says only whether a datagram waits: the kernel tells outsiders no more
	Limit       uint32         // of a listener, how many connections may wait; 0 when not known
	FIN         bool           // the peer's FIN is in the receive queue; of TCP only
	ReadShut    bool           // of UNIX: the peer has closed, or this end was shut down for reading
	SendQueue   uint32         // bytes that the peer has not acknowledged, of UNIX not read; holds when HasSent is set
	HasSent     bool

	listed sockdiag.Socket // of TCP
}

// isTCP reports whether the socket is TCP's, which alone has states that hang up, and tells when data came in last.
func (s *Socket) isTCP() bool { return s.listed.State != 0 }

// Link says what an item's descriptor number stands for now.
type Link uint8

// The answers. An item outlives its descriptor when the file has another one, in this process or another.
const (
	LinkUnknown   Link = iota
	LinkSame           // the file that was registered
	LinkClosed         // nothing
	LinkReused         // another file
	LinkElsewhere      // not this process's business: the instance is shared, and another holder has the file under that number
)

var linkNames = [...]string{"", "same", "closed", "reused", "elsewhere"}

// String returns the answer in a word, empty when not known.
func (l Link) String() string {
	if int(l) >= len(linkNames) {
		return "unknown"
	}
	return linkNames[l]
}

// Suspicion is what stood still that should not. Check is a code of epwatch's checks.
type Suspicion struct {
	Check   string
	Message string
	Fix     string
	Root    string // code of the suspicion about the same item that explains this one
}

// Look takes both samples. It fails when the process is gone, is none that has descriptors, may not be looked at, or has no epoll
// instance; what else cannot be read is in the report.
func Look(ctx context.Context, o Options) (*Report, error) {
	if o.Sample <= 0 {
		o.Sample = DefaultSample
	}
	began := time.Now()
	first, err := take(ctx, o.PID)
	if err != nil {
		return nil, err
	}
	seen := watcher{pid: o.PID, waited: map[int32]bool{}}
	if err := seen.during(ctx, o.Sample-time.Since(began), first.epolls); err != nil {
		return nil, err
	}
	second, err := take(ctx, o.PID)
	if err != nil {
		return nil, err
	}
	if first.process.StartTime != second.process.StartTime {
		return nil, fmt.Errorf("process %d ended, and another one took its number: %w", o.PID, proc.ErrGone)
	}
	r := &Report{Process: second.process, Sample: second.at.Sub(first.at), Missing: second.missing}
	if o.Now != nil {
		r.Time = o.Now()
	}
	c := comparison{pid: o.PID, first: first, second: second, report: r}
	c.build()
	c.waiters(&seen)
	c.findOwners()
	c.confirm(ctx)
	return r, ctx.Err()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Suspicions counts what was found, by check. What another suspicion explains counts too.
func (r *Report) Suspicions() map[string]int {
	found := map[string]int{}
	for _, in := range r.Instances {
		for _, it := range in.Items {
			for _, s := range it.Suspicions {
				found[s.Check]++
			}
		}
	}
	return found
}

// Items counts the items of all instances.
func (r *Report) Items() int {
	n := 0
	for _, in := range r.Instances {
		n += len(in.Items)
	}
	return n
}

func (r *Report) miss(what string, err error, checks ...string) {
	m := Missing{What: what, Reason: err.Error(), Checks: checks}
	if !slices.ContainsFunc(r.Missing, func(o Missing) bool { return o.What == m.What && o.Reason == m.Reason }) {
		r.Missing = append(r.Missing, m)
	}
}

// words joins what is there.
func words(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}
