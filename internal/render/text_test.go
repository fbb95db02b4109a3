package render

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
)

func TestTextObservation(t *testing.T) {
	golden(t, "observation.txt", play(t, Options{}, observation))
}

// everyKind has each kind in each of its ways to be said.
func everyKind() []event.Event {
	var es []event.Event
	add := func(e event.Event, change func(*event.Event)) {
		e.Seq, e.Time = uint64(len(es)+1), ms(float64(len(es)))
		change(&e)
		es = append(es, e)
	}
	k := func(kind event.Kind) event.Event { return kernel(0, 0, kind, 7) }
	u := func(kind event.Kind) event.Event { return with(user(0, 0, kind), func(e *event.Event) { e.FD = 7 }) }
	mask := event.In | event.ET | event.OneShot

	add(k(event.KindWakeup), func(e *event.Event) { e.Key, e.Events = tcpKey, mask })
	add(k(event.KindWakeup), func(e *event.Event) {
		e.Key, e.Events, e.Unread = tcpKey, event.ET|event.OneShot, 7
		e.Flags = event.Disarmed | event.HasUnread | event.FINUnread
	})
	add(k(event.KindWakeup), func(e *event.Event) { e.Key, e.Events, e.Flags = event.Out|event.WrNorm, mask, event.Filtered })
	add(k(event.KindWakeup), func(e *event.Event) { e.Key, e.Events, e.Flags = 0, mask, event.FIN })
	add(k(event.KindWakeup), func(e *event.Event) { e.Key, e.Events, e.Flags, e.Unread = event.Err, mask, event.HasUnread, 1 })
	add(k(event.KindRecv), func(e *event.Event) { e.Ret, e.Flags, e.Unread = 1, event.HasUnread, 0 })
	add(k(event.KindRecv), func(e *event.Event) { e.Ret, e.Flags, e.Unread = 3, event.Peek|event.HasUnread, 3 })
	add(k(event.KindRecv), func(e *event.Event) { e.Ret = 0 })
	add(k(event.KindRecv), func(e *event.Event) { e.Ret = -11 })
	add(k(event.KindSend), func(e *event.Event) { e.Ret = 4096 })
	add(k(event.KindReset), func(e *event.Event) { e.Reason = event.ReasonKeepalive })
	add(k(event.KindReset), func(e *event.Event) { e.FD, e.Sock, e.Unread, e.Flags = event.NoFD, 0, 1, event.HasUnread })
	add(k(event.KindState), func(e *event.Event) { e.NewState = event.Listen })
	add(k(event.KindState), func(e *event.Event) { e.FD, e.NewState, e.Local, e.Peer = event.NoFD, event.SynRecv, local6, peer6 })
	add(u(event.KindEpollCreate), func(e *event.Event) { e.Ret = -24 })
	add(u(event.KindEpollCtl), func(e *event.Event) { e.Op, e.Events, e.Ret = event.CtlMod, mask, -17 })
	add(u(event.KindWaitEnter), func(e *event.Event) { e.Timeout = 0 })
	add(u(event.KindWaitReturn), func(e *event.Event) { e.Ret = 0 })
	add(u(event.KindWaitEnter), func(e *event.Event) { e.Timeout = 1500e6 })
	add(u(event.KindWaitReturn), func(e *event.Event) { e.Ret = -4 })
	add(u(event.KindWaitReturn), func(e *event.Event) { e.Ret = 3 })
	add(u(event.KindDeliver), func(e *event.Event) { e.Events = event.In })
	add(u(event.KindDeliver), func(e *event.Event) { e.FD, e.Events, e.Flags, e.Data = event.NoFD, event.Out, event.Ambiguous, 0xabc })
	add(u(event.KindDeliver), func(e *event.Event) { e.FD, e.Events, e.Data = event.NoFD, event.Err|event.Hup, 0x7ffe12345678 })
	add(u(event.KindWaitReturn), func(e *event.Event) { e.Ret = 1 })
	add(k(event.KindWakeup), func(e *event.Event) { e.Key, e.Events = tcpKey, mask }) // comes between a wait and its item
	add(u(event.KindDeliver), func(e *event.Event) { e.Events = event.In })
	add(u(event.KindRead), func(e *event.Event) { e.Call, e.Ret = event.CallRecvmsg, 0 })
	add(u(event.KindRead), func(e *event.Event) { e.Call, e.Ret = event.CallRead, -11 })
	add(u(event.KindRead), func(e *event.Event) { e.Call, e.Ret, e.TID = event.CallRead, -104, 4712 })
	add(u(event.KindWrite), func(e *event.Event) { e.Call, e.Ret, e.PID, e.TID = event.CallSendto, 1, 5000, 5001 })
	add(u(event.KindAccept), func(e *event.Event) { e.Call, e.Ret = event.CallAccept, -24 })
	add(u(event.KindAccept), func(e *event.Event) { e.Call, e.Ret = event.CallAccept, 8 })
	add(u(event.KindClose), func(e *event.Event) { e.Ret = -9 })
	add(u(event.KindDup), func(e *event.Event) { e.Call, e.Ret = event.CallDup2, 9 })
	add(u(event.KindDup), func(e *event.Event) { e.Call, e.Ret = event.CallFcntl, -24 })
	add(u(event.KindFork), func(e *event.Event) { e.FD, e.Ret = event.NoFD, 4720 })
	add(u(event.KindExec), func(e *event.Event) { e.FD = event.NoFD })
	add(u(event.KindSignal), func(e *event.Event) { e.FD, e.Signal = event.NoFD, 2 })
	add(u(event.KindExit), func(e *event.Event) { e.TID, e.Ret = 4712, 2 })
	add(u(event.KindExit), func(e *event.Event) { e.Ret, e.Flags = 3<<8, event.Last })
	add(u(event.KindSnapshot), func(e *event.Event) {
		e.NewState, e.Local, e.Peer, e.Unread, e.Flags, e.Sock = event.Established, local4, peer4, 9, event.HasUnread, 44
	})
	add(u(event.KindSnapshot), func(e *event.Event) { e.NewState, e.Local, e.Events = event.Listen, local4, event.In|event.ET })
	add(u(event.KindLost), func(e *event.Event) { e.Lost = 312 })
	add(u(event.KindRead), func(e *event.Event) { e.Lost, e.Ret = 1, 5 })
	add(k(event.KindWoken), func(e *event.Event) { e.TID = 4712 })
	sched := func(doing event.Doing, call string, times uint32) func(*event.Event) {
		return func(e *event.Event) {
			e.TID, e.Start = 4712, e.Time.Add(-1240*time.Millisecond)
			e.Sched = event.Sched{Doing: doing, For: 204700 * time.Microsecond, Call: call, Times: times}
		}
	}
	add(k(event.KindSched), sched(event.Computing, "", 0))
	add(k(event.KindSched), sched(event.Runnable, "", 0))
	add(k(event.KindSched), sched(event.Blocked, "fdatasync", 2))
	add(k(event.KindSched), sched(event.Blocked, "", 1))
	add(k(event.KindSched), sched(event.Blocked, "bad\x1bname", 1))
	add(k(event.KindSched), func(e *event.Event) { sched(event.Stopped, "", 1)(e); e.Flags, e.TID = event.Ongoing, e.PID })
	add(k(event.KindQueued), func(e *event.Event) { e.FD, e.Unread, e.Flags, e.Sock = 4, 2, event.HasUnread|event.Listener, 1 })
	add(k(event.KindRelease), func(e *event.Event) { e.Unread, e.Flags = 8, event.HasUnread })
	add(u(event.KindShutdown), func(e *event.Event) { e.Op = 1 })
	add(u(event.KindShutdown), func(e *event.Event) { e.Op, e.Ret = 2, -107 })
	add(u(event.KindUnseen), func(e *event.Event) { e.FD, e.Call = event.NoFD, event.CallIOUring })
	add(u(event.KindUnseen), func(e *event.Event) { e.FD, e.Flags = event.NoFD, event.Compat })
	add(u(event.KindUnseen), func(e *event.Event) { e.FD = event.NoFD })
	add(u(event.KindNone), func(e *event.Event) { e.Kind = 200 })
	return es
}

