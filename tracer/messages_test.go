package tracer

import (
	"fmt"
	"slices"
	"testing"

	"github.com/epwatch/epwatch/internal/event"
)

// TestMessages holds the queues of UDP and UNIX sockets, as they fill and empty, against a workload that fills and empties them.
func TestMessages(t *testing.T) {
	needPrivileges(t)
	for _, family := range usableFamilies(t) {
		t.Run(string(family), func(t *testing.T) {
			events, lines, _ := observe(t, "messages", Options{Backend: family})
			var fds [5]int32
			if len(lines) == 0 {
				t.Fatal("the workload said nothing")
			}
			if n, _ := fmt.Sscanf(lines[0], "messages %d %d %d %d %d", &fds[0], &fds[1], &fds[2], &fds[3], &fds[4]); n != 5 {
				t.Fatalf("the workload said %q", lines)
			}
			for i, kind := range []string{"UDP over IPv4", "UDP over IPv6", "UNIX datagrams", "a UNIX stream"} {
				queue, addressed := queueOf(events, fds[i])
				want := []string{"added 0", "wakeup 1", "wakeup 2", "wakeup 3", "peek 3", "read 2", "read 1", "read 0", "read none"}
				if !slices.Equal(queue, want) {
					t.Errorf("%s: %q, want %q", kind, queue, want)
				}
				if udp := i < 2; addressed != udp {
					t.Errorf("%s: its address was told: %v", kind, addressed)
				}
			}
			queue, _ := queueOf(events, fds[4])
			if want := []string{"added 0 listener", "wakeup 1 listener", "wakeup 2 listener"}; !slices.Equal(queue, want) {
				t.Errorf("a UNIX listener: %q, want %q", queue, want)
			}
			if t.Failed() {
				dump(t, events)
			}
		})
	}
}

// queueOf tells what each event said about the queue of one descriptor.
func queueOf(events []event.Event, fd int32) (queue []string, addressed bool) {
	for i := range events {
		e := &events[i]
		if e.FD != fd {
			continue
		}
		what := ""
		switch {
		case e.Kind == event.KindEpollCtl:
			what = "added"
		case e.Kind == event.KindWakeup && e.Key&event.In != 0: // not that of output space
			what = "wakeup"
		case e.Kind == event.KindRead && e.Has(event.Peek):
			what = "peek"
		case e.Kind == event.KindRead:
			what = "read"
		case e.Kind == event.KindSnapshot && e.Local.IsValid():
			addressed = true
		}
		if what == "" {
			continue
		}
		left := " none"
		if e.Has(event.HasUnread) {
			left = fmt.Sprint(" ", e.Unread)
		}
		if e.Has(event.Listener) {
			left += " listener"
		}
		queue = append(queue, what+left)
	}
	return queue, addressed
}
