package server

import (
	"maps"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

func TestClaimsHoldForEveryView(t *testing.T) {
	for _, v := range Variants() {
		for _, w := range views() {
			t.Run(v.Name+"/"+w.name, func(t *testing.T) {
				r := goodRun(v.Name, w)
				for _, got := range Evaluate(v, &r.Facts) {
					if !got.OK {
						t.Errorf("%s: %s", got.ID, got.Why)
					}
					if got.ID != "lines" && len(got.Evidence) == 0 {
						t.Errorf("%s: no evidence", got.ID)
					}
				}
			})
		}
	}
}

// TestClaimsWithoutIDs: a timeline that could name neither file nor socket still has the descriptor and the addresses.
func TestClaimsWithoutIDs(t *testing.T) {
	for _, v := range Variants() {
		r := goodRun(v.Name, views()[0])
		for i := range r.Events {
			e := &r.Events[i]
			if e.Kind.Kernel() && e.Kind != event.KindWakeup && e.Sock == testSock {
				e.Local, e.Peer, e.FD = r.Client.Remote, r.Client.Local, event.NoFD
			}
			e.File, e.NewFile, e.Sock = 0, 0, 0
		}
		for _, got := range Evaluate(v, &r.Facts) {
			if !got.OK {
				t.Errorf("%s: %s: %s", v.Name, got.ID, got.Why)
			}
		}
	}
}

// breaks are ways to spoil a good run, by variant and by the claim that must notice.
func breaks(t *testing.T) map[string]map[string][]func(*recorder) {
	spoil := func(fs ...func(*recorder)) []func(*recorder) { return fs }
	wake := event.Event{Kind: event.KindWakeup, Flags: event.HasUnread, Unread: 20, Key: 0xc3}
	deliver := event.Event{Kind: event.KindDeliver, Events: event.In}
	read := event.Event{Kind: event.KindRead, Ret: 4}
	set := func(kind event.Kind, n int, change func(*event.Event)) func(*recorder) {
		return func(r *recorder) { change(r.find(t, kind, n)) }
	}
	drop := func(kind event.Kind, n int) func(*recorder) {
		return func(r *recorder) { r.drop(t, kind, n) }
	}
	insert := func(kind event.Kind, n int, e event.Event) func(*recorder) {
		return func(r *recorder) { r.insert(t, kind, n, e) }
	}
	unread := func(n uint32) func(*event.Event) { return func(e *event.Event) { e.Unread = n } }
	ret := func(n int64) func(*event.Event) { return func(e *event.Event) { e.Ret = n } }
	flag := func(f event.Flags) func(*event.Event) { return func(e *event.Event) { e.Flags ^= f } }
	mask := func(m event.Mask) func(*event.Event) { return func(e *event.Event) { e.Events = m } }
	op := func(o uint8) func(*event.Event) { return func(e *event.Event) { e.Op = o } }

	oneWakeup := spoil(
		set(event.KindWakeup, 0, unread(16)), set(event.KindWakeup, 0, flag(event.Disarmed)),
		set(event.KindWakeup, 0, flag(event.HasUnread)),
		insert(event.KindWakeup, 0, wake), drop(event.KindWakeup, 0))
	drained := spoil(
		set(event.KindRead, 1, ret(3)), drop(event.KindRead, 2), set(event.KindDeliver, 0, mask(event.In|event.Out)),
		insert(event.KindRead, 0, event.Event{Kind: event.KindWaitEnter}), insert(event.KindRead, 0, deliver),
		drop(event.KindDeliver, 0))
	echo := spoil(
		func(r *recorder) { r.Client.Received = r.Client.Received[:len(r.Client.Received)-1] },
		func(r *recorder) { r.Client.Received = append(r.Client.Received, Chunk{Text: "0"}) })
	noReset := spoil(
		insert(event.KindState, 1, event.Event{Kind: event.KindReset}), drop(event.KindState, 1),
		drop(event.KindClose, 0), set(event.KindClose, 0, ret(-9)))
	endRead := spoil(
		set(event.KindDeliver, -1, mask(event.In)), set(event.KindDeliver, -1, mask(event.RdHup)),
		drop(event.KindRead, -1), set(event.KindRead, -1, ret(1)), drop(event.KindClose, 0), drop(event.KindDeliver, -1))
	hangUp := spoil(
		insert(event.KindDeliver, -1, read), drop(event.KindDeliver, -1), drop(event.KindEpollCtl, -1),
		set(event.KindEpollCtl, -1, op(event.CtlMod)), drop(event.KindClose, 0),
		set(event.KindWakeup, -1, unread(3)))
	lines := spoil(
		func(r *recorder) { r.ServerLines = r.ServerLines[:len(r.ServerLines)-1] },
		func(r *recorder) { r.ServerLines = append(r.ServerLines, "[+] data: more") },
		func(r *recorder) { r.ServerLines[1] = "[+] accept client 127.0.0.1:1" })

	return map[string]map[string][]func(*recorder){
		"et-drain": {
			"one-wakeup": oneWakeup, "drained": drained, "echo": echo, "no-reset": noReset, "lines": lines,
			"hang-up": hangUp,
		},
		"et-fair": {
			"one-wakeup": oneWakeup, "one-turn": drained, "echo": echo, "no-reset": noReset, "lines": lines, "end": endRead,
			"nothing-pending": spoil(drop(event.KindRead, 2), drop(event.KindWaitEnter, -2)),
		},
		"lt": {
			"one-wakeup": oneWakeup, "echo": echo, "no-reset": noReset, "lines": lines, "end": endRead,
			"two-deliveries": spoil(
				drop(event.KindDeliver, 1), set(event.KindRead, 0, ret(20)), insert(event.KindRead, 1, read),
				insert(event.KindRead, 1, deliver)),
		},
		"et-partial": {
			"wakeups": append(oneWakeup, set(event.KindWakeup, 1, unread(20)), drop(event.KindWakeup, 1)),
			"reads": spoil(
				insert(event.KindRead, 0, read), set(event.KindRead, 1, ret(20)), drop(event.KindDeliver, 1),
				insert(event.KindWaitEnter, 1, read)),
			"left-4": spoil(
				set(event.KindRecv, 0, unread(0)), set(event.KindWakeup, 1, unread(20)),
				func(r *recorder) { r.Tables[0].Sockets[2].Unread = 0 }),
			"left-8": spoil(
				set(event.KindRecv, 1, unread(4)), func(r *recorder) { r.Tables[1].Sockets[2].Unread = 0 }),
			"quiet": spoil(
				insert(event.KindRead, 0, wake), insert(event.KindWaitEnter, 1, deliver), drop(event.KindWaitEnter, 1),
				func(r *recorder) { r.Client.Sent[1].Time = 1 << 40 }),
			"echo":    echo,
			"hang-up": append(hangUp, set(event.KindReset, 0, unread(7))),
			"reset": spoil(
				drop(event.KindReset, 0), set(event.KindReset, 0, unread(4)), drop(event.KindClose, 0),
				set(event.KindReset, 0, func(e *event.Event) { e.Time += 1000 }),
				insert(event.KindReset, 0, event.Event{Kind: event.KindReset}),
				set(event.KindState, 1, func(e *event.Event) { e.NewState = event.LastAck })),
			"lines": lines,
		},
		"oneshot": {
			"one-wakeup": oneWakeup, "echo": echo, "lines": lines,
			"one-delivery": spoil(insert(event.KindWakeup, 1, deliver), insert(event.KindRead, 0, read)),
			"deaf-to-input": spoil(
				drop(event.KindWakeup, 1), set(event.KindWakeup, 1, unread(4)), set(event.KindWakeup, 1, flag(event.Disarmed)),
				insert(event.KindWakeup, 1, deliver), drop(event.KindDeliver, 0)),
			"deaf-to-fin": spoil(
				drop(event.KindState, 0), set(event.KindWakeup, 2, flag(event.Disarmed)), insert(event.KindState, 0, deliver)),
			"close-wait": spoil(
				drop(event.KindState, 0), func(r *recorder) { r.Tables = nil },
				func(r *recorder) { r.Tables[0].Sockets[2].State = event.Established },
				func(r *recorder) { r.Tables[0].Sockets[2].FIN = false },
				func(r *recorder) { r.Tables[0].Sockets[2].Unread = 8 },
				func(r *recorder) { r.Tables[0].Sockets[2].RecvQueue = 7 }),
			"reset": spoil(
				drop(event.KindReset, 0), set(event.KindReset, 0, unread(4)), drop(event.KindExit, 0),
				set(event.KindExit, 0, func(e *event.Event) { e.Ret = int64(unix.SIGKILL) }),
				set(event.KindReset, 0, func(e *event.Event) { e.Time = 1 }),
				insert(event.KindWakeup, 1, event.Event{Kind: event.KindClose})),
		},
		"oneshot-rearm": {
			"wakeups": append(oneWakeup, set(event.KindWakeup, 1, unread(7))), "echo": echo, "no-reset": noReset,
			"lines": lines, "end": endRead,
			"deliveries": spoil(drop(event.KindDeliver, 2), set(event.KindRead, 2, ret(7)), insert(event.KindRead, 0, read)),
			"rearmed": spoil(
				drop(event.KindEpollCtl, 2), set(event.KindEpollCtl, 1, ret(-2)), set(event.KindEpollCtl, 3, op(event.CtlDel)),
				insert(event.KindRead, 0, event.Event{Kind: event.KindWaitEnter})),
			"redelivered": spoil(
				insert(event.KindEpollCtl, 1, wake), drop(event.KindEpollCtl, 1), set(event.KindEpollCtl, 1, ret(-2))),
		},
	}
}

// TestEveryClaimCanFail spoils good runs: the claim that is about what was spoilt must say no, with a reason.
func TestEveryClaimCanFail(t *testing.T) {
	all := breaks(t)
	for _, v := range Variants() {
		for _, c := range v.Claims {
			if len(all[v.Name][c.ID]) == 0 {
				t.Errorf("%s: %s: nothing spoils this claim", v.Name, c.ID)
			}
		}
		for _, id := range slices.Sorted(maps.Keys(all[v.Name])) {
			for i, spoil := range all[v.Name][id] {
				r := goodRun(v.Name, views()[0])
				spoil(r)
				results := Evaluate(v, &r.Facts)
				at := slices.IndexFunc(results, func(x Result) bool { return x.ID == id })
				if at < 0 {
					t.Fatalf("%s: no claim %s", v.Name, id)
				}
				if got := results[at]; got.OK || got.Why == "" {
					t.Errorf("%s: %s holds although spoilt (way %d)", v.Name, id, i)
				}
			}
		}
	}
}

func TestNoClaimHoldsAcrossAGap(t *testing.T) {
	for _, v := range Variants() {
		r := goodRun(v.Name, views()[0])
		r.find(t, event.KindRead, 0).Lost = 2
		for _, got := range Evaluate(v, &r.Facts) {
			if got.OK {
				t.Errorf("%s: %s holds although records were lost", v.Name, got.ID)
			}
		}
	}
}

func TestNoClaimHoldsOfNothing(t *testing.T) {
	for _, v := range slices.Concat(Variants(), Gallery()) {
		for _, got := range Evaluate(v, &Facts{}) {
			if got.OK || got.Why == "" {
				t.Errorf("%s: %s holds although nothing was recorded", v.Name, got.ID)
			}
		}
	}
}

// TestAnotherClient: a second connection's events are not the story's, whatever they are.
func TestAnotherClient(t *testing.T) {
	v, _ := ByName("et-drain")
	r := goodRun(v.Name, views()[0])
	other := []event.Event{
		{Kind: event.KindWakeup, FD: 8, File: 9, Sock: 9, Unread: 3, Flags: event.HasUnread},
		{Kind: event.KindDeliver, FD: 8, File: 9, Events: event.In},
		{Kind: event.KindRead, FD: 8, File: 9, Ret: 3},
		{Kind: event.KindReset, FD: event.NoFD, Sock: 9},
	}
	for _, e := range other {
		r.add(e)
	}
	for _, got := range Evaluate(v, &r.Facts) {
		if !got.OK {
			t.Errorf("%s: %s", got.ID, got.Why)
		}
	}
}

// TestInterruptIsSeenByItsDeliveryToo has the signal's own event and an exit that does not name it.
func TestInterruptIsSeenByItsDeliveryToo(t *testing.T) {
	r := goodRun("oneshot", views()[0])
	for i := range r.Events {
		if r.Events[i].Kind == event.KindExit {
			r.Events[i] = event.Event{Seq: r.Events[i].Seq, Time: r.Events[i].Time, Kind: event.KindSignal, Signal: uint8(unix.SIGTERM), FD: event.NoFD}
		}
	}
	v, _ := ByName("oneshot")
	for _, result := range Evaluate(v, &r.Facts) {
		if !result.OK {
			t.Errorf("%s: %s", result.Text, result.Why)
		}
	}
}
