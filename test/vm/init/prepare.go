//go:build linux

package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/test/vm/plan"
)

// mountAll mounts what a booted system has and the tests read. /proc comes first: everything after it may look there.
func mountAll() error {
	for _, m := range []struct{ kind, target string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"devtmpfs", "/dev"},
		{"devpts", "/dev/pts"},
		{"tmpfs", "/dev/shm"},
		{"tmpfs", "/tmp"},
		{"tmpfs", "/run"},
		{"bpf", "/sys/fs/bpf"},
		{"cgroup2", "/sys/fs/cgroup"},
		{"tracefs", "/sys/kernel/tracing"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return fmt.Errorf("mounting %s: %w", m.kind, err)
		}
		if err := unix.Mount(m.kind, m.target, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.kind, m.target, err)
		}
	}
	return nil
}

// openConsole makes the first serial port the standard streams: the initramfs holds no /dev/console, so the kernel gave us none.
func openConsole() error {
	console, err := os.OpenFile("/dev/ttyS0", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("opening the console: %w", err)
	}
	for fd := range 3 {
		if int(console.Fd()) == fd {
			continue
		}
		if err := unix.Dup3(int(console.Fd()), fd, 0); err != nil {
			return fmt.Errorf("opening the console: %w", err)
		}
	}
	return nil
}

// openResults returns the second serial port in raw mode, so that the host gets the bytes as the tests wrote them.
func openResults() (*os.File, error) {
	port, err := os.OpenFile("/dev/ttyS1", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the result port: %w", err)
	}
	mode, err := unix.IoctlGetTermios(int(port.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("reading the mode of the result port: %w", err)
	}
	mode.Iflag, mode.Oflag, mode.Lflag = 0, 0, 0
	mode.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	if err := unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, mode); err != nil {
		return nil, fmt.Errorf("setting the mode of the result port: %w", err)
	}
	return port, nil
}

// drain waits until the port has sent everything; powering off throws the rest away.
func drain(port *os.File) error {
	if err := unix.IoctlSetInt(int(port.Fd()), unix.TCSBRK, 1); err != nil {
		return fmt.Errorf("draining the result port: %w", err)
	}
	return nil
}

// loadModules loads the modules in the order given. The kernel refuses a compressed file without being told so.
func loadModules(modules []plan.Module) error {
	for _, m := range modules {
		file, err := os.Open(m.Path)
		if err != nil {
			return fmt.Errorf("loading a module: %w", err)
		}
		flags := 0
		if m.Compressed {
			flags = unix.MODULE_INIT_COMPRESSED_FILE
		}
		err = unix.FinitModule(int(file.Fd()), "", flags)
		_ = file.Close() // read only
		if err != nil {
			return fmt.Errorf("loading %s: %w", m.Path, err)
		}
	}
	return nil
}

// raiseLoopback brings lo up; the kernel gives it its addresses then.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("raising lo: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("raising lo: %w", err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("raising lo: %w", err)
	}
	return nil
}
