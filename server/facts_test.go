package server

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// view is what a family of hooks shows of the same run.
type view struct {
	name       string
	recvUnread bool // receives know what is left
	finWakeups int
	release    bool
	deferred   bool // a file is put down after its close has returned
}

func views() []view {
	return []view{
		{"everything", true, 2, true, false},
		{"everything, on an older kernel", true, 2, true, true},
		{"one wakeup for the FIN", true, 1, false, false},
		{"receives without what is left", false, 1, false, false},
	}
}

const (
	testPID  = 100
	testFD   = 7
	testFile = event.FileID(3)
	testSock = event.SockID(5)
)

// recorder writes a run by hand, in the order and with the fields that the timeline gives.
type recorder struct {
	Facts
	view view
	time event.Time
}

func newRecorder(v view) *recorder {
	r := &recorder{view: v, time: 1000}
	r.Client.Local = netip.MustParseAddrPort("127.0.0.1:50001")
	r.Client.Remote = netip.MustParseAddrPort("127.0.0.1:8080")
	r.ServerLines = []string{"listen on port 8080", "[+] accept client 127.0.0.1:50001"}
	// An older connection's leftovers and the listener: none of it is the story's.
	r.add(event.Event{Kind: event.KindWakeup, FD: 4, File: 1, Sock: 1, Flags: event.Listener | event.HasUnread, Unread: 1})
	r.add(event.Event{Kind: event.KindDeliver, FD: 4, File: 1, Events: event.In})
	r.add(event.Event{Kind: event.KindAccept, FD: 4, File: 1, Ret: testFD, NewFile: testFile, Sock: testSock})
	r.ctl(event.CtlAdd)
	r.wait()
	return r
}

func (r *recorder) add(e event.Event) {
	r.time += 10
	e.Seq, e.PID, e.TID = uint64(len(r.Events)+1), testPID, testPID
	if e.Time == 0 {
		e.Time = r.time
	}
	inCall := e.Kind == event.KindRecv || e.Kind == event.KindReset && r.view.deferred
	if e.Kind.Kernel() && !inCall {
		e.TID = 0
	}
	r.Events = append(r.Events, e)
}

func (r *recorder) conn(e event.Event) {
	e.FD, e.File, e.Sock = testFD, testFile, testSock
	r.add(e)
}

func (r *recorder) send(text string) {
	r.time += 100
	r.Client.Sent = append(r.Client.Sent, Chunk{Time: r.time, Text: text})
}

func (r *recorder) wakeup(unread uint32, flags event.Flags) {
	r.conn(event.Event{Kind: event.KindWakeup, Key: 0xc3, Unread: unread, Flags: flags | event.HasUnread})
}

func (r *recorder) deliver(mask event.Mask) {
	r.add(event.Event{Kind: event.KindWaitReturn, FD: event.NoFD, Ret: 1})
	r.conn(event.Event{Kind: event.KindDeliver, Events: mask})
	r.ServerLines = append(r.ServerLines, fmt.Sprintf("client socket events: %#x", uint32(mask)))
}

func (r *recorder) read(text string, left uint32) {
	start := r.time + 1
	n := int64(len(text))
	e := event.Event{Kind: event.KindRecv, Sock: testSock, FD: event.NoFD, Ret: n}
	if r.view.recvUnread {
		e.Unread, e.Flags = left, event.HasUnread
	}
	r.add(e)
	r.conn(event.Event{Kind: event.KindRead, Start: start, Ret: n})
	if n > 0 {
		r.ServerLines = append(r.ServerLines, "[+] data: "+text)
		r.conn(event.Event{Kind: event.KindWrite, Ret: n})
		r.Client.Received = append(r.Client.Received, Chunk{Time: r.time, Text: text})
	}
}

func (r *recorder) readAgain() {
	r.conn(event.Event{Kind: event.KindRead, Start: r.time + 1, Ret: again})
}

func (r *recorder) ctl(op uint8) {
	r.conn(event.Event{Kind: event.KindEpollCtl, Op: op})
}

func (r *recorder) wait() {
	r.add(event.Event{Kind: event.KindWaitEnter, FD: event.NoFD, Timeout: -1})
}

func (r *recorder) fin(unread uint32, flags event.Flags) {
	r.time += 100
	r.state(event.Established, event.CloseWait)
	for range r.view.finWakeups {
		r.wakeup(unread, flags|event.FIN|event.FINUnread)
	}
}

func (r *recorder) state(from, to event.State) {
	r.conn(event.Event{Kind: event.KindState, OldState: from, NewState: to})
}

func (r *recorder) reset(unread uint32) {
	if r.view.release {
		r.conn(event.Event{Kind: event.KindRelease, Unread: unread, Flags: event.HasUnread})
	}
	r.state(event.CloseWait, event.Closed)
	r.conn(event.Event{Kind: event.KindReset, Unread: unread, Flags: event.HasUnread})
}

func (r *recorder) close(reset bool, unread uint32) {
	r.ctl(event.CtlDel)
	start := r.time + 1
	if r.view.deferred {
		r.conn(event.Event{Kind: event.KindClose, Start: start})
	}
	if reset {
		r.reset(unread)
	} else {
		r.state(event.CloseWait, event.LastAck)
	}
	if !r.view.deferred {
		r.conn(event.Event{Kind: event.KindClose, Start: start})
	}
	r.ServerLines = append(r.ServerLines, "[+] connection closed")
	r.wait()
}

