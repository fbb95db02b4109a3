package tracer

import (
	"fmt"

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
	if held&(1<<c.bit) != 0 || (c.bit != unix.CAP_SYS_PTRACE && held&(1<<unix.CAP_SYS_ADMIN) != 0) {
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
