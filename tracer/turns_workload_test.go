package tracer

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// tourTurn is what counts as slow in the tour.
	tourTurn = 5 * time.Millisecond
	// longTurn is how long each turn of the workload is.
	longTurn = 200 * time.Millisecond
)

// turnPlays are the turns of the workload, each between two waits of one thread.
func turnPlays() []struct {
	name string
	play func() error
} {
	return []struct {
		name string
		play func() error
	}{
		{"short", func() error { return nil }},
		{"computing", func() error { return burn(longTurn) }},
		{"sleeping", func() error { return sleep(longTurn) }},
		{"reading", readSlowly},
		{"runnable", func() error { return burn(longTurn) }},
		{"stopped", stopSelf},
		{"many", sleepInMany},
	}
}

// playTurns says for each of its turns which thread played it and when.
func playTurns() error {
	for _, p := range turnPlays() {
		begun := Now()
		play := func() error { return playTurn(p.play) }
		if p.name == "runnable" {
			alone := play
			play = func() error { return besideAnother(alone) }
		}
		if err := play(); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Printf("turn %s %d %d %d\n", p.name, unix.Gettid(), begun, Now())
	}
	return nil
}

// playTurn does something between two waits that return at once.
func playTurn(play func() error) error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var events [1]unix.EpollEvent
	if _, err := unix.EpollWait(fd, events[:], 0); err != nil {
		return err
	}
	if err := play(); err != nil {
		return err
	}
	_, err = unix.EpollWait(fd, events[:], 0)
	return err
}

// burn computes for so long, by the thread's own clock. The call is raw: from others the runtime may make a thread wait
// for its turn in a futex.
func burn(d time.Duration) error {
	clock := func() (time.Duration, error) {
		var ts unix.Timespec
		_, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_THREAD_CPUTIME_ID, uintptr(unsafe.Pointer(&ts)), 0)
		if errno != 0 {
			return 0, errno
		}
		return time.Duration(ts.Nano()), nil
	}
	begun, err := clock()
	for now := begun; err == nil && now-begun < d; {
		now, err = clock()
	}
	return err
}

func sleep(d time.Duration) error {
	left := unix.NsecToTimespec(d.Nanoseconds())
	for {
		err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &left, &left)
		if err != unix.EINTR { // the runtime's own signal
			return err
		}
	}
}

// readSlowly reads a pipe into which another thread writes late.
func readSlowly() error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	wrote := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := sleep(longTurn)
		if err == nil {
			_, err = unix.Write(pipe[1], []byte("x"))
		}
		wrote <- err
	}()
	var buffer [1]byte
	if _, err := unix.Read(pipe[0], buffer[:]); err != nil {
		return err
	}
	return <-wrote
}

// besideAnother plays on a processor that another thread wants as much.
func besideAnother(play func() error) error {
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	for cpu := range 1024 {
		if before.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	var done atomic.Bool
	pinned := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		pinned <- unix.SchedSetaffinity(0, &one)
		for !done.Load() {
		}
	}()
	if err := <-pinned; err != nil {
		return err
	}
	defer done.Store(true)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	return errors.Join(play(), unix.SchedSetaffinity(0, &before))
}

// stopSelf is stopped by a signal until a child sends another one.
func stopSelf() error {
	pid := os.Getpid()
	child, err := os.StartProcess("/proc/self/exe", []string{"continue"}, &os.ProcAttr{
		Env: []string{fmt.Sprintf("%s=%s%d", workloadVariable, continuing, pid)}, Files: []*os.File{nil, nil, os.Stderr},
	})
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return err
	}
	_, err = child.Wait()
	return err
}

// continuing is the workload that lets a stopped process, whose number follows, go on.
const continuing = "continue "

func letGoOn(pid string) error {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	for {
		status, err := os.ReadFile("/proc/" + pid + "/status")
		if err != nil {
			return err
		}
		if strings.Contains(string(status), "\nState:\tT") {
			break
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(longTurn)
	return unix.Kill(n, unix.SIGCONT)
}

// sleepInMany sleeps in more calls than are told apart, in one of them for long, and that is not the first. On a busy machine
// a thread may come to its sleep so late that hardly any of a short one is left.
func sleepInMany() error {
	const short = 20 * time.Millisecond
	ts := unix.NsecToTimespec((4 * short).Nanoseconds())
	calls := []func() error{
		func() error { return sleep(short) },
		func() error { _, err := unix.Poll(nil, int((2 * short).Milliseconds())); return err },
		func() error {
			_, err := unix.Select(0, nil, nil, nil, &unix.Timeval{Usec: (3 * short).Microseconds()})
			return err
		},
		func() error { _, err := unix.Ppoll(nil, &ts, nil); return err },
		readSlowly,
	}
	for _, call := range calls {
		if err := call(); err != nil {
			return err
		}
	}
	return nil
}
