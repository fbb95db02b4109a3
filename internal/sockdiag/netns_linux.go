package sockdiag

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// inNetNS runs do in the network namespace of descriptor fd, or where the caller is when fd is 0. The thread that
// changed its namespace is never used for anything else: it ends with its goroutine.
func inNetNS(fd int, do func() error) error {
	if fd == 0 {
		return do()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering the network namespace: %w%s", err, setnsHint(err))
			return
		}
		done <- do()
	}()
	return <-done
}

func setnsHint(err error) string {
	if errors.Is(err, unix.EPERM) {
		return " (needs CAP_SYS_ADMIN)"
	}
	return ""
}
