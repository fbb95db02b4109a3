package diagnose

import "time"

// Thresholds say from when on a check speaks: how long a state must last, or how often something must happen. Zero means
// the default. Checks that state a fact, such as reset-on-close, have none.
type Thresholds struct {
	ETUnread        time.Duration
	OneshotDisarmed time.Duration
	CloseWait       time.Duration
	AcceptBacklog   time.Duration
	AcceptError     int // failures of a thread within a second
	GhostEvent      time.Duration
	BusyLoop        int // waits a second
	ThunderingHerd  int // wakeups a second
	SpuriousWakeup  int // deliveries a second
	LoopStall       time.Duration
}

// Setting is one threshold of a Thresholds value, for those who set it by name. Exactly one of Duration and Count is not nil.
type Setting struct {
	Check string // the check's code
	Help  string // what the number means, as a flag's help

	Duration *time.Duration
	Count    *int
	Default  int64 // nanoseconds for a Duration
}

// Settings returns the thresholds of t, each with the place where its value stands.
func (t *Thresholds) Settings() []Setting {
	return []Setting{
		lasting("et-unread", &t.ETUnread, 500*time.Millisecond, "how long input may lie unread before et-unread speaks"),
		lasting("oneshot-disarmed", &t.OneshotDisarmed, 500*time.Millisecond,
			"how long an item may stay disarmed with input before oneshot-disarmed speaks"),
		lasting("close-wait", &t.CloseWait, 5*time.Second, "how long a socket may stay in CLOSE_WAIT before close-wait speaks"),
		lasting("accept-backlog", &t.AcceptBacklog, 500*time.Millisecond,
			"how long connections may wait to be accepted before accept-backlog speaks"),
		often("accept-error", &t.AcceptError, 10, "how often accept must fail within a second before accept-error speaks"),
		lasting("ghost-event", &t.GhostEvent, 100*time.Millisecond,
			"how long after the close of its descriptor an event must come before ghost-event speaks"),
		often("busy-loop", &t.BusyLoop, 500, "how many waits a second an item may make return for nothing before busy-loop speaks"),
		often("thundering-herd", &t.ThunderingHerd, 500,
			"how many wakeups a second may find nothing, because others were woken as well, before thundering-herd speaks"),
		often("spurious-wakeup", &t.SpuriousWakeup, 100,
			"how many deliveries a second may find nothing, if they are half of all, before spurious-wakeup speaks"),
		lasting("loop-stall", &t.LoopStall, 100*time.Millisecond,
			"how long ready items may wait for a thread that is not back in epoll_wait before loop-stall speaks"),
	}
}

func lasting(check string, value *time.Duration, def time.Duration, help string) Setting {
	return Setting{Check: check, Help: help, Duration: value, Default: int64(def)}
}

func often(check string, value *int, def int, help string) Setting {
	return Setting{Check: check, Help: help, Count: value, Default: int64(def)}
}

// Set changes the threshold to n, which is nanoseconds for a Duration.
func (s Setting) Set(n int64) {
	if s.Duration != nil {
		*s.Duration = time.Duration(n)
		return
	}
	*s.Count = int(n)
}

// Value returns what Set takes.
func (s Setting) Value() int64 {
	if s.Duration != nil {
		return int64(*s.Duration)
	}
	return int64(*s.Count)
}

// DefaultThresholds returns what is used where nothing else is asked for.
func DefaultThresholds() Thresholds { return Thresholds{}.withDefaults() }

func (t Thresholds) withDefaults() Thresholds {
	for _, s := range t.Settings() {
		if s.Value() <= 0 {
			s.Set(s.Default)
		}
	}
	return t
}
