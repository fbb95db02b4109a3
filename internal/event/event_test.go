package event_test

import (
	"math/bits"
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

func TestTimeArithmetic(t *testing.T) {
	if got := event.Time(1500).Sub(500); got != time.Microsecond {
		t.Errorf("1500 - 500 is %v, want 1µs", got)
	}
	if got := event.Time(1500).Add(-time.Microsecond); got != 500 {
		t.Errorf("1500 - 1µs is %d, want 500", got)
	}
}

func TestBytesAreNeverNegative(t *testing.T) {
	for ret, want := range map[int64]int64{16: 16, 0: 0, -11: 0} {
		e := event.Event{Ret: ret}
		if got := e.Bytes(); got != want {
			t.Errorf("a result of %d moved %d bytes, want %d", ret, got, want)
		}
	}
}

func TestHasWantsAllFlags(t *testing.T) {
	e := event.Event{Flags: event.FIN | event.Peek}
	if !e.Has(event.FIN) || !e.Has(event.FIN|event.Peek) || e.Has(event.FIN|event.Last) {
		t.Errorf("flags %b: FIN %v, FIN and Peek %v, FIN and Last %v", e.Flags, e.Has(event.FIN), e.Has(event.FIN|event.Peek),
			e.Has(event.FIN|event.Last))
	}
}

// The low 16 flags are the wire's; the timeline's own must stay above them.
func TestFlagBits(t *testing.T) {
	if event.HasUnread != 1 || event.Compat != 1<<15 || event.Ambiguous != 1<<16 || event.AfterGap != 1<<17 {
		t.Errorf("flags have moved: %#x %#x %#x %#x", event.HasUnread, event.Compat, event.Ambiguous, event.AfterGap)
	}
	if bits.OnesCount32(uint32(event.Compat|event.HasUnread)) != 2 {
		t.Error("flags share a bit")
	}
}

func TestWordsForCallsStatesAndReasons(t *testing.T) {
	if event.CallEpollPwait2.String() != "epoll_pwait2" || event.CallConnect.String() != "connect" ||
		event.CallNone.String() != "" || event.Call(200).String() != "unknown" {
		t.Error("calls have the wrong names")
	}
	if event.CloseWait.String() != "CLOSE_WAIT" || event.NewSynRecv.String() != "NEW_SYN_RECV" || event.State(0).String() != "" ||
		event.State(99).String() != "unknown" {
		t.Error("states have the wrong names")
	}
	if event.ReasonAbortOnClose.String() != "closed with unread data" || event.ReasonOther.String() != "other" ||
		event.ReasonUnknown.String() != "" || event.Reason(99).String() != "unknown" {
		t.Error("reasons have the wrong names")
	}
}
