package timeline

import (
	"slices"

	"github.com/epwatch/epwatch/internal/event"
)

// EndCause says what ended an open file.
type EndCause uint8

// The causes.
const (
	EndNone    EndCause = iota
	EndClose            // the program closed its last descriptor
	EndRelease          // the kernel dropped the last reference; the call, if any, follows
	EndExit             // the process ended
	EndReused           // its descriptor or address names something else now; how it ended was not seen
)

// File is one open file (struct file) of the target. Pointers to it are stable and stay readable after its end.
type File struct {
	ID   event.FileID
	Addr event.Addr // 0 when the tracer could not say
	// PID is the process that was first seen with it, its owner as far as findings go.
	PID uint32
	// FDs are the descriptors that name it now.
	FDs []Descriptor
	// LastFD is the descriptor that named it last, NoFD if none did.
	LastFD int32
	// Shared: a fork may have given the file to a process that is not observed.
	Shared bool
	Type   FileType
	Sock   *Sock // nil for files that are not sockets, or not known to be
	// Interests are the items that watch it, in the order they were added.
	Interests []*Interest

	First    event.Time // when it was first seen
	Accepted bool       // its accept was seen
	Ended    bool
	EndSeq   uint64
	EndTime  event.Time
	EndedBy  EndCause

	// LastUse is the last call of the program on this file that did something: it moved bytes, was refused for
	// lack of buffer space, changed an interest or shut a direction down. A read that only found the end of the
	// stream is not counted.
	LastUse Mark
	// LastCall is the last call of any kind and outcome on this file.
	LastCall Mark
	// LastWrite is the last call that wrote bytes.
	LastWrite Mark
	// Taken is when something was last taken out of it: bytes were read or received, a connection was accepted.
	Taken Mark
	// Result is what LastCall returned, where that was a read, a write, a shutdown or an accept.
	Result int64
	// Told is when the program was last told of input or a hang-up by a delivery, or looked for itself.
	Told Mark

	// ShutRead: the program shut its reading side down, so it will not read on.
	ShutRead bool

	blockedSeq uint64 // a write found no space
	prev       *File  // what its address named before
	presumed   *Interest
	recent     moments
}

// Mark is a place in the history; Seq 0 means there is none.
type Mark struct {
	Seq  uint64
	Time event.Time
	TID  uint32
}

func markOf(ev *event.Event) Mark { return Mark{ev.Seq, ev.Time, ev.TID} }

// Descriptor is a file descriptor of a process.
type Descriptor struct {
	PID uint32
	FD  int32
}

// FD returns the owner's descriptor of the file: the one it has, or had last. NoFD means none was seen.
func (f *File) FD() int32 {
	for _, d := range f.FDs {
		if d.PID == f.PID {
			return d.FD
		}
	}
	return f.LastFD
}

// WriteBlocked reports whether the last write found no buffer space, so that output space is due to wake the
// program.
func (f *File) WriteBlocked() bool { return f.blockedSeq != 0 }

// Named reports whether that descriptor of that process names the file now.
func (f *File) Named(pid uint32, fd int32) bool {
	return slices.Contains(f.FDs, Descriptor{pid, fd})
}

type descriptor = Descriptor

// binding says which file a descriptor names, and since when.
type binding struct {
	file  *File
	since event.Time
}

// useFile finds the file that a call of the program or a snapshot means, and learns of it if it is new. start is
// the call's entry: a record comes at the return, and meanwhile another thread may have closed the descriptor and
// reused it, and the kernel may have reused the address.
func (t *Timeline) useFile(pid uint32, fd int32, addr, sock event.Addr, start event.Time) *File {
	d := descriptor{pid, fd}
	f := t.fileAt(addr, start)
	if f != nil && !f.Ended && (sock == 0 || f.Sock != nil && f.Sock.Addr == sock) && f.Named(pid, fd) {
		return f // as nearly always
	}
	bound := t.fds[d]
	switch {
	case f != nil:
	case addr == 0 && fd == event.NoFD:
		return t.fileOfSock(sock)
	case bound.file != nil && (addr == 0 || bound.file.Addr == 0) && !bound.file.Ended:
		f = bound.file
	}
	if f != nil && f.Ended {
		if start <= f.EndTime {
			return f
		}
		f = nil // a new one at the same address
	}
	if f != nil && sock != 0 && f.Sock != nil && f.Sock.Addr != sock && f.Sock.Addr != 0 {
		t.endFile(f, EndReused)
		f = nil
	}
	if f == nil {
		f = t.newFile(pid, addr, start)
	}
	if f.Addr == 0 && addr != 0 {
		f.Addr = addr
		t.files[addr] = f
	}
	if fd != event.NoFD && pid != 0 && bound.file != f && bound.since <= start {
		t.bind(d, f, start)
	}
	if sock != 0 && f.Sock == nil {
		t.attach(f, t.sockAt(sock))
	}
	return f
}

// fileAt returns what the address named at that time. nil means not known.
func (t *Timeline) fileAt(addr event.Addr, at event.Time) *File {
	if addr == 0 {
		return nil
	}
	f := t.files[addr]
	for f != nil && f.prev != nil && f.First > at {
		f = f.prev
	}
	return f
}

func (t *Timeline) fileOfSock(addr event.Addr) *File {
	if s := t.socks[addr]; addr != 0 && s != nil {
		return s.File
	}
	return nil
}

