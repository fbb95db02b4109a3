package tracer

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/epwatch/epwatch/internal/event"
)

// Processes that never close their epoll instances must not use the map up, and those alive keep theirs.
func TestInstancesOfTheDeadAreSweptOut(t *testing.T) {
	needPrivileges(t)
	create := func(keySize, valueSize uint32) *ebpf.Map {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: keySize, ValueSize: valueSize, MaxEntries: 64})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	i := instances{owners: create(8, 8), targets: create(4, 4)}
	put := func(m *ebpf.Map, key, value any) {
		t.Helper()
		if err := m.Put(key, value); err != nil {
			t.Fatal(err)
		}
	}
	const alive, dead = uint32(7), uint32(8)
	put(i.targets, alive, uint32(0))
	held := func() (n int) {
		var ep uint64
		var owner epwatchInstance
		for entries := i.owners.Iterate(); entries.Next(&ep, &owner); {
			n++
		}
		return n
	}
	exit := event.Event{Kind: event.KindExit, Flags: event.Last}
	exits := func(n int) {
		for range n {
			i.observe([]event.Event{{Kind: event.KindRead}, exit})
		}
	}
	put(i.owners, uint64(1), epwatchInstance{Pid: alive, Epfd: 4})
	for n := range uint64(30) {
		put(i.owners, n+2, epwatchInstance{Pid: dead, Epfd: 4})
	}
	exits(8)
	if n := held(); n != 31 {
		t.Errorf("%d instances are left while the map is not half full, want all 31", n)
	}
	put(i.owners, uint64(99), epwatchInstance{Pid: dead, Epfd: 4})
	exits(7)
	if n := held(); n != 32 {
		t.Errorf("%d instances are left before the sweep is due, want all 32", n)
	}
	i.observe([]event.Event{exit, {Kind: event.KindRead}})
	i.observe([]event.Event{{Kind: event.KindExit}})
	if n := held(); n != 32 {
		t.Errorf("a thread's exit swept, and left %d instances", n)
	}
	exits(1)
	if n := held(); n != 1 {
		t.Errorf("%d instances are left after the sweep, want the one of a process that is alive", n)
	}
}
