package tracer

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capability is one that epwatch may need, with what for.
type capability struct {
	name string
	bit  uint
	why  string
}

func neededCapabilities() []capability {
	return []capability{
		{"CAP_BPF", unix.CAP_BPF, "loading programs and making maps"},
		{"CAP_PERFMON", unix.CAP_PERFMON, "tracing the kernel"},
	}
}

func usefulCapabilities() []capability {
	return []capability{
		{"CAP_SYSLOG", unix.CAP_SYSLOG, "kernel addresses for the tracepoint family"},
		{"CAP_SYS_RESOURCE", unix.CAP_SYS_RESOURCE, "locked memory on kernels before 5.11"},
		{"CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE, "descriptors of other users' processes"},
	}
}

// effectiveCapabilities returns the bits that this thread may use now.
func effectiveCapabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("reading capabilities: %w", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

func holds(c capability) Answer {
	held, err := effectiveCapabilities()
	if err != nil {
		return Unknown
	}
	// CAP_SYS_ADMIN holds all that was split off from it (capabilities(7)).
	if held&(1<<c.bit) != 0 {
		return Yes
	}
	if splitFromAdmin := c.bit == unix.CAP_BPF || c.bit == unix.CAP_PERFMON || c.bit == unix.CAP_SYSLOG; splitFromAdmin && held&(1<<unix.CAP_SYS_ADMIN) != 0 {
		return Yes
	}
	return No
}

// missingCapabilities names the needed ones that are not held.
func missingCapabilities() []string {
	var names []string
	for _, c := range neededCapabilities() {
		if holds(c) == No {
			names = append(names, c.name)
		}
	}
	return names
}

// DropPrivileges gives up, in every thread and for good, the capabilities that an open Tracer does not need any more.
// What stays: CAP_BPF to read counters, CAP_SYS_PTRACE to read the descriptors of observed processes, CAP_KILL to
// signal one's own children. It fails with ENOTSUP in a binary that links C code, whose threads Go does not know.
func DropPrivileges() error {
	const keep = 1<<unix.CAP_BPF | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_KILL
	held, err := effectiveCapabilities()
	if err != nil {
		return err
	}
	if err := limitCapabilities(held & keep); err != nil {
		return fmt.Errorf("dropping privileges: %w", err)
	}
	return nil
}

// limitCapabilities makes set the effective and permitted capabilities of every thread.
func limitCapabilities(set uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(set), Permitted: uint32(set)},
		{Effective: uint32(set >> 32), Permitted: uint32(set >> 32)},
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
