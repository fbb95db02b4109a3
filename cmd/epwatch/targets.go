package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/proc"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/tracer"
)

// targets are the processes under observation: who they are and which of them still live. A process is held by a
// descriptor of its own, so that another one with its number is never taken for it.
type targets struct {
	follow bool // children join
	later  bool // processes of a name join when they start

	order []uint32       // in which they joined
	live  map[uint32]int // their pidfds; -1 for one that ended before it could be held
	names map[uint32]string
	told  func(event.Time, render.Process)
	polls []unix.PollFd
}

func newTargets(follow, later bool) *targets {
	return &targets{
		follow: follow, later: later, live: make(map[uint32]int), names: make(map[uint32]string),
		told: func(event.Time, render.Process) {},
	}
}

// parsePIDs reads the command line.
func parsePIDs(words []string) ([]uint32, error) {
	var pids []uint32
	for _, w := range words {
		pid, err := strconv.ParseUint(w, 10, 31)
		if err != nil || pid == 0 {
			return nil, usagef("invalid PID %q (a positive number)", w)
		}
		if !slices.Contains(pids, uint32(pid)) {
			pids = append(pids, uint32(pid))
		}
	}
	return pids, nil
}

// add takes a process in. The descriptor comes first: what is looked at then is the process that it holds, or it is gone.
func (t *targets) add(pid uint32) error {
	if pid == uint32(os.Getpid()) {
		return errors.New("this is epwatch itself")
	}
	fd, err := unix.PidfdOpen(int(pid), 0)
	p, unfit := proc.Stat(pid)
	switch {
	case unfit != nil && err == nil:
		_ = unix.Close(fd)
		return plainCause(unfit)
	case unfit != nil:
		return plainCause(unfit) // it knows more: that this is a thread, say
	case err != nil:
		return err
	}
	t.put(pid, p.Comm, fd)
	return nil
}

// plainCause leaves out the words that the caller has already.
func plainCause(err error) error {
	for _, known := range []error{proc.ErrGone, proc.ErrZombie, proc.ErrKernelThread, proc.ErrPermission} {
		if errors.Is(err, known) {
			return known
		}
	}
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

func (t *targets) put(pid uint32, comm string, fd int) {
	if _, known := t.live[pid]; known {
		t.drop(pid)
	} else {
		t.order = append(t.order, pid)
	}
	t.live[pid], t.names[pid] = fd, comm
}

// addByName takes in all processes of a name; none is fine, since others may start.
func (t *targets) addByName(name string) error {
	pids, err := proc.ByComm(name)
	if err != nil {
		return fmt.Errorf("looking for processes called %s: %w", name, err)
	}
	for _, pid := range pids {
		if _, known := t.live[pid]; known {
			continue
		}
		_ = t.add(pid) // one that has just ended, a zombie, a kernel thread: not meant
	}
	return nil
}

// addChildren takes in the descendants that exist already.
func (t *targets) addChildren() {
	all, err := proc.All()
	if err != nil {
		return // as good as a process without children; who looks at /proc next will tell
	}
	children := make(map[uint32][]uint32)
	for _, pid := range all {
		if p, err := proc.Stat(pid); err == nil {
			children[p.Parent] = append(children[p.Parent], pid)
		}
	}
	for i := 0; i < len(t.order); i++ {
		for _, child := range children[t.order[i]] {
			if _, known := t.live[child]; !known {
				_ = t.add(child)
			}
		}
	}
}

// pids returns the processes in the order in which they joined.
func (t *targets) pids() []uint32 { return slices.Clone(t.order) }

func (t *targets) comm(pid uint32) string { return t.names[pid] }

func (t *targets) processes() []render.Process {
	out := []render.Process{}
	for _, pid := range t.order {
		out = append(out, render.Process{PID: pid, Comm: t.names[pid]})
	}
	return out
}

// title names the targets in an error.
func (t *targets) title() string {
	const most = 3
	switch n := len(t.order); {
	case n == 0:
		return "processes that start later"
	case n > most:
		return fmt.Sprintf("%s and %d more", numbersOf(t.order[:most]), n-most)
	default:
		return numbersOf(t.order)
	}
}

// notes says what is worth knowing before anything happens.
func (t *targets) notes(o *observation) {
	if len(t.order) == 0 {
		o.print.Note(&render.Note{Time: tracer.Now(), Text: "no process has that name so far"})
	}
	var without []uint32
	for _, pid := range t.order {
		if none, err := hasNoEpoll(pid); err == nil && none {
			without = append(without, pid)
		}
	}
	if (t.follow || t.later) && len(without) < len(t.order) {
		return // a parent often has none and only looks after its children
	}
	for _, pid := range without {
		o.print.Note(&render.Note{
			Time: tracer.Now(), PID: pid, Text: fmt.Sprintf("process %d (%s) has no epoll instance so far", pid, t.names[pid]),
		})
	}
}

func hasNoEpoll(pid uint32) (bool, error) {
	held, err := proc.Descriptors(pid)
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(held, func(d proc.Descriptor) bool { return d.Kind == proc.KindEpoll }), nil
}

// observe follows who joins and under which name.
func (t *targets) observe(ev *event.Event) {
	switch ev.Kind {
	case event.KindFork:
		if child := uint32(ev.Ret); t.follow && ev.Ret > 0 {
			t.joins(ev.Time, child, t.names[ev.PID])
		}
	case event.KindExec:
		t.joins(ev.Time, ev.PID, commOf(ev.PID))
	}
}

// joins notes a process that the kernel's side has taken in, or its new name.
func (t *targets) joins(at event.Time, pid uint32, comm string) {
	if now := commOf(pid); now != "" {
		comm = now // it may be over already, and then it had its parent's
	}
	_, known := t.live[pid]
	if known && t.names[pid] == comm {
		return
	}
	if known {
		t.names[pid] = comm
	} else {
		fd, err := unix.PidfdOpen(int(pid), 0)
		if err != nil {
			fd = -1
		}
		t.put(pid, comm, fd)
	}
	t.told(at, render.Process{PID: pid, Comm: comm})
}

// allEnded reports whether no target is left, and lets go of those that have ended.
func (t *targets) allEnded() bool {
	t.polls = t.polls[:0]
	for _, pid := range t.order {
		t.polls = append(t.polls, unix.PollFd{Fd: int32(t.live[pid]), Events: unix.POLLIN})
	}
	if _, err := unix.Poll(t.polls, 0); err != nil {
		return false
	}
	left := t.order[:0]
	for i, pid := range t.order {
		if t.polls[i].Fd >= 0 && t.polls[i].Revents == 0 {
			left = append(left, pid)
			continue
		}
		t.drop(pid)
		delete(t.live, pid)
	}
	t.order = left
	if len(t.names) > len(t.live)+maxNames {
		maps.DeleteFunc(t.names, func(pid uint32, _ string) bool { _, lives := t.live[pid]; return !lives })
	}
	return len(t.live) == 0
}

// maxNames is of how many processes that have ended the name is kept, for findings that come late.
const maxNames = 4096

func (t *targets) drop(pid uint32) {
	if fd := t.live[pid]; fd >= 0 {
		_ = unix.Close(fd)
	}
}

func (t *targets) close() {
	for pid := range t.live {
		t.drop(pid)
	}
	clear(t.live)
}
