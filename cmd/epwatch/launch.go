package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// newLaunch is the child of run before it becomes the command: it waits until everything is attached, and then runs the
// command in its place. Nothing of epwatch's is left then but the process number.
func newLaunch() *cobra.Command {
	var gate, report int
	cmd := &cobra.Command{
		Use:    "launch PATH NAME [ARG...]",
		Hidden: true,
		Args:   cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			unix.CloseOnExec(gate)
			unix.CloseOnExec(report)
			if !opened(gate) {
				return &statusError{status: exitFailed} // epwatch is gone, or said why itself
			}
			err := syscall.Exec(args[0], args[1:], os.Environ())
			_, _ = unix.Write(report, fmt.Appendf(nil, "%d", err))
			return &statusError{status: exitFailed}
		},
	}
	cmd.Flags().IntVar(&gate, "gate-fd", 0, "descriptor to wait on")
	cmd.Flags().IntVar(&report, "report-fd", 0, "descriptor for why the command could not be run")
	return cmd
}

// opened waits for the byte that says go.
func opened(gate int) bool {
	var b [1]byte
	for {
		n, err := unix.Read(gate, b[:])
		if !errors.Is(err, unix.EINTR) {
			return n == 1
		}
	}
}

// command is what run runs.
type command struct {
	words  []string
	pid    int
	gate   int // write end
	report int // read end
}

// findCommand looks the command up as a shell would.
func findCommand(word string) (string, error) {
	path, err := exec.LookPath(word)
	if lookup := (*exec.Error)(nil); errors.As(err, &lookup) {
		err = lookup.Err
	}
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", cause(err)
	}
	return path, nil
}

// start makes the process, which then waits. It inherits what epwatch inherited, descriptors too, and nothing that epwatch
// opened: the two pipes close when the command begins.
func (c *command) start(path string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the epwatch program: %w", err)
	}
	var gate, report [2]int
	if err := unix.Pipe2(gate[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	if err := unix.Pipe2(report[:], unix.O_CLOEXEC); err != nil {
		_, _ = unix.Close(gate[0]), unix.Close(gate[1])
		return fmt.Errorf("making a pipe: %w", err)
	}
	c.gate, c.report = gate[1], report[0]
	theirs := []int{gate[0], report[1]}
	// No other descriptor number is taken for them than a free one: those from 3 on may be the command's.
	for _, fd := range theirs {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
	args := append([]string{
		"epwatch", "launch", fmt.Sprintf("--gate-fd=%d", gate[0]), fmt.Sprintf("--report-fd=%d", report[1]), "--", path,
	}, c.words...)
	c.pid, err = syscall.ForkExec(self, args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	for _, fd := range theirs {
		_ = unix.Close(fd)
	}
	if err != nil {
		c.abandon()
		return fmt.Errorf("starting it: %w", err)
	}
	return nil
}

// abandon gives the command up before it began.
func (c *command) abandon() {
	for _, fd := range []*int{&c.gate, &c.report} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

// begin lets the process become the command. The error is the kernel's.
func (c *command) begin() error {
	defer c.abandon()
	if _, err := unix.Write(c.gate, []byte{1}); err != nil {
		return err
	}
	var word [16]byte
	for {
		n, err := unix.Read(c.report, word[:])
		var number int
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return nil // closed by the kernel, because the command runs
		}
		if _, err := fmt.Sscan(string(word[:n]), &number); err != nil {
			return fmt.Errorf("understanding the launcher: %w", err)
		}
		return syscall.Errno(number)
	}
}

// wait waits until the command has ended.
func (c *command) wait() (syscall.WaitStatus, error) {
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(c.pid, &status, 0, nil)
		if !errors.Is(err, syscall.EINTR) {
			return status, err
		}
	}
}

// statusOf is a command's own status as a shell tells it.
func statusOf(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
