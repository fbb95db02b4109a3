package timelinetest_test

import (
	"strings"
	"testing"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline/timelinetest"
)

// right is a history with nothing wrong in it.
func right() []event.Event {
	return []event.Event{
		{Seq: 1, Time: 10, Kind: event.KindWaitEnter, TID: 1},
		{Seq: 2, Time: 20, Start: 10, Kind: event.KindWaitReturn, TID: 1, Ret: 2},
		{Seq: 3, Time: 20, Kind: event.KindDeliver, TID: 1, File: 5},
		{Seq: 4, Time: 20, Kind: event.KindDeliver, TID: 1, File: 6},
		{Seq: 5, Time: 30, Kind: event.KindRecv, TID: 1, File: 5, Ret: 16},
		{Seq: 6, Time: 31, Start: 29, Kind: event.KindRead, TID: 1, File: 5, Ret: 16},
		{Seq: 7, Time: 40, Kind: event.KindRelease, TID: 1, File: 5},
		{Seq: 8, Time: 41, Start: 39, Kind: event.KindClose, TID: 1, File: 5},
		{Seq: 9, Time: 50, Kind: event.KindWaitEnter, TID: 1},
	}
}

func check(events []event.Event, matches ...[3]int64) error {
	var v timelinetest.Validator
	for i := range events {
		v.Observe(&events[i])
	}
	for _, m := range matches {
		v.Matched(uint64(m[0]), uint64(m[1]), m[2])
	}
	v.Finish()
	return v.Err()
}

func TestRightHistory(t *testing.T) {
	if err := check(right(), [3]int64{6, 5, 16}); err != nil {
		t.Error(err)
	}
}

func TestWrongHistories(t *testing.T) {
	tests := []struct {
		name    string
		change  func([]event.Event)
		matches [][3]int64
		want    string
	}{
		{"a number is left out", func(e []event.Event) { e[4].Seq = 50 }, nil, "follows event 4"},
		{"time runs back", func(e []event.Event) { e[4].Time = 5 }, nil, "earlier"},
		{"it ends before it begins", func(e []event.Event) { e[5].Start = 99 }, nil, "after its end"},
		{"no kind", func(e []event.Event) { e[4].Kind = 0 }, nil, "no kind"},
		{"one delivery too many", func(e []event.Event) { e[1].Ret = 1 }, nil, "delivery 2 of 1"},
		{"one delivery too few", func(e []event.Event) { e[1].Ret = 3 }, nil, "followed by 2"},
		{"delivered to another thread", func(e []event.Event) { e[3].TID = 2 }, nil, "has not returned"},
		{"delivered while waiting", func(e []event.Event) { e[1] = event.Event{Seq: 2, Time: 20, Kind: event.KindSignal} }, nil, "while it waits"},
		{"read after the end", func(e []event.Event) { e[7].Kind = event.KindRead }, nil, "which ended"},
		{"matched twice", func([]event.Event) {}, [][3]int64{{6, 5, 16}, {6, 5, 16}}, "twice"},
		{"matched with another size", func([]event.Event) {}, [][3]int64{{6, 5, 15}}, "matched with 15"},
		{"matched with what never was", func([]event.Event) {}, [][3]int64{{99, 5, 16}}, "not seen"},
		{"not matched at all", func([]event.Event) {}, [][3]int64{}, "neither matched nor given up"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			events := right()
			tc.change(events)
			if tc.matches == nil {
				tc.matches = [][3]int64{{6, 5, 16}}
			}
			if err := check(events, tc.matches...); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want one that says %q", err, tc.want)
			}
		})
	}
}