func TestTextEveryKind(t *testing.T) {
	seen := map[event.Kind]bool{event.KindPacket: true} // has its own test
	got := play(t, Options{}, func(p Printer) {
		p.Meta(testMeta())
		for _, ev := range everyKind() {
			seen[ev.Kind] = true
			p.Event(&ev)
		}
	})
	golden(t, "kinds.txt", got)
	for _, k := range event.Kinds() {
		if !seen[k] {
			t.Errorf("no event of kind %s here", k)
		}
	}
}

// several is an observation of two processes and of one that joins.
func several(p Printer) {
	m := testMeta()
	m.Command, m.Hooks = "attach 4711 4800", nil
	m.Processes = []Process{{PID: 4711, Comm: "nginx"}, {PID: 4800, Comm: "bad\x1bname"}}
	p.Meta(m)
	p.Note(&Note{Time: ms(0.1), PID: 4800, Text: "process 4800 (bad\x1bname) has no epoll instance so far"})
	joined := user(4, 3, event.KindFork)
	joined.Ret = 4900
	for i, ev := range []event.Event{
		kernel(1, 1, event.KindWakeup, 7),
		with(user(2, 2, event.KindRead), func(e *event.Event) { e.FD, e.Ret, e.TID = 7, 16, 4712 }),
		with(user(3, 2.5, event.KindClose), func(e *event.Event) { e.FD, e.PID, e.TID = 9, 4800, 4800 }),
		joined,
		with(user(5, 4, event.KindRead), func(e *event.Event) { e.FD, e.Ret, e.PID, e.TID = 7, 16, 4900, 4900 }),
		with(user(6, 5, event.KindExit), func(e *event.Event) { e.Ret, e.Flags = 0, event.Last }),
	} {
		if i == 4 {
			p.Process(ms(3), Process{PID: 4900, Comm: "nginx"})
		}
		p.Event(&ev)
	}
	f := testFinding()
	f.Snapshot, f.Accepted = true, "issue 7: \x1b"
	p.Finding(ms(600), f)
	p.Conclude(&Conclusion{
		Findings: []*diagnose.Finding{f}, Groups: []*diagnose.Group{testGroup(1, f)},
		Verdicts: []Verdict{{"et-unread", "found", ""}, {"close-wait", "clean", ""}, {"reset-on-close", "unknown", "2 records were lost"}},
		Summary: Summary{
			Duration: 2 * time.Second, Events: map[event.Kind]uint64{event.KindRead: 2, event.KindWakeup: 1, event.KindClose: 1},
			Unknown: []Unknown{{"reset-on-close", "2 records were lost"}}, Missed: 3, Ended: "interrupted",
			Accepted: map[string]int{"et-unread": 1}, Stale: []string{"close-wait/nginx/accepted:80/ET", "close-wait/bad\x1bname/accepted"},
			Cost: Cost{CPU: 1234567 * time.Nanosecond, BPF: 98765 * time.Nanosecond, BPFRuns: 42},
		},
	})
}

