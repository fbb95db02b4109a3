package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Mapping is a part of a process's memory that it may execute.
type Mapping struct {
	Start, End uint64
	Offset     uint64 // of Start in the file
	Device     string // of the file, major and minor number
	Inode      uint64 // of the file, 0 where there is none
	Path       string // as the process sees it, empty for memory without a name; "[vdso]" and the like are no files
	Deleted    bool   // the file has no name any more
}

// CodeMappings returns what a process may execute, in ascending order. The error wraps ErrGone and ErrPermission.
func CodeMappings(pid uint32) ([]Mapping, error) {
	text, err := os.ReadFile(dir(pid) + "/maps")
	if err != nil {
		return nil, fmt.Errorf("reading the memory map of process %d: %w", pid, explain(err))
	}
	var all []Mapping
	for line := range bytes.Lines(text) {
		m, executable, err := parseMapping(string(bytes.TrimSuffix(line, []byte("\n"))))
		if err != nil {
			return nil, fmt.Errorf("reading the memory map of process %d: %w", pid, err)
		}
		if executable {
			all = append(all, m)
		}
	}
	return all, nil
}

// parseMapping reads "start-end perms offset device inode  path". The path is the rest of the line and may hold anything but a
// line feed, which the kernel writes as \012.
func parseMapping(line string) (m Mapping, executable bool, err error) {
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 5 {
		return m, false, fmt.Errorf("a line that is not understood: %q", line)
	}
	number := func(word string, base int) uint64 {
		n, failed := strconv.ParseUint(word, base, 64)
		if failed != nil && err == nil {
			err = fmt.Errorf("a line that is not understood: %q", line)
		}
		return n
	}
	start, end, _ := strings.Cut(fields[0], "-")
	m = Mapping{Start: number(start, 16), End: number(end, 16), Offset: number(fields[2], 16), Device: fields[3], Inode: number(fields[4], 10)}
	if len(fields) == 6 {
		path := strings.TrimLeft(fields[5], " ")
		m.Path, m.Deleted = strings.CutSuffix(path, " (deleted)")
	}
	return m, len(fields[1]) > 2 && fields[1][2] == 'x', err
}

// RootPath returns the path under which a process's file can be opened from here, whatever root the process has.
func RootPath(pid uint32, path string) string { return dir(pid) + "/root" + path }

// ExePath returns the path of the process's program, which can be opened even when the file has no name any more.
func ExePath(pid uint32) string { return dir(pid) + "/exe" }
