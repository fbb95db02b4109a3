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
	for name, timeOf := range map[string]func(*rand.Rand, int) int{
		"no order":                 func(rng *rand.Rand, _ int) int { return rng.IntN(50) },
		"nearly sorted":            func(rng *rand.Rand, i int) int { return i + rng.IntN(20) },
		"backwards":                func(_ *rand.Rand, i int) int { return -i },
		"two runs, the later last": func(_ *rand.Rand, i int) int { return i % 1000 * 2 },
		"two runs, the later first": func(_ *rand.Rand, i int) int {
			return (i+1000)%2000/1000*10 + i%1000*20
		},
		"one far astray now and then": func(_ *rand.Rand, i int) int {
			if i%100 == 99 {
				return i / 2
			}
			return i
		},
	} {
		t.Run(name, func(t *testing.T) { sorts(t, timeOf) })
	}
}

func sorts(t *testing.T, timeOf func(*rand.Rand, int) int) {
	t.Helper()
	var o order
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		o.push(&event.Event{Kind: event.KindRead, Time: event.Time(timeOf(rng, i)), Ret: int64(i)})
	}
	if o.len() != 2000 {
		t.Errorf("%d events wait, want 2000", o.len())
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
		o.push(&event.Event{Kind: k, Time: 7})
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
		o.push(&event.Event{Kind: event.KindRead, Time: at})
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
			o.push(&event.Event{Kind: event.KindRead, Time: event.Time(round*10 + i)})
		}
		drain(&o, maxTime)
	}
	if len(o.slots) > 10 {
		t.Errorf("%d slots for at most 10 events at a time", len(o.slots))
	}
}

// TestOrderOfAStream pushes and pops in turn, as a run does, with some events far behind the others.
func TestOrderOfAStream(t *testing.T) {
	var o order
	rng := rand.New(rand.NewPCG(3, 4))
	var last event.Time
	var given int
	pop := func(horizon event.Time) {
		for _, ev := range drain(&o, horizon) {
			if ev.Time < last || ev.Time >= horizon {
				t.Fatalf("an event of %d came after %d, before the horizon %d", ev.Time, last, horizon)
			}
			last = ev.Time
			given++
		}
	}
	const rounds, each, window = 300, 100, 2000
	for round := range rounds {
		for i := range each {
			at := round*each + i + window
			switch rng.IntN(50) {
			case 0:
				at -= rng.IntN(window)
			default:
				at -= rng.IntN(5)
			}
			o.push(&event.Event{Kind: event.KindRead, Time: event.Time(at)})
		}
		pop(event.Time(round * each))
	}
	pop(maxTime)
	if given != rounds*each {
		t.Errorf("%d events came out, want %d", given, rounds*each)
	}
	if room := cap(o.queue); room > 8*window {
		t.Errorf("room for %d keys, where some %d events wait", room, window)
	}
}
