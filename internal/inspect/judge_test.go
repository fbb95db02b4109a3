package inspect

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/sockdiag"
)

const (
	edge  = event.In | event.RdHup | event.Err | event.Hup | event.ET
	spent = event.ET | event.OneShot
)

func item(mask event.Mask, s Socket) Item {
	s.HasSent = s.State != event.Listen
	return Item{FD: 7, Mask: mask, Kind: kindTCP, Link: LinkSame, Armed: mask&^event.Private != 0, State: s.State.String(), Sock: &s}
}

func established(unread uint32) Socket { return Socket{State: event.Established, Unread: unread} }

func unproven(it Item) Item {
	it.unproven = true
	return it
}

func TestJudge(t *testing.T) {
	closing := Socket{State: event.CloseWait, Unread: 7, FIN: true}
	tests := []struct {
		name     string
		item     Item
		standing []string // codes, with the root behind a slash
		moving   string   // part of the only note when it did not stand still; empty for none
		note     string   // part of the only note when it did
	}{
		{"input left on edge-triggered", item(edge, established(4)), []string{etUnread}, "4 bytes unread now", ""},
		{"nothing left", item(edge, established(0)), nil, "", ""},
		{"edge-triggered output only", item(event.Out|event.ET, established(4)), nil, "input is not asked for", "input is not asked for"},
		{"level-triggered", item(event.In|event.Err|event.Hup, established(1)), nil, "", "1 byte unread, stands still"},
		{"armed oneshot", item(edge|event.OneShot, established(4)), []string{etUnread}, "4 bytes unread now", ""},
		{"spent oneshot, idle", item(spent, established(0)), nil, "", ""},
		{"spent oneshot, input", item(spent, established(3)), []string{oneshotDisarmed}, "3 bytes came in", ""},
		{"spent level-triggered oneshot, input", item(event.OneShot, established(3)), []string{oneshotDisarmed}, "3 bytes came in", ""},
		{"spent oneshot, FIN read", item(spent, Socket{State: event.CloseWait}), []string{oneshotDisarmed, closeWait + "/" + oneshotDisarmed}, "", ""},
		{"spent oneshot, hang-up", item(spent, closing), []string{oneshotDisarmed, closeWait + "/" + oneshotDisarmed}, "", ""},
		{"close-wait over input", item(edge, closing), []string{etUnread, closeWait + "/" + etUnread}, "", ""},
		{"close-wait after EOF", item(edge, Socket{State: event.CloseWait}), []string{closeWait}, "the peer has closed", ""},
		{"close-wait, level-triggered", item(event.In, Socket{State: event.CloseWait}), []string{closeWait}, "the peer has closed", ""},
		{"always writable", item(event.In|event.Out, established(0)), nil, "", "ready all the time"},
		{"output waits", item(event.In|event.Out, Socket{State: event.Established, SendQueue: 1}), nil, "", ""},
		{"connecting", item(event.Out, Socket{State: event.SynSent}), nil, "", ""},
		{"edge-triggered listener", item(edge, Socket{State: event.Listen, Unread: 2, Limit: 8}), []string{acceptBacklog}, "2 connections wait", ""},
		{"empty listener", item(edge, Socket{State: event.Listen, Limit: 8}), nil, "", ""},
		{"level-triggered listener", item(event.In, Socket{State: event.Listen, Unread: 1}), nil, "1 connection waits", "1 connection waits"},
		{"closed descriptor", Item{FD: 7, Mask: event.In, Armed: true, Link: LinkClosed}, []string{ghostEvent}, "the descriptor is closed", ""},
		{"reused descriptor", Item{FD: 7, Mask: event.In, Armed: true, Link: LinkReused}, []string{ghostEvent}, "another file", ""},
		{"sharer's descriptor", Item{FD: 7, Mask: event.In, Armed: true, Link: LinkElsewhere, holder: 42}, nil, "process 42", "process 42"},
		{"reset under a spent oneshot", Item{Mask: spent, Kind: kindTCP, unlisted: true}, []string{oneshotDisarmed}, "in no TCP table", ""},
		{"reset under an armed item", Item{Mask: edge, Armed: true, Kind: kindTCP, unlisted: true}, nil, "in no TCP table", "in no TCP table"},
		{"datagrams", item(edge, Socket{State: event.Closed, Unread: 768, Datagrams: true}), []string{etUnread}, "datagrams unread now", ""},
		{"a peer that is gone", item(edge, Socket{State: event.Established, ReadShut: true}), nil, "the peer has closed", "the peer has closed"},
		{"not proven", unproven(item(edge, established(4))), nil, "4 bytes unread now", "may be new each time"},
		{"not proven, spent oneshot", unproven(item(spent, established(4))), nil, "4 bytes came in", "may be new each time"},
		{"not proven, level-triggered", unproven(item(event.In, established(4))), nil, "", "4 bytes unread, stands still"},
		{"not proven, listener", unproven(item(edge, Socket{State: event.Listen, Unread: 2})), nil, "2 connections wait", "may be new each time"},
		{"eventfd never read", Item{Mask: edge, Armed: true, Kind: "eventfd", Link: LinkSame}, nil, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			it := tt.item
			it.Standing = true
			judge(&it, 300*time.Millisecond, false)
			var codes []string
			for _, s := range it.Suspicions {
				code := s.Check
				if s.Root != "" {
					code += "/" + s.Root
				}
				codes = append(codes, code)
				if s.Fix == "" || s.Message == "" {
					t.Errorf("%s says nothing: %+v", s.Check, s)
				}
			}
			if diff := cmp.Diff(tt.standing, codes); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			wantNote(t, it.Notes, tt.note)

			it = tt.item
			judge(&it, 300*time.Millisecond, false)
			if len(it.Suspicions) > 0 {
				t.Errorf("suspected though it moved: %+v", it.Suspicions)
			}
			if tt.moving != "" {
				wantNote(t, it.Notes[:min(1, len(it.Notes))], tt.moving)
			}
		})
	}
}

