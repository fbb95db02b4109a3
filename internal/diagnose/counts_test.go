package diagnose_test

import (
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
)

// A loop that spins fails a hundred thousand times a second; the finding is told anew each time the number has grown tenfold, and
// at the end.
func TestAcceptErrorsAreToldNowAndThen(t *testing.T) {
	var events []event.Event
	at := event.Time(1e9)
	for range 1500 {
		at = at.Add(10 * time.Microsecond)
		events = append(events, event.Event{Kind: event.KindAccept, Time: at, Start: at - 2000, PID: 100, TID: 100, FD: 3, EpFD: event.NoFD,
			FileAddr: 1, SockAddr: 1, Ret: -24})
	}
	r := (&run{h: &history{}}).play(events)
	if len(r.findings) != 1 || r.reports != 4 { // at 10, 100, 1000 and the end
		t.Errorf("%d findings were told %d times, want 1 and 4", len(r.findings), r.reports)
	}
	if f := r.findings[0]; f.Outcome != diagnose.OutcomeOngoing || len(f.Evidence) < 3 {
		t.Errorf("the finding is %+v", f)
	}
}
