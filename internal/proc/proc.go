// Package proc reads what /proc says of one process: who it is, its descriptors, its epoll interest lists, its threads and the
// call each of them is in. It takes one moment at a time, changes nothing, and draws no conclusions.
package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Errors that tell processes apart that cannot be looked at. They come wrapped.
var (
	ErrGone         = errors.New("no such process")
	ErrZombie       = errors.New("it is a zombie: it has ended, and only its parent's wait is missing")
	ErrKernelThread = errors.New("it is a kernel thread")
	ErrThread       = errors.New("it is a thread, not a process")
	ErrPermission   = errors.New("permission denied")
)

const root = "/proc"

// dir returns a process's folder.
func dir(pid uint32) string { return root + "/" + strconv.FormatUint(uint64(pid), 10) }

// fdPath returns the path of one descriptor in the folder fd or fdinfo.
func fdPath(pid uint32, folder string, fd int32) string {
	return dir(pid) + "/" + folder + "/" + strconv.FormatInt(int64(fd), 10)
}

// explain turns what the kernel says about a file of a process into what it means. A process can end between open and
// read, and then it is ESRCH.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH):
		return ErrGone
	case errors.Is(err, fs.ErrPermission):
		return ErrPermission
	}
	if p := (*os.PathError)(nil); errors.As(err, &p) {
		return p.Err // its path would stand twice in the message
	}
	return err
}

// Threads returns a process's threads in ascending order.
func Threads(pid uint32) ([]uint32, error) {
	tids, err := numbered(dir(pid) + "/task")
	if err != nil {
		return nil, fmt.Errorf("listing the threads of process %d: %w", pid, explain(err))
	}
	return tids, nil
}

// All returns every process that can be seen, in ascending order.
func All() ([]uint32, error) {
	pids, err := numbered(root)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", explain(err))
	}
	return pids, nil
}

// numbered lists the entries of a folder that are numbers, in ascending order.
func numbered(folder string) ([]uint32, error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	return ascending(names), nil
}

// commLength is what the kernel keeps of a process's name (TASK_COMM_LEN, less the zero).
const commLength = 15

// ByComm returns the processes of that name, in ascending order. The kernel keeps 15 bytes of a name, so a longer one is
// cut before it is compared. None is no error.
func ByComm(name string) ([]uint32, error) {
	pids, err := All()
	if err != nil {
		return nil, err
	}
	if len(name) > commLength {
		name = name[:commLength]
	}
	var found []uint32
	for _, pid := range pids {
		// A process that ends meanwhile has no name any more.
		if comm, err := os.ReadFile(dir(pid) + "/comm"); err == nil && strings.TrimSuffix(string(comm), "\n") == name {
			found = append(found, pid)
		}
	}
	return found, nil
}
