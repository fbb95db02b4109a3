package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// NetNS returns the number of a process's network namespace. Two processes in one namespace have the same.
func NetNS(pid uint32) (uint64, error) {
	link, err := os.Readlink(dir(pid) + "/ns/net")
	if err != nil {
		return 0, fmt.Errorf("looking up the network namespace of process %d: %w", pid, explain(err))
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(link, "net:["), "]"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("looking up the network namespace of process %d: a link that is not understood: %q", pid, link)
	}
	return n, nil
}

// OpenNetNS opens a process's network namespace, which lives at least as long as the file is open.
func OpenNetNS(pid uint32) (*os.File, error) {
	f, err := os.Open(dir(pid) + "/ns/net")
	if err != nil {
		return nil, fmt.Errorf("opening the network namespace of process %d: %w", pid, explain(err))
	}
	return f, nil
}