func (r *recorder) table(moment string, s event.State, unread uint32, fin bool) {
	q := unread
	if fin {
		q++
	}
	r.Tables = append(r.Tables, MomentTable{Moment: moment, Sockets: []SocketRow{
		{State: event.Listen, Local: r.Client.Remote},
		{State: event.FinWait2, Local: r.Client.Local, Peer: r.Client.Remote},
		{State: s, Local: r.Client.Remote, Peer: r.Client.Local, RecvQueue: q, Unread: unread, FIN: fin},
	}})
}

// runs are good runs of all variants, by name.
func runs() map[string]func(*recorder) {
	const head, tail = "0123456789012345", "6789"
	drain := func(r *recorder) {
		r.send(Message)
		r.wakeup(20, 0)
		r.deliver(event.In)
		r.read(head, 4)
		r.read(tail, 0)
		r.readAgain()
		r.wait()
		r.fin(0, 0)
	}
	end := func(r *recorder) {
		r.deliver(event.In | event.RdHup)
		r.read("", 0)
		r.close(false, 0)
	}
	return map[string]func(*recorder){
		"et-drain": func(r *recorder) {
			drain(r)
			r.deliver(event.RdHup | event.In)
			r.ServerLines = r.ServerLines[:len(r.ServerLines)-1] // BeforeInput does not print it
			r.close(false, 0)
		},
		"et-fair": func(r *recorder) { drain(r); end(r) },
		"et-partial": func(r *recorder) {
			r.send(Message)
			r.wakeup(20, 0)
			r.deliver(event.In)
			r.read(head, 4)
			r.wait()
			r.table(AfterFirstWait, event.Established, 4, false)
			r.send(Message)
			r.wakeup(24, 0)
			r.deliver(event.In)
			r.read("6789012345678901", 8)
			r.wait()
			r.table(AfterSecondWait, event.Established, 8, false)
			r.fin(8, 0)
			r.deliver(event.RdHup | event.In)
			r.ServerLines = r.ServerLines[:len(r.ServerLines)-1]
			r.close(true, 8)
		},
		"lt": func(r *recorder) {
			r.send(Message)
			r.wakeup(20, 0)
			r.deliver(event.In)
			r.read(head, 4)
			r.wait()
			r.deliver(event.In)
			r.read(tail, 0)
			r.wait()
			r.fin(0, 0)
			end(r)
		},
		"oneshot": func(r *recorder) {
			r.send(Message)
			r.wakeup(20, 0)
			r.deliver(event.In)
			r.read(head, 4)
			r.wait()
			r.send("end")
			r.wakeup(7, event.Disarmed)
			r.fin(7, event.Disarmed)
			r.table(BeforeInterrupt, event.CloseWait, 7, true)
			// Its delivery is not always seen (story.interrupt says why), so the exit has to do.
			r.add(event.Event{Kind: event.KindExit, Ret: int64(unix.SIGINT), Flags: event.Last, FD: event.NoFD})
			r.reset(7)
		},
		"oneshot-rearm": func(r *recorder) {
			for i, text := range []string{Message, "end"} {
				r.send(text)
				r.wakeup(uint32(len(text)), 0)
				r.deliver(event.In)
				if i == 0 {
					r.read(head, 4)
					r.ctl(event.CtlMod)
					r.wait()
					r.deliver(event.In)
					r.read(tail, 0)
				} else {
					r.read(text, 0)
				}
				r.ctl(event.CtlMod)
				r.wait()
			}
			r.fin(0, 0)
			end(r)
		},
	}
}

func goodRun(name string, v view) *recorder {
	r := newRecorder(v)
	runs()[name](r)
	return r
}

// find returns the n-th event of that kind that is not the listener's, from the end where n is negative, for a test to
// change.
func (r *recorder) find(t *testing.T, kind event.Kind, n int) *event.Event {
	t.Helper()
	var found []*event.Event
	for i := range r.Events {
		if e := &r.Events[i]; e.Kind == kind && e.File != 1 {
			found = append(found, e)
		}
	}
	if n < 0 {
		n += len(found)
	}
	if n < 0 || n >= len(found) {
		t.Fatalf("the run has no such %v", kind)
	}
	return found[n]
}

func (r *recorder) drop(t *testing.T, kind event.Kind, n int) {
	t.Helper()
	seq := r.find(t, kind, n).Seq
	r.Events = slices.DeleteFunc(r.Events, func(e event.Event) bool { return e.Seq == seq })
}

// insert puts a copy of the conn event e right after the n-th event of a kind.
func (r *recorder) insert(t *testing.T, kind event.Kind, n int, e event.Event) {
	t.Helper()
	after := r.find(t, kind, n)
	e.Seq, e.Time, e.PID, e.TID = 999, after.Time+1, testPID, testPID
	e.FD, e.File, e.Sock = testFD, testFile, testSock
	at := slices.IndexFunc(r.Events, func(x event.Event) bool { return x.Seq == after.Seq })
	r.Events = slices.Insert(r.Events, at+1, e)
}
