package timeline

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/epwatch/epwatch/internal/event"
)

func drain(o *order, horizon event.Time) []event.Event {
	var out []event.Event
	for {
		ev, ok := o.pop(horizon)
		if !ok {
			return out
		}
		out = append(out, *ev)
	}
}

func TestOrderSortsByTimeThenArrival(t *testing.T) {
	var o order
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		o.push(event.Event{Kind: event.KindRead, Time: event.Time(rng.IntN(50)), Ret: int64(i)})
	}
	got := drain(&o, maxTime)
	if len(got) != 2000 {
		t.Fatalf("%d events came out, want 2000", len(got))
	}
	if !slices.IsSortedFunc(got, func(a, b event.Event) int {
		if a.Time != b.Time {
			return int(a.Time - b.Time)
		}
		return int(a.Ret - b.Ret)
	}) {
		t.Error("events of one time are not in order of arrival")
	}
}

func TestOrderPutsCausesFirst(t *testing.T) {
	var o order
	kinds := []event.Kind{
		event.KindLost, event.KindSnapshot, event.KindRecv, event.KindRead, event.KindDeliver, event.KindWaitEnter,
	}
	for _, k := range slices.Backward(kinds) {
		o.push(event.Event{Kind: k, Time: 7})
	}
	for i, ev := range drain(&o, maxTime) {
		if ev.Kind != kinds[i] {
			t.Errorf("place %d has %v, want %v", i, ev.Kind, kinds[i])
		}
	}
}

func TestOrderKeepsWhatIsYoungerThanTheHorizon(t *testing.T) {
	var o order
	for _, at := range []event.Time{30, 10, 20} {
		o.push(event.Event{Kind: event.KindRead, Time: at})
	}
	if got := drain(&o, 20); len(got) != 1 || got[0].Time != 10 {
		t.Errorf("before 20 came %v, want only the event at 10", got)
	}
	if o.len() != 2 {
		t.Errorf("%d events wait, want 2", o.len())
	}
}

func TestOrderReusesItsSlots(t *testing.T) {
	var o order
	for round := range 1000 {
		for i := range 10 {
			o.push(event.Event{Kind: event.KindRead, Time: event.Time(round*10 + i)})
		}
		drain(&o, maxTime)
	}
	if len(o.slots) > 10 {
		t.Errorf("%d slots for at most 10 events at a time", len(o.slots))
	}
}
