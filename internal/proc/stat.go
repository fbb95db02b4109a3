package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// Process is who a process is.
type Process struct {
	PID, Parent uint32
	Comm        string
	State       byte // as in ps: R, S, D, Z, ...
	Threads     int
	Kernel      bool   // a kernel thread
	StartTime   uint64 // since boot, in clock ticks; tells a process from a later one of the same number
	UID         uint32 // effective
	// NSPID is its number in each PID namespace from epwatch's own inwards, the process's own last. Empty before 4.1.
	NSPID []uint32
}

// Stat returns who a process is. The errors wrap ErrGone, ErrThread, ErrZombie and ErrKernelThread; in the last two the process is
// filled in all the same.
func Stat(pid uint32) (Process, error) {
	p, err := stat(pid)
	if err != nil && p.Comm != "" {
		return p, fmt.Errorf("looking at process %d (%s): %w", pid, p.Comm, err)
	}
	if err != nil {
		return p, fmt.Errorf("looking at process %d: %w", pid, err)
	}
	return p, nil
}

func stat(pid uint32) (Process, error) {
	line, err := os.ReadFile(dir(pid) + "/stat")
	if err != nil {
		return Process{}, explain(err)
	}
	p, err := parseStat(line)
	if err != nil {
		return Process{}, err
	}
	status, err := os.ReadFile(dir(pid) + "/status")
	if err != nil {
		return Process{}, explain(err)
	}
	leader := parseStatus(status, &p)
	switch {
	case leader != 0 && leader != pid:
		// /proc answers to the number of any thread, though it lists processes only.
		return Process{}, fmt.Errorf("%w (of process %d)", ErrThread, leader)
	case p.Kernel:
		return p, ErrKernelThread
	case p.State == 'Z' || p.State == 'X':
		return p, ErrZombie
	}
	return p, nil
}

// kernelThread is PF_KTHREAD of <linux/sched.h>.
const kernelThread = 0x00200000

// parseStat reads the format of /proc/PID/stat: number, name in parentheses, state, parent and so on, parted by spaces. The
// name can hold anything, parentheses and spaces too, so it ends at the last one.
func parseStat(line []byte) (Process, error) {
	const (
		state, parent, flags, threads, start = 0, 1, 6, 17, 19 // words behind the name
		words                                = start + 1
	)
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return Process{}, fmt.Errorf("a stat line that is not understood: %q", line)
	}
	rest := bytes.Fields(line[end+1:])
	if len(rest) < words || len(rest[state]) != 1 {
		return Process{}, fmt.Errorf("a stat line of %d words: %q", len(rest), line)
	}
	var failed error
	number := func(word []byte, bits int) uint64 {
		n, err := strconv.ParseUint(string(word), 10, bits)
		failed = errors.Join(failed, err)
		return n
	}
	p := Process{
		PID:       uint32(number(bytes.TrimSpace(line[:open]), 32)),
		Comm:      string(line[open+1 : end]),
		State:     rest[state][0],
		Parent:    uint32(number(rest[parent], 32)),
		Kernel:    number(rest[flags], 64)&kernelThread != 0,
		Threads:   int(number(rest[threads], 31)),
		StartTime: number(rest[start], 64),
	}
	if failed != nil {
		return Process{}, fmt.Errorf("a stat line that is not understood, %q: %w", line, failed)
	}
	return p, nil
}

// parseStatus takes from /proc/PID/status what stat does not say, and returns the process that the number belongs to, 0 if
// it does not say.
func parseStatus(text []byte, p *Process) (leader uint32) {
	for line := range bytes.Lines(text) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		words := bytes.Fields(value)
		switch string(key) {
		case "Tgid":
			if len(words) > 0 {
				leader = decimal(words[0])
			}
		case "Uid": // real, effective, saved, file system
			if len(words) > 1 {
				p.UID = decimal(words[1])
			}
		case "NSpid":
			for _, w := range words {
				p.NSPID = append(p.NSPID, decimal(w))
			}
		}
	}
	return leader
}

// decimal reads a number of the kernel's; what is none counts as 0.
func decimal(word []byte) uint32 {
	n, err := strconv.ParseUint(string(word), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}