func TestTextSeveralProcesses(t *testing.T) {
	golden(t, "several.txt", play(t, Options{}, several))
}

// A single process needs no name on each line, until another one joins.
func TestTextOneProcessUntilAnotherJoins(t *testing.T) {
	read := with(user(1, 1, event.KindRead), func(e *event.Event) { e.FD, e.Ret = 7, 16 })
	got := string(play(t, Options{}, func(p Printer) {
		p.Meta(testMeta())
		p.Event(&read)
		p.Process(ms(2), Process{PID: 4711, Comm: "renamed"})
		p.Event(&read)
		p.Process(ms(3), Process{PID: 4800, Comm: "child"})
		p.Event(&read)
	}))
	if strings.Count(got, "[") != 1 || !strings.Contains(got, "[renamed 4711]") {
		t.Errorf("the names are not on the last line alone:\n%s", got)
	}
}

// A signal that ends a process ends each of its threads with SIGKILL; people want to read one line of it.
func TestTextDeathIsOneLine(t *testing.T) {
	got := string(play(t, Options{}, func(p Printer) {
		p.Meta(testMeta())
		seq := uint64(0)
		put := func(kind event.Kind, change func(*event.Event)) {
			seq++
			ev := with(user(seq, 1, kind), change)
			p.Event(&ev)
		}
		for _, tid := range []uint32{4712, 4713, 4711} {
			put(event.KindSignal, func(e *event.Event) { e.TID, e.Signal = tid, 9 })
			put(event.KindExit, func(e *event.Event) {
				e.TID, e.Ret = tid, 2
				if tid == 4711 {
					e.Flags = event.Last
				}
			})
		}
		put(event.KindExit, func(e *event.Event) { e.PID, e.TID, e.Ret, e.Flags = 5000, 5000, 9, event.Last })
		put(event.KindExit, func(e *event.Event) { e.TID, e.Ret = 4714, 0 })
	}))
	_, body, _ := strings.Cut(got, "what\n")
	want := `      6      1.000  user    exit            process 4711, killed by SIGINT, 3 threads
      7      1.000  user    exit            process 5000, killed by SIGKILL
      8      1.000  user    exit            thread 4714, status 0
`
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Two threads wait at once: an answer goes with its own thread's items only.
func TestTextAnswersOfTwoThreads(t *testing.T) {
	got := string(play(t, Options{}, func(p Printer) {
		p.Meta(testMeta())
		for _, ev := range []event.Event{
			with(user(1, 1, event.KindWaitReturn), func(e *event.Event) { e.Ret = 1 }),
			with(user(2, 1, event.KindDeliver), func(e *event.Event) { e.TID, e.FD, e.Events = 4712, 8, event.Out }),
			with(user(3, 1, event.KindDeliver), func(e *event.Event) { e.FD, e.Events = 7, event.In }),
		} {
			p.Event(&ev)
		}
	}))
	_, body, _ := strings.Cut(got, "what\n")
	want := `      1      1.000  user    epoll_wait → 1
      2      1.000  user    delivered       fd 8  OUT  [thread 4712]
      3      1.000  user    delivered       fd 7  IN
`
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What is remembered of a socket or a process goes when it goes, or a long observation would fill the memory.
func TestTextForgets(t *testing.T) {
	p := newText(io.Discard, Options{})
	for i := range 1000 {
		sock := event.SockID(i + 1)
		for _, ev := range []event.Event{
			with(kernel(1, 1, event.KindState, event.NoFD), func(e *event.Event) {
				e.Sock, e.Local, e.Peer, e.NewState = sock, local4, peer4, event.Established
			}),
			with(kernel(2, 1, event.KindState, event.NoFD), func(e *event.Event) { e.Sock, e.NewState = sock, event.Closed }),
			with(user(3, 1, event.KindExit), func(e *event.Event) { e.PID, e.Ret, e.Flags = uint32(i+1), 2, event.Last }),
		} {
			p.Event(&ev)
		}
	}
	if len(p.names) > 0 || len(p.born) > 0 || len(p.killed) > 0 {
		t.Errorf("%d names, %d sockets, %d processes are still remembered", len(p.names), len(p.born), len(p.killed))
	}
}

// The first sight of a socket says nothing that its state does not; without one it has to be shown.
func TestTextSnapshotBeforeState(t *testing.T) {
	got := string(play(t, Options{}, func(p Printer) {
		p.Meta(testMeta())
		first := with(kernel(1, 1, event.KindSnapshot, event.NoFD), func(e *event.Event) { e.Local, e.NewState = local4, event.Closed })
		state := with(kernel(2, 1, event.KindState, event.NoFD), func(e *event.Event) { e.OldState, e.NewState = event.Closed, event.Listen })
		other := with(kernel(3, 2, event.KindSnapshot, event.NoFD), func(e *event.Event) {
			e.Sock, e.Local, e.Peer, e.NewState = 9, local4, peer4, event.Established
		})
		again := with(kernel(4, 3, event.KindState, 4), func(e *event.Event) { e.OldState, e.NewState = event.Listen, event.Closed })
		for _, ev := range []event.Event{first, state, other, again} {
			p.Event(&ev)
		}
	}))
	_, body, _ := strings.Cut(got, "what\n")
	want := `      2      1.000  kernel  state           127.0.0.1:41234  CLOSE → LISTEN
      3      2.000  kernel  found           peer 127.0.0.1:51724  ESTABLISHED
      4      3.000  kernel  state           fd 4  LISTEN → CLOSE
`
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTextPackets(t *testing.T) {
	const syn, fin, rst, psh, ack = 2, 1, 4, 8, 16
	other := netip.MustParseAddrPort("10.1.2.3:8080")
	segment := func(from, to netip.AddrPort, flags event.TCPFlags, seq, ack, n uint32) event.Event {
		return event.Event{Kind: event.KindPacket, Time: ms(1), Local: from, Peer: to, FD: event.NoFD, EpFD: event.NoFD,
			Packet: event.Packet{Seq: seq, Ack: ack, Len: n, Window: 512, Flags: flags}}
	}
	const a, b = 0xfffffff0, 7000 // the client's numbers wrap around
	es := []event.Event{
		segment(peer4, local4, syn, a, 0, 0),
		segment(local4, peer4, syn|ack, b, a+1, 0),
		segment(peer4, local4, ack, a+1, b+1, 0),
		segment(peer4, local4, psh|ack, a+1, b+1, 20),
		segment(local4, peer4, psh|ack, b+1, 5, 16),
		segment(peer4, local4, fin|ack, 5, b+17, 0),
		segment(local4, peer4, rst|ack, b+17, 6, 0),
		segment(peer4, local4, rst, 6, 0, 0),
		segment(other, peer4, psh|ack, 900, 555, 1), // first seen in mid-life
		segment(peer6, local6, ack, 1, 1, 0),
	}
	golden(t, "packets.txt", play(t, Options{}, func(p Printer) {
		p.Meta(testMeta())
		for i, ev := range es {
			ev.Seq = uint64(i + 1)
			p.Event(&ev)
		}
	}))
}

// Where the ends of sockets are lost, or a network is scanned, memory stays bounded all the same.
func TestTextMemoryIsBounded(t *testing.T) {
	p := newText(io.Discard, Options{})
	for i := range maxRemembered + 10 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), uint16(i>>16)+1)
		packet := event.Event{Kind: event.KindPacket, Local: from, Peer: peer4, Packet: event.Packet{Seq: 100, Flags: flagSYN}}
		state := with(kernel(1, 1, event.KindState, event.NoFD), func(e *event.Event) {
			e.Sock, e.Local, e.Peer, e.NewState = event.SockID(i+1), local4, from, event.Established
		})
		p.Event(&packet)
		p.Event(&state)
	}
	if len(p.directions) > maxRemembered+1 || len(p.names) > maxRemembered || len(p.born) > maxRemembered {
		t.Errorf("%d directions, %d names, %d sockets are remembered", len(p.directions), len(p.names), len(p.born))
	}
}

