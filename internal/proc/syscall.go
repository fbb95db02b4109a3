package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Call is a system call that a thread is in. The number is the thread's own architecture's.
type Call struct {
	Number int64
	Args   [6]uint64
}

// CurrentCall returns the call that a thread is blocked in, and false when it runs, or is blocked outside any call. The kernel asks
// for more here than for the rest of /proc: the right to attach to the process as a debugger. The error wraps ErrGone and
// ErrPermission.
func CurrentCall(pid, tid uint32) (c Call, blocked bool, err error) {
	text, err := os.ReadFile(dir(pid) + "/task/" + strconv.FormatUint(uint64(tid), 10) + "/syscall")
	if err == nil {
		c, blocked, err = parseCall(text)
	}
	if err != nil {
		return Call{}, false, fmt.Errorf("asking what thread %d of process %d does: %w", tid, pid, explain(err))
	}
	return c, blocked, nil
}

// Switches returns how often a thread gave up its processor, by itself or not. A thread that is blocked in two looks with the same
// number did not run between them. The errors wrap ErrGone and ErrPermission.
func Switches(pid, tid uint32) (uint64, error) {
	text, err := os.ReadFile(dir(pid) + "/task/" + strconv.FormatUint(uint64(tid), 10) + "/status")
	var n uint64
	if err == nil {
		n, err = parseSwitches(text)
	}
	if err != nil {
		return 0, fmt.Errorf("asking how often thread %d of process %d ran: %w", tid, pid, explain(err))
	}
	return n, nil
}

func parseSwitches(text []byte) (uint64, error) {
	var sum uint64
	lines := 0
	for line := range bytes.Lines(text) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		if !bytes.HasSuffix(key, []byte("voluntary_ctxt_switches")) { // with and without "non" in front
			continue
		}
		n, ok := number(bytes.TrimSpace(value), 10, 64)
		if !ok {
			return 0, fmt.Errorf("a line that is not understood: %q", line)
		}
		sum += n
		lines++
	}
	if lines != 2 {
		return 0, fmt.Errorf("a status with %d counts of context switches instead of 2", lines)
	}
	return sum, nil
}

// parseCall reads "running", or a number, six arguments in hexadecimal, stack pointer and program counter; outside a call
// the number is -1 and the arguments are missing.
func parseCall(text []byte) (Call, bool, error) {
	words := bytes.Fields(text)
	if len(words) == 1 && string(words[0]) == "running" {
		return Call{}, false, nil
	}
	if len(words) == 0 {
		return Call{}, false, fmt.Errorf("a line without words")
	}
	nr, err := strconv.ParseInt(string(words[0]), 10, 64)
	if err != nil {
		return Call{}, false, fmt.Errorf("a line that is not understood: %q", text)
	}
	if nr < 0 {
		return Call{}, false, nil
	}
	c := Call{Number: nr}
	if len(words) < 1+len(c.Args) {
		return Call{}, false, fmt.Errorf("a line of %d words: %q", len(words), text)
	}
	for i := range c.Args {
		n, ok := number(bytes.TrimPrefix(words[1+i], []byte("0x")), 16, 64)
		if !ok {
			return Call{}, false, fmt.Errorf("a line that is not understood: %q", text)
		}
		c.Args[i] = n
	}
	return c, true, nil
}
