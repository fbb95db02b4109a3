package tracer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// fileOperations are the addresses by which the kernel marks a file as a socket or an epoll instance. They are not
// in /proc/kallsyms everywhere, so they are read off files of our own.
type fileOperations struct {
	socket, eventpoll uint64
}

// learnFileOperations opens one socket and one epoll instance and asks the kernel how it marks them.
func (k *kernel) learnFileOperations(spec *ebpf.CollectionSpec) (fileOperations, error) {
	var ops fileOperations
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ops, fmt.Errorf("opening a socket: %w", err)
	}
	defer unix.Close(socket)
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return ops, fmt.Errorf("opening an epoll instance: %w", err)
	}
	defer unix.Close(epoll)

	files, err := k.listFiles(spec, uint32(os.Getpid()))
	if err != nil {
		return ops, err
	}
	for _, f := range files {
		switch int(f.Fd) {
		case socket:
			ops.socket = f.Operations
		case epoll:
			ops.eventpoll = f.Operations
		}
	}
	if ops.socket == 0 || ops.eventpoll == 0 {
		return ops, errors.New("the kernel's file iterator did not list our own files (is this another PID namespace?)")
	}
	return ops, nil
}

// listFiles returns the open files of one process, by a BPF iterator (since 5.8).
func (k *kernel) listFiles(spec *ebpf.CollectionSpec, pid uint32) ([]epwatchListedFile, error) {
	only := spec.Copy()
	for name := range only.Programs {
		if name != epwatchProgIterOwnFiles {
			delete(only.Programs, name)
		}
	}
	for name := range only.Maps {
		// The iterator uses constants only, and those live in maps whose names begin with a dot.
		if !strings.HasPrefix(name, ".") {
			delete(only.Maps, name)
		}
	}
	if err := only.Variables[epwatchVarListedPid].Set(pid); err != nil {
		return nil, fmt.Errorf("preparing the file iterator: %w", err)
	}
	coll, err := k.load(only)
	if err != nil {
		return nil, fmt.Errorf("loading the file iterator: %w", err)
	}
	defer coll.Close()
	return runFileIterator(coll.Programs[epwatchProgIterOwnFiles])
}

// runFileIterator runs an iterator over all open files of all processes and returns what the program listed.
func runFileIterator(p *ebpf.Program) ([]epwatchListedFile, error) {
	iter, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return nil, fmt.Errorf("attaching the file iterator: %w", err)
	}
	defer iter.Close()
	out, err := iter.Open()
	if err != nil {
		return nil, fmt.Errorf("opening the file iterator: %w", err)
	}
	defer out.Close()
	data, err := io.ReadAll(out)
	if err != nil {
		return nil, fmt.Errorf("reading the file iterator: %w", err)
	}
	files := make([]epwatchListedFile, len(data)/int(unsafe.Sizeof(epwatchListedFile{})))
	if _, err := binary.Decode(data, binary.NativeEndian, files); err != nil {
		return nil, fmt.Errorf("decoding the file iterator: %w", err)
	}
	return files, nil
}
