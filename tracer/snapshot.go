package tracer

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/proc"
)

// takeIn enters what existed before into the stream: open files by the kernel's iterator, whose records carry
// queues and addresses as they are at that moment; interest lists from /proc; and the threads that sleep in epoll_wait,
// whose return would otherwise come without its call.
//
// Each event is dated before its source is read: whatever changes meanwhile comes as an event of its own with a later
// time, and wins.
func (t *Tracer) takeIn(pids []uint32) error {
	files, err := runFileIterator(t.coll.Programs[epwatchProgIterTargetFiles])
	if err != nil {
		return fmt.Errorf("taking in open files: %w", err)
	}
	byDescriptor := make(map[[2]uint32]event.Addr, len(files))
	for _, f := range files {
		byDescriptor[[2]uint32{f.Pid, uint32(f.Fd)}] = event.Addr(f.File)
	}
	instances := make(map[[2]uint32]event.Addr)
	ops, err := t.eventpollOperations()
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Operations == ops {
			instances[[2]uint32{f.Pid, uint32(f.Fd)}] = event.Addr(f.PrivateData)
			if err := t.takeInInterests(f, byDescriptor); err != nil {
				return err
			}
		}
	}
	for _, pid := range pids {
		if err := t.takeInSleepers(pid, instances); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tracer) eventpollOperations() (uint64, error) {
	var ops uint64
	if err := t.coll.Variables[epwatchVarEventpollFops].Get(&ops); err != nil {
		return 0, fmt.Errorf("reading back the configuration: %w", err)
	}
	return ops, nil
}

// takeInInterests makes events of one instance's interest list. A process that ends meanwhile is no error.
func (t *Tracer) takeInInterests(instance epwatchListedFile, byDescriptor map[[2]uint32]event.Addr) error {
	at := Now()
	interests, err := proc.Interests(instance.Pid, instance.Fd)
	if errors.Is(err, proc.ErrGone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("taking in the interest list of fd %d of process %d: %w", instance.Fd, instance.Pid, err)
	}
	for _, i := range interests {
		t.found = append(t.found, event.Event{
			Time: at, Kind: event.KindSnapshot, PID: instance.Pid, FD: i.FD, EpFD: instance.Fd,
			EpollAddr: event.Addr(instance.PrivateData), FileAddr: byDescriptor[[2]uint32{instance.Pid, uint32(i.FD)}],
			Events: i.Events, Data: i.Data,
		})
	}
	return nil
}

// takeInSleepers writes down the call that each thread sleeps in, as if its entry had been seen.
func (t *Tracer) takeInSleepers(pid uint32, instances map[[2]uint32]event.Addr) error {
	threads, err := proc.Threads(pid)
	if errors.Is(err, proc.ErrGone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("taking in the threads of process %d: %w", pid, err)
	}
	for _, tid := range threads {
		at := Now()
		call, blocked, err := proc.CurrentCall(pid, tid)
		if err != nil || !blocked {
			continue // it is gone, or it runs and its next call will be seen
		}
		id, ok := waitCalls()[call.Number]
		if !ok {
			continue
		}
		epfd := int32(call.Args[0])
		instance := instances[[2]uint32{pid, uint32(epfd)}]
		// Only where the thread has not entered a call that was seen: that one is newer. No program sees this entry (entered_already).
		err = t.coll.Maps[epwatchMapCalls].Update(uint64(pid)<<32|uint64(tid), epwatchCall{
			Start: uint64(at), Pointer: call.Args[1], Epoll: uint64(instance), Fd: event.NoFD, Epfd: epfd, Call: uint8(id),
			Entered: 3, Number: uint32(call.Number),
		}, ebpf.UpdateNoExist)
		if errors.Is(err, ebpf.ErrKeyExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("taking in thread %d: %w", tid, err)
		}
		t.found = append(t.found, event.Event{
			Time: at, Kind: event.KindWaitEnter, Call: id, PID: pid, TID: tid, FD: event.NoFD, EpFD: epfd, EpollAddr: instance,
			MaxEvents: uint32(call.Args[2]), Timeout: -1,
		})
	}
	return nil
}
