package timeline

import "github.com/epwatch/epwatch/internal/event"

// order holds the events of the window and gives them out sorted by time. Events with the same time come out by
// cause: what the kernel did, then the return of the call that made it do so, then what the call handed out, then
// the next wait; and within one cause as they arrived.
//
// The events lie in slots that are reused; only small keys move. Events arrive nearly sorted, so most keys find their place
// near the end of a queue. What would have to go far goes to a heap instead, lest many of those move the queue each time.
type order struct {
	queue   []orderKey // sorted, from head on
	head    int
	astray  orderHeap
	slots   []event.Event
	free    []uint32
	held    int64 // slot given out by the last pop, -1 for none
	arrived uint64
}

// near is how many places from the end of the queue a key may have to go.
const near = 256

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

// push adds a copy of an event in two steps: find a slot for it, put its key in its place.
func (o *order) push(ev *event.Event) {
	// 1. A free slot, or a new one.
	var slot uint32
	if n := len(o.free); n > 0 {
		slot = o.free[n-1]
		o.free = o.free[:n-1]
		o.slots[slot] = *ev
	} else {
		slot = uint32(len(o.slots))
		o.slots = append(o.slots, *ev)
		if slot == 0 {
			o.held = -1
		}
	}
	// 2. Its key, at the end and from there forward.
	o.arrived++
	key := orderKey{time: ev.Time, rank: cause(ev.Kind)<<56 | o.arrived, slot: slot}
	n := len(o.queue)
	if n-o.head > near && key.before(o.queue[n-near]) {
		o.astray.push(key)
		return
	}
	if n == cap(o.queue) && o.head > n/2 {
		n = copy(o.queue, o.queue[o.head:])
		o.queue, o.head = o.queue[:n], 0
	}
	o.queue = append(o.queue, key)
	for ; n > o.head && key.before(o.queue[n-1]); n-- {
		o.queue[n] = o.queue[n-1]
	}
	o.queue[n] = key
}

// pop gives out the earliest event before the horizon. The pointer holds until the next pop; events may be pushed
// meanwhile only between pops, never while the pointer is in use.
func (o *order) pop(horizon event.Time) (*event.Event, bool) {
	// 1. Take back the slot that was out.
	if len(o.slots) > 0 && o.held >= 0 {
		o.free = append(o.free, uint32(o.held))
		o.held = -1
	}
	// 2. The earlier of the two firsts.
	queued, astray := o.head < len(o.queue), len(o.astray) > 0
	if astray && (!queued || o.astray[0].before(o.queue[o.head])) {
		if o.astray[0].time >= horizon {
			return nil, false
		}
		o.held = int64(o.astray.pop().slot)
		return &o.slots[o.held], true
	}
	if !queued || o.queue[o.head].time >= horizon {
		return nil, false
	}
	o.held = int64(o.queue[o.head].slot)
	if o.head++; o.head == len(o.queue) {
		o.queue, o.head = o.queue[:0], 0
	}
	return &o.slots[o.held], true
}

// len returns how many events wait.
func (o *order) len() int { return len(o.queue) - o.head + len(o.astray) }

// orderHeap is a binary heap. The standard library's would make an interface value, on the heap of the other kind, of each key.
type orderHeap []orderKey

func (h *orderHeap) push(key orderKey) {
	*h = append(*h, key)
	keys := *h
	i := len(keys) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !key.before(keys[parent]) {
			break
		}
		keys[i] = keys[parent]
		i = parent
	}
	keys[i] = key
}

func (h *orderHeap) pop() orderKey {
	keys := *h
	top := keys[0]
	last := len(keys) - 1
	key := keys[last]
	*h = keys[:last]
	i := 0
	for child := 1; child < last; child = 2*i + 1 {
		if child+1 < last && keys[child+1].before(keys[child]) {
			child++
		}
		if !keys[child].before(key) {
			break
		}
		keys[i] = keys[child]
		i = child
	}
	if last > 0 {
		keys[i] = key
	}
	return top
}