func (t *Timeline) newFile(pid uint32, addr event.Addr, first event.Time) *File {
	t.fileIDs++
	f := &File{ID: t.fileIDs, Addr: addr, PID: pid, LastFD: event.NoFD, First: first}
	if addr != 0 {
		if old := t.files[addr]; old != nil {
			if !old.Ended {
				t.endFile(old, EndReused)
			}
			old.prev = nil
			f.prev = old
		}
		t.files[addr] = f
	}
	t.stats.Files++
	return f
}

// bind makes the descriptor name f. What it named before has lost it, seen or not.
func (t *Timeline) bind(d descriptor, f *File, since event.Time) {
	if old := t.fds[d].file; old != nil && old != f {
		t.unbind(d, old)
		if len(old.FDs) == 0 && !old.Ended && !old.Shared {
			t.endFile(old, EndReused)
		}
	}
	t.fds[d] = binding{f, since}
	if !slices.Contains(f.FDs, d) {
		f.FDs = append(f.FDs, d)
	}
	if f.PID == d.PID || f.PID == 0 {
		f.PID, f.LastFD = d.PID, d.FD
	}
}

// unbind takes the descriptor from f. Another thread may have been given the number before the close was recorded;
// then it stays with what it names now.
func (t *Timeline) unbind(d descriptor, f *File) {
	if i := slices.Index(f.FDs, d); i >= 0 {
		f.FDs = slices.Delete(f.FDs, i, i+1)
	}
	if t.fds[d].file == f {
		delete(t.fds, d)
	}
}

// endFile ends an open file: its descriptors and interests go, its name stays for a while.
func (t *Timeline) endFile(f *File, by EndCause) {
	if f.Ended {
		return
	}
	f.Ended, f.EndSeq, f.EndTime, f.EndedBy = true, t.seq, t.now, by
	for _, d := range f.FDs {
		if t.fds[d].file == f {
			delete(t.fds, d)
		}
	}
	f.FDs = f.FDs[:0]
	for len(f.Interests) > 0 {
		t.dropInterest(f.Interests[len(f.Interests)-1])
	}
	if s := f.Sock; s != nil && (s.State == event.Closed || !s.TCP) {
		t.endSock(s)
	}
	t.ended.addFile(f, t.now)
}

func (t *Timeline) closeFD(ev *event.Event) {
	if ev.Call == event.CallCloseRange {
		t.closeRange(ev)
		return
	}
	d := descriptor{ev.PID, ev.FD}
	start := startOf(ev)
	bound := t.fds[d]
	f := t.fileAt(ev.FileAddr, start)
	if f == nil && bound.since <= start {
		f = bound.file
	}
	t.sub.File = f
	if ev.Ret == badFD || f == nil {
		if ev.Ret != badFD {
			t.closeEpollFD(d, start)
		}
		return
	}
	f.LastCall = markOf(ev)
	if f.Ended {
		if f.EndedBy == EndRelease {
			f.EndedBy = EndClose
		}
		t.closeEpollFD(d, start)
		return
	}
	t.closeEpollFD(d, start)
	t.closed(d, f, ev)
	if t.closedInside(f, ev) || len(f.FDs) == 0 && !f.Shared {
		t.endClosed(f, ev)
	}
}

// badFD is -EBADF: nothing was closed. After any other error of close the descriptor is gone.
const badFD = -9

// closeRange closes every known descriptor from FD to Data, as close_range names them.
func (t *Timeline) closeRange(ev *event.Event) {
	if ev.Ret < 0 {
		return
	}
	last := ev.Data
	for d, b := range t.fds {
		if d.PID != ev.PID || d.FD < ev.FD || uint64(d.FD) > last || b.since > startOf(ev) {
			continue
		}
		t.closeEpollFD(d, startOf(ev))
		t.closed(d, b.file, ev)
		if t.closedInside(b.file, ev) || len(b.file.FDs) == 0 && !b.file.Shared {
			t.endClosed(b.file, ev)
		}
	}
}

func (t *Timeline) dup(ev *event.Event) {
	f := t.named(ev, ev.SockAddr)
	t.sub.File = f
	if ev.Ret < 0 || f == nil || f.Ended {
		return
	}
	f.LastCall = markOf(ev)
	d := descriptor{ev.PID, int32(ev.Ret)}
	if d.FD == ev.FD {
		return
	}
	t.closeEpollFD(d, startOf(ev))
	if old := t.fds[d].file; old != nil && old != f {
		t.closed(d, old, ev)
		if t.closedInside(old, ev) || len(old.FDs) == 0 && !old.Shared {
			t.endClosed(old, ev)
		}
	}
	first := f.LastFD
	t.bind(d, f, ev.Time)
	f.LastFD = first
	if ep := t.epfds(descriptor{ev.PID, ev.FD}); ep != nil {
		t.bindEpoll(d, ep)
	}
}

func (t *Timeline) releaseFile(ev *event.Event) {
	f := t.fileAt(ev.FileAddr, ev.Time)
	s := t.sock(ev)
	if f == nil && s != nil {
		f = s.File
	}
	t.sub.File, t.sub.Sock = f, s
	if s == nil && f != nil {
		s = f.Sock
	}
	if s != nil {
		s.learn(ev)
	}
	if f != nil {
		t.endFile(f, EndRelease)
	}
}

func startOf(ev *event.Event) event.Time {
	if ev.Start != 0 {
		return ev.Start
	}
	return ev.Time
}
