package event_test

import (
	"slices"
	"testing"

	"github.com/epwatch/epwatch/internal/event"
)

func TestKindNames(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range event.Kinds() {
		name := k.String()
		if name == "" || name == "unknown" || name == "none" || seen[name] {
			t.Errorf("kind %d is called %q", k, name)
		}
		seen[name] = true
		if got, ok := event.KindByName(name); !ok || got != k {
			t.Errorf("%q is kind %d (%v), want %d", name, got, ok, k)
		}
	}
	for _, bad := range []string{"", "none", "unknown", "Wakeup"} {
		if k, ok := event.KindByName(bad); ok {
			t.Errorf("%q is taken for %v", bad, k)
		}
	}
	if got := event.Kind(1000).String(); got != "unknown" {
		t.Errorf("a kind that is none is called %q", got)
	}
	if event.KindNone.String() != "none" {
		t.Errorf("no kind is called %q", event.KindNone)
	}
}

// The numbers are on the wire and in recordings.
func TestKindNumbersNeverChange(t *testing.T) {
	want := []string{
		"wakeup", "recv", "send", "reset", "state", "epoll-create", "epoll-ctl", "wait-enter", "wait-return", "deliver", "read",
		"write", "accept", "close", "dup", "fork", "exec", "exit", "signal", "snapshot", "lost", "woken", "queued", "release",
		"packet", "shutdown", "unseen", "sched",
	}
	for i, name := range want {
		if got := event.Kind(i + 1).String(); got != name {
			t.Errorf("kind %d is %q, was %q", i+1, got, name)
		}
	}
	if len(event.Kinds()) < len(want) {
		t.Error("kinds have gone")
	}
}

func TestKernelKinds(t *testing.T) {
	want := []event.Kind{
		event.KindWakeup, event.KindRecv, event.KindSend, event.KindReset, event.KindState, event.KindWoken, event.KindQueued,
		event.KindRelease, event.KindPacket, event.KindSched,
	}
	for _, k := range event.Kinds() {
		if k.Kernel() != slices.Contains(want, k) {
			t.Errorf("%v: kernel side is %v", k, k.Kernel())
		}
	}
}
