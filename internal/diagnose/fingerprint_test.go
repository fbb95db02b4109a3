package diagnose_test

import (
	"net/netip"
	"regexp"
	"slices"
	"testing"

	"github.com/epwatch/epwatch/internal/event"
)

// prints are the fingerprints of a history's findings in the order of the finds.
func prints(t *testing.T, name, comm string, change func(*event.Event)) []string {
	t.Helper()
	h, _ := readHistory(t, "testdata/"+name+".txtar")
	h.opt.Comm = func(uint32) string { return comm }
	h.opt.Only = documented()
	for i := range h.events {
		change(&h.events[i])
	}
	var out []string
	for _, f := range (&run{h: h}).play(h.events).findings {
		out = append(out, f.Fingerprint)
	}
	return out
}

// documented are the checks that the histories used here are about.
func documented() []string {
	return []string{"et-unread", "oneshot-disarmed", "close-wait", "reset-on-close"}
}

func unchanged(*event.Event) {}

func TestFingerprintsOfHistories(t *testing.T) {
	for name, want := range map[string][]string{
		"et-partial-fentry": {"et-unread/srv/accepted:8080/ET", "et-unread/srv/accepted:8080/ET", "reset-on-close/srv/accepted:8080"},
		"oneshot-fentry": {
			"oneshot-disarmed/srv/accepted:8080/ONESHOT|ET", "close-wait/srv/accepted:8080/ONESHOT|ET", "reset-on-close/srv/accepted:8080",
		},
		"close-wait-unwatched": {"close-wait/srv/accepted:8080"},
	} {
		if got := prints(t, name, "srv", unchanged); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestFingerprintsAreStable: another machine's processes, threads, descriptors, addresses, passing ports and speed change
// nothing; another program and another service do.
func TestFingerprintsAreStable(t *testing.T) {
	other := func(a netip.AddrPort, port uint16) netip.AddrPort {
		if !a.IsValid() {
			return a
		}
		return netip.AddrPortFrom(netip.MustParseAddr("2001:db8::7"), port)
	}
	elsewhere := func(serve uint16) func(*event.Event) {
		return func(e *event.Event) {
			if e.PID != 0 {
				e.PID += 7000
			}
			if e.TID != 0 {
				e.TID += 7000
			}
			for _, fd := range []*int32{&e.FD, &e.EpFD} {
				if *fd != event.NoFD {
					*fd += 300
				}
			}
			if (e.Kind == event.KindAccept || e.Kind == event.KindDup || e.Kind == event.KindEpollCreate) && e.Ret >= 0 {
				e.Ret += 300
			}
			e.Local, e.Peer = other(e.Local, serve), other(e.Peer, 60000)
		}
	}
	for _, name := range []string{"et-partial-fentry", "oneshot-fentry", "close-wait-unwatched", "found-unread-lost"} {
		want := prints(t, name, "srv", unchanged)
		if len(want) == 0 {
			t.Fatalf("%s finds nothing", name)
		}
		if got := prints(t, name, "srv", elsewhere(8080)); !slices.Equal(got, want) {
			t.Errorf("%s: elsewhere %q, here %q", name, got, want)
		}
		if a, b := prints(t, name, "srv", elsewhere(45678)), prints(t, name, "srv", elsewhere(33333)); !slices.Equal(a, b) || a[0] == want[0] {
			t.Errorf("%s: on passing ports %q and %q", name, a, b)
		}
		if got := prints(t, name, "other", unchanged); got[0] == want[0] {
			t.Errorf("%s: another program has the fingerprint %q too", name, got[0])
		}
		if got := prints(t, name, "srv", elsewhere(9090)); got[0] == want[0] {
			t.Errorf("%s: another service has the fingerprint %q too", name, got[0])
		}
	}
}

// TestFingerprintsAreOneWord: whatever a program calls itself, a fingerprint stays one word with its parts in their places.
func TestFingerprintsAreOneWord(t *testing.T) {
	word := regexp.MustCompile(`^[a-z-]+/[-A-Za-z0-9_.+:%]+/[a-z]+(:[0-9]+)?/[A-Z|]+$`)
	for _, comm := range []string{"", "a/b c", "\x1b[2J", "naïve", "kworker/0:1"} {
		if got := prints(t, "et-ongoing", comm, unchanged); len(got) != 1 || !word.MatchString(got[0]) {
			t.Errorf("a program called %q gives %q", comm, got)
		}
	}
}

// TestEveryFindingHasAFingerprint holds for every check.
func TestEveryFindingHasAFingerprint(t *testing.T) {
	eachHistory(t, func(t *testing.T, path string) {
		h, _ := readHistory(t, path)
		for _, f := range (&run{h: h}).play(h.events).findings {
			if f.Group == nil || f.Fingerprint == "" || f.Group.Fingerprint != f.Fingerprint || f.Group.Check != f.Check {
				t.Errorf("%s: fingerprint %q, group %+v", f.Check, f.Fingerprint, f.Group)
			}
		}
		var want []string
		for _, f := range (&run{h: h}).play(h.events).findings {
			want = append(want, f.Fingerprint)
		}
		for seed := range uint64(3) {
			var got []string
			for _, f := range (&run{h: h}).play(shuffled(h.events, seed)).findings {
				got = append(got, f.Fingerprint)
			}
			if !slices.Equal(got, want) {
				t.Errorf("in another order: %q, want %q", got, want)
			}
		}
	})
}
