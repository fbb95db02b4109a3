package server

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options say how to run a server. Descriptors are plain numbers, not os.File: wrapping a pipe could wake the Go
// runtime's poller, which would give the process a second epoll instance.
type Options struct {
	Variant Variant
	Address string // IPv4 or IPv6 to listen on; empty is 127.0.0.1
	Port    int    // 0 takes a free one
	Out     int    // descriptor for the documented lines; 0 is standard output
	Journal int    // descriptor of a pipe for the journal; 0 is none
	Gate    int    // descriptor from which one byte is read before anything else is done; 0 is none
	// Pace is the client's time-out, by which servers of the gallery measure what must be seen to last; 0 is DefaultTimeout.
	Pace time.Duration
}

// errParentGone ends a server whose gate or journal lost its other end.
var errParentGone = errors.New("the observing process is gone")

// Serve runs the variant's server and returns only when it cannot go on. It takes the process over: the calling
// goroutine keeps its thread, garbage collection stops (its timers would start the runtime's poller), and SIGINT
// and SIGTERM get their default action back, so that a signal ends the process with all sockets open and the kernel
// closes them, as in the notes. Nothing else in the process may use a timer, a network connection or a pollable file.
func Serve(o Options) error {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	if o.Gate != 0 {
		if err := passGate(o.Gate); err != nil {
			return err
		}
	}
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM} {
		if err := defaultAction(sig); err != nil {
			return fmt.Errorf("restoring the default action of %v: %w", sig, err)
		}
	}
	if o.Journal != 0 {
		go endWithReader(o.Journal)
	}
	if o.Variant.serve != nil {
		return perform(o)
	}
	l, err := newLoop(o)
	if err != nil {
		return err
	}
	return l.run()
}

// passGate blocks until the observer has attached and writes its byte.
func passGate(fd int) error {
	var b [1]byte
	for {
		n, err := unix.Read(fd, b[:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("waiting for the start: %w", err)
		case n == 0:
			return fmt.Errorf("waiting for the start: %w", errParentGone)
		default:
			return nil
		}
	}
}

// endWithReader ends the process when the journal's reader goes away, also by SIGKILL and while the loop sleeps. A
// parent-death signal alone would not do: it follows the parent's thread, and Go threads come and go.
func endWithReader(journal int) {
	fds := []unix.PollFd{{Fd: int32(journal)}}
	for {
		_, err := unix.Poll(fds, -1)
		if err == nil && fds[0].Revents != 0 {
			_ = unix.Kill(unix.Getpid(), unix.SIGTERM)
		}
		if err != nil && err != unix.EINTR {
			return
		}
	}
}

// defaultAction undoes the Go runtime's handler, which would die from the signal too, but only after it was
// delivered once to the handler and raised a second time.
func defaultAction(sig unix.Signal) error {
	var dfl [4]uint64 // struct sigaction: SIG_DFL, no flags, no restorer, empty mask
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&dfl)), 0, 8, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
