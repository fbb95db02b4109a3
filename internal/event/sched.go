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
	if s.Call == "" {
		return b
	}
	if plain(s.Call) {
		return appendString(b, "blocked_in", s.Call)
	}
	// Out of another history.
	quoted, err := json.Marshal(s.Call)
	if err != nil {
		return b
	}
	return append(appendName(b, "blocked_in"), quoted...)
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
