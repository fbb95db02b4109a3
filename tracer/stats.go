package tracer

import "time"

// The places of bpf/emit.h, enum drop_place.
const (
	dropUnreported = iota
	dropRecords
	dropCalls
	dropSocks
	dropInstances
	dropDeliveries
	dropReads
	dropTurns
	dropStacks
	dropPlaces
)

func dropNames() [dropPlaces]string {
	return [dropPlaces]string{
		dropRecords:    "records that found no room in the buffer",
		dropCalls:      "calls that found no place in the table",
		dropSocks:      "sockets that found no place in the table",
		dropInstances:  "epoll instances that found no place in the table",
		dropDeliveries: "deliveries past the longest list that is read",
		dropReads:      "arguments that could not be read from user memory",
		dropTurns:      "threads whose turns found no place in the table",
		dropStacks:     "threads whose stacks found no place in the table",
	}
}

// Stats says what an observation lost and what it cost.
type Stats struct {
	// Records counts records that found no room in the ring buffer; each is also carried by an event's Lost.
	Records uint64
	// Lost counts everything that was to be recorded and was not, by place, in words.
	Lost map[string]uint64
	// Missed counts program runs that the kernel skipped, and MissedKnown is false where it does not count them
	// (before 6.7); then the losses are a lower bound.
	Missed      uint64
	MissedKnown bool
	// Runs and RunTime are the programs' own, where kernel.bpf_stats_enabled is set; else 0.
	Runs    uint64
	RunTime time.Duration
}

// Stats reads the counters.
func (t *Tracer) Stats() Stats {
	s := Stats{Lost: make(map[string]uint64)}
	for place, name := range dropNames() {
		if name == "" {
			continue
		}
		var perCPU []uint64
		if t.coll.Maps[epwatchMapDrops].Lookup(uint32(place), &perCPU) != nil {
			continue
		}
		for _, n := range perCPU {
			if n > 0 {
				s.Lost[name] += n
			}
		}
	}
	s.Records = s.Lost[dropNames()[dropRecords]]
	s.MissedKnown = true
	for name, p := range t.coll.Programs {
		stats, err := p.Stats()
		if err != nil {
			s.MissedKnown = false
			continue
		}
		// Where a second program fills in for a first, only what the second missed is missing.
		if !t.witnessed[name] {
			s.Missed += stats.RecursionMisses
		}
		s.Runs += stats.RunCount
		s.RunTime += stats.Runtime
	}
	return s
}
