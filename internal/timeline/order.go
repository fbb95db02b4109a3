package timeline

import "github.com/epwatch/epwatch/internal/event"

// order holds the events of the window and gives them out sorted by time. Events with the same time come out by
// cause: what the kernel did, then the return of the call that made it do so, then what the call handed out, then
// the next wait; and within one cause as they arrived.
//
// The events lie in slots that are reused; the heap moves small keys only.
type order struct {
	heap    []orderKey
	slots   []event.Event
	free    []uint32
	held    int64 // slot given out by the last pop, -1 for none
	arrived uint64
}

type orderKey struct {
	time event.Time
	rank uint64 // cause in the top byte, arrival below
	slot uint32
}

func (k orderKey) before(o orderKey) bool {
	return k.time < o.time || k.time == o.time && k.rank < o.rank
}

// cause is the place of a kind among events of the same nanosecond.
func cause(k event.Kind) uint64 {
	switch k {
	case event.KindLost:
		return 0
	case event.KindSnapshot:
		return 1
	case event.KindDeliver:
		return 4
	case event.KindWaitEnter:
		return 5
	default:
		if k.Kernel() {
			return 2
		}
		return 3
	}
}

// push adds an event in three steps: find a slot, copy the event, sift its key up.
func (o *order) push(ev event.Event) {
	// 1. A free slot, or a new one.
	var slot uint32
	if n := len(o.free); n > 0 {
		slot = o.free[n-1]
		o.free = o.free[:n-1]
		o.slots[slot] = ev
	} else {
		slot = uint32(len(o.slots))
		o.slots = append(o.slots, ev)
		if slot == 0 {
			o.held = -1
		}
	}
	// 2. Its key.
	o.arrived++
	key := orderKey{time: ev.Time, rank: cause(ev.Kind)<<56 | o.arrived, slot: slot}
	// 3. Up to its place. Events arrive nearly in order, so this mostly ends at once.
	o.heap = append(o.heap, key)
	i := len(o.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !key.before(o.heap[parent]) {
			break
		}
		o.heap[i] = o.heap[parent]
		i = parent
	}
	o.heap[i] = key
}

// pop gives out the earliest event before the horizon. The pointer holds until the next pop; events may be pushed
// meanwhile only between pops, never while the pointer is in use.
func (o *order) pop(horizon event.Time) (*event.Event, bool) {
	// 1. Take back the slot that was out.
	if len(o.slots) > 0 && o.held >= 0 {
		o.free = append(o.free, uint32(o.held))
		o.held = -1
	}
	// 2. Nothing that is old enough: stop.
	if len(o.heap) == 0 || o.heap[0].time >= horizon {
		return nil, false
	}
	// 3. Remove the root and sift the last key down from there.
	top := o.heap[0]
	last := len(o.heap) - 1
	key := o.heap[last]
	o.heap = o.heap[:last]
	if last > 0 {
		i := 0
		for {
			child := 2*i + 1
			if child >= last {
				break
			}
			if child+1 < last && o.heap[child+1].before(o.heap[child]) {
				child++
			}
			if !o.heap[child].before(key) {
				break
			}
			o.heap[i] = o.heap[child]
			i = child
		}
		o.heap[i] = key
	}
	// 4. Hand the slot out.
	o.held = int64(top.slot)
	return &o.slots[top.slot], true
}

// len returns how many events wait.
func (o *order) len() int { return len(o.heap) }
