package server

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// stage is what one thread of a gallery server stands on: the listener, the lines, the journal, and each call with its
// errors looked at. There is nothing that such a server could do about a failed epoll_ctl but end, and saying so at every
// call would hide the few lines that matter: what must not fail ends the server by a failure, which perform turns into its
// error. Raw calls only, as in the documented loop.
type stage struct {
	faulty   bool          // guilty, not the repaired twin
	pace     time.Duration // the client's time-out: every threshold of a trace is half of it
	listener int
	port     int
	out      output
	journal  journal
	events   [maxEvents]unix.EpollEvent
	ready    []ready
}

// ready is one delivery.
type ready struct {
	fd   int
	mask event.Mask
}

// failure ends a server.
type failure struct{ error }

func must(doing string, err error) {
	if err != nil {
		panic(failure{fmt.Errorf("%s: %w", doing, err)})
	}
}

// perform runs a gallery server, which does not return.
func perform(o Options) (err error) {
	s := &stage{pace: o.Pace, faulty: len(o.Variant.Expect) > 0, out: output{fd: o.Out}, journal: journal{fd: o.Journal}}
	if s.pace == 0 {
		s.pace = DefaultTimeout
	}
	if s.out.fd == 0 {
		s.out.fd = 1
	}
	if s.listener, s.port, err = listen(o.Address, o.Port); err != nil {
		return err
	}
	defer func() {
		f, ok := recover().(failure)
		if !ok {
			panic("a server of the gallery returned, or failed in a way it cannot")
		}
		err = f.error
	}()
	o.Variant.serve(s)
	return nil
}

// open says that the server is ready for its client.
func (s *stage) open() {
	s.say("listen on port %d", s.port)
	must("writing the journal", s.journal.listen(s.listener, s.port))
}

// threads runs so many threads, and returns when all have begun.
func (s *stage) threads(n int, part func(*stage)) {
	begun := make(chan bool)
	for range n {
		s.thread(func(s *stage) {
			begun <- true
			part(s)
		})
		<-begun
	}
}

// thread runs a part of the server on a thread of its own, with a stage of its own.
func (s *stage) thread(part func(*stage)) {
	own := &stage{faulty: s.faulty, pace: s.pace, listener: s.listener, out: output{fd: s.out.fd}, journal: journal{fd: s.journal.fd}}
	go func() {
		runtime.LockOSThread()
		defer func() {
			if f, ok := recover().(failure); ok {
				fmt.Fprintln(os.Stderr, f.error)
				_ = unix.Kill(unix.Getpid(), unix.SIGTERM)
			}
		}()
		part(own)
	}()
}

func (s *stage) say(format string, args ...any) { must("printing", s.out.print(format, args...)) }

// epoll makes an instance.
func (s *stage) epoll() int {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	must("creating an epoll instance", err)
	return ep
}

func (s *stage) watch(ep, fd int, mask event.Mask) { s.control(ep, unix.EPOLL_CTL_ADD, fd, mask) }

func (s *stage) change(ep, fd int, mask event.Mask) { s.control(ep, unix.EPOLL_CTL_MOD, fd, mask) }

func (s *stage) unwatch(ep, fd int) { s.control(ep, unix.EPOLL_CTL_DEL, fd, 0) }

func (s *stage) control(ep, op, fd int, mask event.Mask) {
	ev := unix.EpollEvent{Events: uint32(mask), Fd: int32(fd)}
	must("changing the interest list", unix.EpollCtl(ep, op, fd, &ev))
}

// forever lets a wait last until something is ready.
const forever time.Duration = -1

// wait returns what is ready; it holds until the next call.
func (s *stage) wait(ep int, patience time.Duration) []ready {
	ms := -1
	if patience >= 0 {
		ms = int(patience.Milliseconds())
	}
	for {
		n, err := unix.EpollWait(ep, s.events[:], ms)
		if err == unix.EINTR {
			continue
		}
		must("waiting for events", err)
		s.ready = s.ready[:0]
		for _, ev := range s.events[:n] {
			s.ready = append(s.ready, ready{int(ev.Fd), event.Mask(ev.Events)})
		}
		return s.ready
	}
}

// admit accepts a connection and registers it, or says no when there is none. The line comes after the registration, so that
// whoever has read it knows that input will call the item's callback.
func (s *stage) admit(ep int, mask event.Mask) (fd int, ok bool) {
	fd, peer, err := s.tryAccept()
	must("accepting a connection", err)
	if fd < 0 {
		return fd, false
	}
	s.watch(ep, fd, mask)
	s.sayAccepted(peer)
	return fd, true
}

