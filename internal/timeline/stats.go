package timeline

import "github.com/epwatch/epwatch/internal/event"

// Stats are the figures of a history so far.
type Stats struct {
	Events map[event.Kind]uint64 // by kind, those that occurred
	Total  uint64
	Lost   uint64 // records that the tracer could not send
	Gaps   uint64
	Late   uint64 // events that came later than the window

	// Reads are reading calls that returned bytes of a TCP socket, Receives what the kernel handed over to them,
	// Matched the receives whose call was found and agrees. EmptyReads returned nothing or an error.
	Reads, Receives, Matched, EmptyReads uint64
	// Unmatched counts by class; index it with a Class.
	Unmatched [numClasses]uint64

	// Files, Socks, Epolls, Interests and Threads count what was met in all.
	Files, Socks, Epolls, Interests, Threads uint64
	// Open counts what is alive and held in memory now.
	Open Open

	kinds [64]uint64
}

// Open counts the objects that a timeline holds now, the lately ended ones included.
type Open struct {
	Files, Socks, Epolls, Threads, Processes, Waiting int
}

// UnmatchedTotal returns the number of reads and receives that should have had a partner and have none.
func (s *Stats) UnmatchedTotal() uint64 {
	var n uint64
	for _, c := range Classes() {
		if c != ClassNotHooked {
			n += s.Unmatched[c]
		}
	}
	return n
}

// Stats returns the figures so far.
func (t *Timeline) Stats() Stats {
	s := t.stats
	s.Events = make(map[event.Kind]uint64)
	for k, n := range s.kinds {
		if n > 0 {
			s.Events[event.Kind(k)] = n
		}
	}
	s.Open = Open{
		Files: len(t.files), Socks: len(t.socks), Epolls: len(t.epolls), Threads: len(t.threads),
		Processes: len(t.procs), Waiting: t.order.len(),
	}
	return s
}

func (t *Timeline) count(ev *event.Event) {
	t.stats.Total++
	if int(ev.Kind) < len(t.stats.kinds) {
		t.stats.kinds[ev.Kind]++
	}
	t.sweep()
}