func TestTextKeepsToItsColumns(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(b), "\n") {
			if n := utf8.RuneCountInString(line); n > Columns {
				t.Errorf("%s:%d has %d columns: %s", f, i+1, n, line)
			}
			if strings.TrimRight(line, " ") != line {
				t.Errorf("%s:%d ends in spaces", f, i+1)
			}
		}
	}
}

// Colour only adds: what stays when it is taken away is the plain text.
func TestColourOnlyAdds(t *testing.T) {
	colourful := play(t, Options{Color: true}, observation)
	plain := play(t, Options{}, observation)
	if strings.Contains(string(plain), "\x1b") {
		t.Error("plain text has an escape sequence")
	}
	stripped := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(string(colourful), "")
	if stripped != string(plain) {
		t.Errorf("without its colours the text differs:\n%s", stripped)
	}
	for _, loud := range []string{"\x1b[1;31met-unread", "\x1b[1;31mreset ", "\x1b[32m✓", "\x1b[1;31m✗"} {
		if !strings.Contains(string(colourful), loud) {
			t.Errorf("%q does not stand out", loud)
		}
	}
}

func TestTextEscapesWhatOthersWrote(t *testing.T) {
	const evil = "a\x1b[2Jb\r\nc\u202ed\xffe"
	got := string(play(t, Options{}, func(p Printer) {
		m := testMeta()
		m.Processes[0].Comm = evil
		p.Meta(m)
		p.Line(&Line{Time: ms(1), Source: "server", Text: evil})
		f := testFinding()
		f.Comm, f.Message = evil, evil
		p.Finding(ms(2), f)
		c := testConclusion()
		c.Findings[0], c.Groups[0] = f, testGroup(1, f)
		c.Claims[1].Why = evil
		c.Tables[0].Sockets[1].Comm = evil
		p.Conclude(c)
	}))
	if n := strings.Count(got, `a\x1b[2Jb\x0d\x0ac\u202ed\xffe`); n != 7 {
		t.Errorf("%d of 7 places are escaped:\n%s", n, got)
	}
	if strings.ContainsAny(got, "\x1b\r\u202e") {
		t.Error("control characters came through")
	}
}
