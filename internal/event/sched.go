package event

import (
	"encoding/json"
	"strconv"
	"time"
)

// Sched is one part of the time that a thread spent between two waits: what it did, and for how long in all.
type Sched struct {
	Doing Doing
	Times uint32        // blocked: how often; 0 where the parts were added up
	For   time.Duration // in all
	// Call is the system call that it was blocked in: empty outside of any (a page fault), OtherCalls for what is left
	// of many.
	Call string
	// Stack is where the thread was in the longest of these sleeps, or in one moment of its computing; nil when nobody asked
	// for stacks, or none could be had. It is not changed any more.
	Stack *Stack
}

// Stack is where a thread was, in names, the innermost function first.
type Stack struct {
	User   []string // its program's functions
	Kernel []string
}

// OtherCalls stands for several calls of less note.
const OtherCalls = "other calls"

// Doing is what a thread does with its time.
type Doing uint8

const (
	// DoingUnknown is the zero value and never recorded.
	DoingUnknown Doing = iota
	// Computing: on a processor.
	Computing
	// Runnable: it wanted a processor, and other threads had them.
	Runnable
	// Blocked: asleep, in Call.
	Blocked
	// Stopped: by a signal or a debugger.
	Stopped

	numDoings
)

var doingNames = [numDoings]string{"", "computing", "runnable", "blocked", "stopped"}

// String returns the JSON name, empty for DoingUnknown.
func (d Doing) String() string {
	if d >= numDoings {
		return "unknown"
	}
	return doingNames[d]
}

func appendSched(b []byte, s *Sched) []byte {
	if s.Doing == DoingUnknown {
		return b
	}
	b = appendString(b, "doing", s.Doing.String())
	b = append(b, `,"lasted":`...)
	b = strconv.AppendInt(b, s.For.Nanoseconds(), 10)
	b = appendUint(b, "times", uint64(s.Times))
	b = appendStack(b, s.Stack)
	if s.Call == "" {
		return b
	}
	return appendQuoted(appendName(b, "blocked_in"), s.Call)
}

func appendStack(b []byte, s *Stack) []byte {
	if s == nil {
		return b
	}
	b = append(appendName(b, "stack"), `{"user":`...)
	b = appendFrames(b, s.User)
	b = append(b, `,"kernel":`...)
	b = appendFrames(b, s.Kernel)
	return append(b, '}')
}

func appendFrames(b []byte, frames []string) []byte {
	b = append(b, '[')
	for i, f := range frames {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, f)
	}
	return append(b, ']')
}

// appendQuoted writes a string from outside. Most need no escaping.
func appendQuoted(b []byte, s string) []byte {
	if plain(s) {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	quoted, err := json.Marshal(s)
	if err != nil {
		return append(b, `""`...)
	}
	return append(b, quoted...)
}

// plain reports whether a word stands in JSON as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
