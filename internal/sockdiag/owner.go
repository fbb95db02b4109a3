package sockdiag

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Owner is one descriptor of one process.
type Owner struct {
	PID uint32
	FD  int32
}

// Owners returns who holds each socket, by inode, ordered by PID and descriptor. Without pids it looks at every process
// that it may look at; a process given by pid that it may not look at is an error, and one that is gone holds nothing.
func Owners(pids ...uint32) (map[uint32][]Owner, error) {
	return owners("/proc", pids)
}

func owners(proc string, pids []uint32) (map[uint32][]Owner, error) {
	found := make(map[uint32][]Owner)
	named := len(pids) > 0
	if !named {
		var err error
		if pids, err = processes(proc); err != nil {
			return nil, fmt.Errorf("listing processes: %w", err)
		}
	}
	for _, pid := range pids {
		err := descriptors(proc, pid, func(fd int32, inode uint32) {
			found[inode] = append(found[inode], Owner{PID: pid, FD: fd})
		})
		if named && errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("listing the descriptors of process %d: %w (needs its user and CAP_SYS_PTRACE, or root)", pid, syscall.EACCES)
		}
	}
	for _, held := range found {
		slices.SortFunc(held, func(a, b Owner) int {
			if a.PID != b.PID {
				return int(a.PID) - int(b.PID)
			}
			return int(a.FD) - int(b.FD)
		})
	}
	return found, nil
}

func processes(proc string) ([]uint32, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	var pids []uint32
	for _, e := range entries {
		if pid, err := strconv.ParseUint(e.Name(), 10, 32); err == nil {
			pids = append(pids, uint32(pid))
		}
	}
	return pids, nil
}

// descriptors calls socket for each descriptor of a process that is one. A descriptor that closes meanwhile is left out.
func descriptors(proc string, pid uint32, socket func(fd int32, inode uint32)) error {
	dir := filepath.Join(proc, strconv.FormatUint(uint64(pid), 10), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrPermission) {
			return err
		}
		if inode, ok := socketInode(to); ok {
			if fd, err := strconv.ParseInt(e.Name(), 10, 32); err == nil {
				socket(int32(fd), inode)
			}
		}
	}
	return nil
}

// socketInode reads a link like socket:[1234].
func socketInode(link string) (uint32, bool) {
	rest, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	number, ok := strings.CutSuffix(rest, "]")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(number, 10, 32)
	return uint32(inode), err == nil
}
