package tracer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/epwatch/epwatch/internal/event"
)

// TestTableNamesTheObjectsPrograms holds the hook table and the embedded object together: what the table names
// exists, and what exists is named.
func TestTableNamesTheObjectsPrograms(t *testing.T) {
	spec, err := loadEpwatch()
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{epwatchProgIterOwnFiles: true, epwatchProgIterTargetFiles: true}
	for _, h := range hookTable() {
		for _, w := range h.ways {
			for _, p := range append(append([]program{}, w.programs...), w.extra...) {
				named[p.name] = true
				program, ok := spec.Programs[p.name]
				if !ok {
					t.Errorf("%s by %s: the object has no program %s", h.event, w.family, p.name)
					continue
				}
				section := map[attachment]string{attachFentry: "fentry/", attachFexit: "fexit/", attachKprobe: "kprobe/", attachTracepoint: "tp_btf/", attachPerf: "tracepoint/"}[p.attach]
				want := section + p.target
				if p.attach == attachClock {
					want = "perf_event"
				}
				if program.SectionName != want {
					t.Errorf("%s is in section %s, the table says %s", p.name, program.SectionName, want)
				}
				traces := p.attach == attachTracepoint || p.attach == attachPerf || p.attach == attachClock
				if traces != (w.family == Tracepoint) {
					t.Errorf("%s by %s: %s belongs to another family", h.event, w.family, p.name)
				}
			}
		}
	}
	for name := range spec.Programs {
		if !named[name] {
			t.Errorf("no hook uses program %s", name)
		}
	}
}

// TestEnumsAgree compares the wire's numbers with the names that people see.
func TestEnumsAgree(t *testing.T) {
	kinds := make(map[string]uint64)
	for _, k := range event.Kinds() {
		kinds[k.String()] = uint64(k)
	}
	calls := make(map[string]uint64)
	for c := event.CallNone + 1; c.String() != "unknown"; c++ {
		calls[c.String()] = uint64(c)
	}
	reasons := map[string]uint64{
		"ABORT_ON_CLOSE": uint64(event.ReasonAbortOnClose), "ABORT_ON_LINGER": uint64(event.ReasonAbortOnLinger),
		"ABORT_ON_DATA": uint64(event.ReasonAbortOnData), "ABORT_ON_MEMORY": uint64(event.ReasonAbortOnMemory),
		"TCP_STATE": uint64(event.ReasonTCPState), "KEEPALIVE": uint64(event.ReasonKeepalive),
		"DISCONNECT_WITH_DATA": uint64(event.ReasonDisconnectWithData), "OTHER": uint64(event.ReasonOther),
	}
	flags := map[string]uint64{
		"HAS_UNREAD": uint64(event.HasUnread), "COALESCED": uint64(event.Coalesced), "DISARMED": uint64(event.Disarmed),
		"FILTERED": uint64(event.Filtered), "OVERFLOW": uint64(event.Overflow), "LISTENER": uint64(event.Listener),
		"FIN": uint64(event.FIN), "FIN_UNREAD": uint64(event.FINUnread), "PEEK": uint64(event.Peek), "LAST": uint64(event.Last),
		"NONBLOCK": uint64(event.Nonblock), "WAITER": uint64(event.Waiter), "IS_EPOLL": uint64(event.IsEpoll),
		"IS_SOCKET": uint64(event.IsSocket), "DEAD": uint64(event.Dead), "COMPAT": uint64(event.Compat),
	}
	dashed := func(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }
	same := func(name string) string { return name }

	for _, c := range []struct {
		enum, prefix string
		names        map[string]uint64
		spell        func(string) string
	}{
		{"event_kind", "KIND_", kinds, dashed},
		{"call_id", "CALL_", calls, strings.ToLower},
		{"reset_reason", "RESET_", reasons, same},
		{"event_flag", "FLAG_", flags, same},
	} {
		values := enumValues(t, c.enum)
		seen := 0
		for name, value := range values {
			short := c.spell(strings.TrimPrefix(name, c.prefix))
			if value == 0 {
				continue // none, unknown
			}
			if want, ok := c.names[short]; !ok || want != value {
				t.Errorf("enum %s: %s is %d, internal/event has %q = %d", c.enum, name, value, short, want)
			}
			seen++
		}
		if seen != len(c.names) {
			t.Errorf("enum %s has %d values, internal/event names %d", c.enum, seen, len(c.names))
		}
	}
}

// enumValues reads an enum from the object's BTF, which keeps those that the programs use.
func enumValues(t *testing.T, name string) map[string]uint64 {
	t.Helper()
	spec, err := loadEpwatch()
	if err != nil {
		t.Fatal(err)
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName(name, &enum); err != nil {
		t.Fatalf("enum %s: %v", name, err)
	}
	values := make(map[string]uint64)
	for _, v := range enum.Values {
		values[v.Name] = v.Value
	}
	return values
}

// TestDropPlacesAgree holds the counters' places and their names together.
func TestDropPlacesAgree(t *testing.T) {
	values := enumValues(t, "drop_place")
	want := map[string]uint64{
		"DROP_UNREPORTED": dropUnreported, "DROP_RECORDS": dropRecords, "DROP_CALLS": dropCalls, "DROP_SOCKS": dropSocks,
		"DROP_INSTANCES": dropInstances, "DROP_DELIVERIES": dropDeliveries, "DROP_READS": dropReads,
		"DROP_TURNS": dropTurns, "DROP_STACKS": dropStacks, "DROP_PLACES": dropPlaces,
	}
	if fmt.Sprint(values) != fmt.Sprint(want) {
		t.Errorf("enum drop_place is %v, stats.go has %v", values, want)
	}
	for place, name := range dropNames() {
		if name == "" && place != dropUnreported {
			t.Errorf("drop place %d has no name", place)
		}
	}
}