func wantNote(t *testing.T, notes []string, want string) {
	t.Helper()
	if want == "" && len(notes) > 0 || want != "" && (len(notes) != 1 || !strings.Contains(notes[0], want)) {
		t.Errorf("notes %q, want %q", notes, want)
	}
}

func TestConfirmed(t *testing.T) {
	was := sockdiag.Socket{Cookie: 9, State: event.Established, RecvQueue: 4}
	with := func(queue uint32, state event.State, last time.Duration, timed bool) map[uint64]sockdiag.Detail {
		s := was
		s.RecvQueue, s.State = queue, state
		return map[uint64]sockdiag.Detail{9: {Socket: s, LastReceived: last, Timed: timed}}
	}
	const since = 300 * time.Millisecond
	tests := map[string]struct {
		now  map[uint64]sockdiag.Detail
		want bool
	}{
		"as it was":                     {with(4, event.Established, time.Second, true), true},
		"within a tick":                 {with(4, event.Established, since-5*time.Millisecond, true), true},
		"as many bytes, but other ones": {with(4, event.Established, 50*time.Millisecond, true), false},
		"read meanwhile":                {with(0, event.Established, time.Second, true), false},
		"another state":                 {with(4, event.CloseWait, time.Second, true), false},
		"gone":                          {nil, false},
		"a kernel that does not tell":   {with(4, event.Established, 0, false), true},
	}
	for name, tt := range tests {
		if got := confirmed(was, tt.now, since); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Only a thread that waits on this very instance, and did not run between the looks, proves anything.
func TestSleptThrough(t *testing.T) {
	in := &Instance{FD: 3, Also: []int32{9}}
	for name, tt := range map[string]struct {
		before, after []sleeper
		want          bool
	}{
		"asleep":                {[]sleeper{{3, 100, 7}}, []sleeper{{3, 100, 7}}, true},
		"by the other number":   {[]sleeper{{9, 100, 7}}, []sleeper{{9, 100, 7}}, true},
		"one of two":            {[]sleeper{{3, 100, 7}, {3, 101, 8}}, []sleeper{{3, 101, 8}, {3, 100, 9}}, true},
		"ran meanwhile":         {[]sleeper{{3, 100, 7}}, []sleeper{{3, 100, 8}}, false},
		"runs now":              {[]sleeper{{3, 100, 7}}, nil, false},
		"ran before":            {nil, []sleeper{{3, 100, 7}}, false},
		"waits on another":      {[]sleeper{{4, 100, 7}}, []sleeper{{4, 100, 7}}, false},
		"another thread by now": {[]sleeper{{3, 100, 7}}, []sleeper{{3, 101, 7}}, false},
	} {
		if got := sleptThrough(in, tt.before, tt.after); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// One look that says otherwise is enough, and no later one takes that back.
func TestLookedAt(t *testing.T) {
	moment := func(unread, memory uint32) *sample {
		return &sample{
			queues: map[uint64]unixQueue{9: {UnixQueue: sockdiag.UnixQueue{Received: unread}}},
			udp:    map[uint64]sockdiag.Socket{9: {RecvQueue: memory}},
		}
	}
	asleep, ran := []sleeper{{3, 100, 7}}, []sleeper{{3, 100, 8}}
	for name, tt := range map[string]struct {
		now                *sample
		after              []sleeper
		standing, unproven bool
	}{
		"as it was":         {moment(4, 768), asleep, true, false},
		"more bytes":        {moment(5, 768), asleep, false, false},
		"no datagram":       {moment(4, 0), asleep, false, false},
		"not to be read":    {&sample{}, asleep, false, false},
		"nobody slept over": {moment(4, 768), ran, true, true},
	} {
		s := suspect{&Item{Inode: 9, Standing: true}, &Instance{FD: 3}}
		s.lookedAt(moment(4, 768), tt.now, asleep, tt.after)
		s.lookedAt(moment(4, 768), moment(4, 768), asleep, asleep)
		if s.Standing != tt.standing || s.unproven != tt.unproven {
			t.Errorf("%s: standing %v, unproven %v", name, s.Standing, s.unproven)
		}
	}
}

// A loop that has not gone back to wait has not left anything behind; a disarmed item waits for its re-arming all the same.
func TestJudgeBusyLoop(t *testing.T) {
	for name, tt := range map[string]struct {
		item Item
		want int
	}{
		"input":    {item(edge, established(4)), 0},
		"listener": {item(edge, Socket{State: event.Listen, Unread: 2, Limit: 8}), 0},
		"disarmed": {item(spent, established(4)), 1},
	} {
		tt.item.Standing = true
		judge(&tt.item, time.Second, true)
		if len(tt.item.Suspicions) != tt.want {
			t.Errorf("%s: %+v", name, tt.item.Suspicions)
		}
		if tt.want == 0 {
			wantNote(t, tt.item.Notes, "busy or blocked elsewhere")
		}
	}
}
