//go:build linux

// Command init is the first and only user program of a test VM: it prepares the guest, runs what the plan names, and powers off.
// It looks at nothing else of the initramfs and knows nothing of what it runs.
package main

import (
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// runArg tells the second stage from the first.
const runArg = "run-the-plan"

func main() {
	if len(os.Args) > 1 && os.Args[1] == runArg {
		if err := runPlan(); err != nil {
			fmt.Fprintln(os.Stderr, "init:", err)
			os.Exit(1)
		}
		return
	}
	if err := boot(); err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
	}
	powerOff()
}

// boot prepares the guest and runs the second stage, a process of its own for two reasons: libraries in it may read /proc
// as soon as they are initialised, and here is then somebody left to reap what the tests orphan.
func boot() error {
	if err := mountAll(); err != nil {
		return err
	}
	if err := openConsole(); err != nil {
		return err
	}
	stage := exec.Command("/proc/self/exe", runArg)
	stage.Stdout, stage.Stderr = os.Stdout, os.Stderr
	if err := stage.Start(); err != nil {
		return fmt.Errorf("starting the second stage: %w", err)
	}
	return reap(stage.Process.Pid)
}

// reap collects every ended child until pid is among them.
func reap(pid int) error {
	for {
		var status unix.WaitStatus
		ended, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("waiting for the second stage: %w", err)
		case ended == pid && (!status.Exited() || status.ExitStatus() != 0):
			return fmt.Errorf("running the plan: wait status %#x", uint32(status))
		case ended == pid:
			return nil
		}
	}
}

// powerOff ends the VM. A restart does so too, as qemu is told not to reboot; a return would be a kernel panic.
func powerOff() {
	unix.Sync()
	for _, command := range []int{unix.LINUX_REBOOT_CMD_POWER_OFF, unix.LINUX_REBOOT_CMD_RESTART} {
		if err := unix.Reboot(command); err != nil {
			fmt.Fprintln(os.Stderr, "init: powering off:", err)
		}
	}
}
