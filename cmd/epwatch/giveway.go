package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// giveWay has this process read in batches as the scheduler understands it: a thread that wakes does not take the processor from
// the server that is observed, or from its client, but waits until one of them is done with its slice. It keeps its full share, so
// no record is lost to it. It holds for all threads, also those to come, and for programs that are started later: there is to
// be none. Whoever chose another policy for epwatch keeps it.
func giveWay() error {
	const tasks = "/proc/self/task"
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return fmt.Errorf("giving way to others: %w", err)
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return fmt.Errorf("giving way to others: %s/%s: %w", tasks, t.Name(), err)
		}
		attr, err := unix.SchedGetAttr(tid, 0)
		if err == nil && attr.Policy == unix.SCHED_NORMAL {
			attr.Policy = unix.SCHED_BATCH
			err = unix.SchedSetAttr(tid, attr, 0)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // it ended meanwhile
			return fmt.Errorf("giving way to others: thread %d: %w", tid, err)
		}
	}
	return nil
}
