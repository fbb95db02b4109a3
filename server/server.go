// Package server holds the documented epoll experiments: six small TCP servers that differ in one line each, their
// clients, and what each of them must show when it is observed (its claims and its findings). Beside them stands the
// gallery: for each check servers that are guilty and their repaired twins, and innocents that look suspicious.
//
// A server runs in a process of its own, on one locked thread, with raw system calls, so that its process has one
// epoll instance and no other: the Go runtime's own poller stays asleep. The package observes nothing and judges
// nothing but the claims; events come in as event.Event values.
package server

import (
	"math"
	"slices"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// Variant is one server with its client: a documented experiment, or a piece of the gallery. It is a plain value;
// Variants and Gallery make fresh ones.
type Variant struct {
	Name    string // how commands call it
	Title   string // what it is, in half a line
	Teaches string // what running it shows, in one sentence

	Mask    event.Mask // what a connection is registered with
	Reading Reading    // what is done on EPOLLIN
	HangUp  HangUp     // when EPOLLRDHUP and EPOLLHUP are looked at
	Rearm   bool       // EPOLL_CTL_MOD with Mask after each delivery

	// Of the gallery only, whose servers share no loop and have none of the four above.
	Check   string // the check that the piece is about, empty for an innocent of all
	Partner string // the repaired twin of a guilty server, the guilty one of a twin, empty for an innocent
	serve   func(*stage)

	Script  []Step        // what the client does
	Timeout time.Duration // the documented client time-out, see Documented

	// Lines are all lines the server prints for one run of Script, in order, with PortMark and ClientMark where the
	// port and the client's address stand.
	Lines  []string
	Claims []Claim
	Expect []ExpectedFinding
}

// Documented returns the client time-out that the experiment was documented with.
func (v Variant) Documented() time.Duration { return v.Timeout }

// LastLine returns the last line the server prints for one run of Script: once it is there, nothing more comes.
func (v Variant) LastLine() string { return v.Lines[len(v.Lines)-1] }

// DefaultTimeout is the client time-out of runs that do not ask for the documented one.
const DefaultTimeout = time.Second

// Message is what every client sends first.
const Message = "01234567890123456789"

// Variants returns the documented variants in their order.
func Variants() []Variant {
	vs := []Variant{etDrain(), etPartial(), lt(), oneshot(), etFair(), oneshotRearm()}
	for i := range vs {
		vs[i].Claims = append(vs[i].Claims, printed(vs[i].Lines))
	}
	return vs
}

// ByName returns the variant of that name, documented or of the gallery, and whether there is one.
func ByName(name string) (Variant, bool) {
	for _, v := range slices.Concat(Variants(), Gallery()) {
		if v.Name == name {
			return v, true
		}
	}
	return Variant{}, false
}

// Reading says what a server does on EPOLLIN.
type Reading uint8

const (
	// OneRead reads once, whatever is left.
	OneRead Reading = iota
	// UntilEmpty reads until EAGAIN or the end of the stream.
	UntilEmpty
	// OneTurn reads until EAGAIN, the end of the stream, or TurnBytes; in the last case the connection goes to the
	// pending list, which is served before the next wait may block.
	OneTurn
)

// String says it as a table cell.
func (r Reading) String() string {
	return [...]string{"one read", "read until EAGAIN", "read until EAGAIN, at most 64 KiB a turn"}[r]
}

// TurnBytes is how much OneTurn reads from one connection before the next one has its turn.
const TurnBytes = 64 << 10

// HangUp says when a server looks at EPOLLRDHUP and EPOLLHUP.
type HangUp uint8

const (
	// BeforeInput looks first and closes at once: what was not read by then stays unread.
	BeforeInput HangUp = iota
	// AfterInput does what EPOLLIN asks for, then closes.
	AfterInput
	// AtEndOfStream closes only once a read returned 0, so that nothing the peer sent is left.
	AtEndOfStream
)

// String says it as a table cell.
func (h HangUp) String() string {
	return [...]string{
		"looked at before EPOLLIN: DEL, close", "looked at after EPOLLIN: DEL, close", "read to the end: DEL, close",
	}[h]
}

// ExpectedFinding is a finding that observing the variant must give, no more and no fewer.
type ExpectedFinding struct {
	Check   string // the check's code
	Outcome string // empty: any
	Perhaps bool   // it is true, but counts by the second: a slow machine may not come so far
	Unread  uint32 // bytes, without the FIN; AnyAmount where runs differ
}

// AnyAmount is an ExpectedFinding's Unread where runs of the same server differ in it.
const AnyAmount uint32 = math.MaxUint32
