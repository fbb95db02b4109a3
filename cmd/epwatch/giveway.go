package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/proc"
)

// giveWay has this process read in batches as the scheduler understands it: a thread that wakes does not take the processor from
// the server that is observed, or from its client, but waits until one of them is done with its slice. It keeps its full share, so
// no record is lost to it. It holds for all threads, also those to come, and for programs that are started later: there is to
// be none. Whoever chose another policy for epwatch keeps it.
func giveWay() error {
	threads, err := proc.Threads(uint32(os.Getpid()))
	if err != nil {
		return fmt.Errorf("giving way to others: %w", err)
	}
	for _, tid := range threads {
		attr, err := unix.SchedGetAttr(int(tid), 0)
		if err == nil && attr.Policy == unix.SCHED_NORMAL {
			attr.Policy = unix.SCHED_BATCH
			err = unix.SchedSetAttr(int(tid), attr, 0)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // it ended meanwhile
			return fmt.Errorf("giving way to others: thread %d: %w", tid, err)
		}
	}
	return nil
}
