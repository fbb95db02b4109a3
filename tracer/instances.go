package tracer

import (
	"github.com/cilium/ebpf"

	"github.com/epwatch/epwatch/internal/event"
)

// instances makes room in the kernel's map of epoll instances. An instance leaves it when it is closed, and most programs
// never close theirs: they end. One that outlives its first owner, as a daemon's does whose parent made it, has to stay, and
// nobody says which those are; so the dead are swept out only when they are many.
type instances struct {
	owners  *ebpf.Map // struct eventpoll * to struct instance
	targets *ebpf.Map
	ended   int // processes since the last sweep
}

// observe takes the event that came last.
func (i *instances) observe(events []event.Event) {
	if len(events) == 0 {
		return
	}
	if ev := &events[len(events)-1]; ev.Kind != event.KindExit || !ev.Has(event.Last) {
		return
	}
	if i.ended++; i.ended >= int(i.owners.MaxEntries()/8) {
		i.ended = 0
		i.sweep()
	}
}

// sweep removes the instances of processes that are targets no more, if the map is half full. An instance that is still in
// use comes back with the next call on it. What fails stays: the programs count what the map then has no room for.
func (i *instances) sweep() {
	var ep uint64
	var owner epwatchInstance
	var dead []uint64
	total := 0
	for entries := i.owners.Iterate(); entries.Next(&ep, &owner); total++ {
		var told uint32
		if i.targets.Lookup(owner.Pid, &told) != nil {
			dead = append(dead, ep)
		}
	}
	if total < int(i.owners.MaxEntries()/2) {
		return
	}
	for _, ep := range dead {
		_ = i.owners.Delete(ep)
	}
}