// accept only accepts.
func (s *stage) accept() (fd int, ok bool) {
	fd, peer, err := s.tryAccept()
	must("accepting a connection", err)
	if fd >= 0 {
		s.sayAccepted(peer)
	}
	return fd, fd >= 0
}

func (s *stage) sayAccepted(peer netip.AddrPort) { s.say("[+] accept client %s", peer) }

// tryAccept leaves it to the server what to do about an error; no connection is none.
func (s *stage) tryAccept() (int, netip.AddrPort, error) {
	for {
		fd, peer, err := unix.Accept4(s.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			return fd, addrPort(peer), nil
		case unix.EAGAIN:
			return -1, netip.AddrPort{}, nil
		case unix.EINTR, unix.ECONNABORTED:
		default:
			return -1, netip.AddrPort{}, err
		}
	}
}

// The answers of read besides a number of bytes.
const (
	endOfStream = 0
	nothingYet  = -1
)

// read does one read, tells the journal, and returns how many bytes it got. A connection that failed has ended.
func (s *stage) read(fd int, buf []byte) int {
	for {
		n, err := unix.Read(fd, buf)
		must("reading", s.journal.read(fd, n, err))
		switch err {
		case nil:
			return n
		case unix.EINTR:
		case unix.EAGAIN:
			return nothingYet
		default:
			return endOfStream
		}
	}
}

// send writes all of it. A client that is gone does not mind.
func (s *stage) send(fd int, text string) { _ = writeAll(fd, []byte(text)) }

// splice is read with splice(2) into a pipe.
func (s *stage) splice(fd, pipe int) int {
	for {
		n, err := unix.Splice(fd, nil, pipe, nil, 4096, unix.SPLICE_F_NONBLOCK)
		must("splicing", s.journal.splice(fd, int(n), err))
		switch err {
		case nil:
			return int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return nothingYet
		default:
			return endOfStream
		}
	}
}

// sendSome writes as much as the socket takes and returns the rest.
func (s *stage) sendSome(fd int, text string) string {
	for text != "" {
		n, err := unix.Write(fd, []byte(text[:min(len(text), 256<<10)]))
		if err == unix.EAGAIN {
			break
		}
		if err != nil {
			return ""
		}
		text = text[n:]
	}
	return text
}

// drain reads up to EAGAIN, and reports whether there was the end of the stream.
func (s *stage) drain(fd int) (text string, ended bool) {
	var buf [64]byte
	for {
		n := s.read(fd, buf[:])
		if n <= 0 {
			return text, n == endOfStream
		}
		text += string(buf[:n])
	}
}

// echo sends back what there is to read, up to EAGAIN, and reports whether there was the end of the stream.
func (s *stage) echo(fd int) (ended bool) {
	text, ended := s.drain(fd)
	if text != "" {
		s.send(fd, text)
	}
	return ended
}

func (s *stage) close(fd int) {
	must("closing", unix.Close(fd))
	s.say("[+] connection closed")
}

// until blocks the thread until one of the poll events has come: it stands for work that takes until then, and makes every run
// the same. poll(2) leaves no trace in a recording.
func (s *stage) until(fd int, events int16) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		_, err := unix.Poll(fds, -1)
		if err != unix.EINTR {
			must("waiting", err)
			return
		}
	}
}

// eventfd makes a counter with which a thread wakes another one's loop.
func (s *stage) eventfd() int {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	must("making an eventfd", err)
	return fd
}

func (s *stage) signal(counter int) {
	one := [8]byte{1}
	_, err := unix.Write(counter, one[:])
	must("signalling an eventfd", err)
}

// sleep stands for a call that blocks.
func (s *stage) sleep(d time.Duration) {
	left := unix.NsecToTimespec(d.Nanoseconds())
	for unix.Nanosleep(&left, &left) == unix.EINTR {
	}
}

// compute takes so much of a processor's time, however long that lasts on a busy machine.
func (s *stage) compute(d time.Duration) {
	for begin := processorTime(); processorTime()-begin < d; {
	}
}

// processorTime is what this thread has used so far.
func processorTime() time.Duration {
	var used unix.Timespec
	must("reading the clock", unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used))
	return time.Duration(used.Nano())
}
