package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Kind is what an open file is, as far as its link tells.
type Kind uint8

// The kinds. KindFile is everything with a path: regular files, devices, named pipes.
const (
	KindOther Kind = iota
	KindSocket
	KindPipe
	KindEpoll
	KindEventfd
	KindTimerfd
	KindSignalfd
	KindInotify
	KindFanotify
	KindPidfd
	KindIOUring
	KindFile

	numKinds
)

var kindNames = [numKinds]string{
	"other", "socket", "pipe", "epoll", "eventfd", "timerfd", "signalfd", "inotify", "fanotify", "pidfd", "io_uring", "file",
}

// String returns the kind as people call it.
func (k Kind) String() string {
	if k >= numKinds {
		return "unknown"
	}
	return kindNames[k]
}

// Descriptor is one open descriptor.
type Descriptor struct {
	FD    int32
	Kind  Kind
	Name  string // what its link says: a path, or something like socket:[1234]
	Inode uint64 // of sockets and pipes, whose link says it; else 0
}

// Descriptors returns a process's descriptors in ascending order. One that closes meanwhile is left out. The error wraps
// ErrGone and ErrPermission.
func Descriptors(pid uint32) ([]Descriptor, error) {
	found, err := descriptors(dir(pid) + "/fd")
	if err != nil {
		return nil, fmt.Errorf("listing the descriptors of process %d: %w", pid, explain(err))
	}
	return found, nil
}

func descriptors(folder string) ([]Descriptor, error) {
	fds, err := numbered(folder)
	if err != nil {
		return nil, err
	}
	found := make([]Descriptor, 0, len(fds))
	for _, fd := range fds {
		link, err := os.Readlink(folder + "/" + strconv.FormatUint(uint64(fd), 10))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, parseLink(int32(fd), link))
	}
	return found, nil
}

// Describe returns one descriptor. The error wraps ErrGone when it is closed.
func Describe(pid uint32, fd int32) (Descriptor, error) {
	link, err := os.Readlink(fdPath(pid, "fd", fd))
	if err != nil {
		return Descriptor{}, fmt.Errorf("looking at descriptor %d of process %d: %w", fd, pid, explain(err))
	}
	return parseLink(fd, link), nil
}

// anonymous are the files without a path of their own, by what their link says between "anon_inode:" and the end.
var anonymous = map[string]Kind{
	"[eventpoll]": KindEpoll, "[eventfd]": KindEventfd, "[timerfd]": KindTimerfd, "[signalfd]": KindSignalfd,
	"inotify": KindInotify, "[fanotify]": KindFanotify, "[pidfd]": KindPidfd, "[io_uring]": KindIOUring,
}

// parseLink reads a descriptor's link.
func parseLink(fd int32, link string) Descriptor {
	d := Descriptor{FD: fd, Name: link}
	family, rest, _ := strings.Cut(link, ":")
	switch {
	case strings.HasPrefix(link, "/"):
		d.Kind = KindFile
	case family == "anon_inode":
		d.Kind = anonymous[rest]
	case family == "pidfd": // 6.9 to 6.12 write it like a socket
		d.Kind = KindPidfd
	case family == "socket", family == "pipe":
		inode, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]"), 10, 64)
		if err != nil {
			break
		}
		d.Inode, d.Kind = inode, KindSocket
		if family == "pipe" {
			d.Kind = KindPipe
		}
	}
	return d
}

// ascending reads the names that are numbers.
func ascending(names []string) []uint32 {
	found := make([]uint32, 0, len(names))
	for _, name := range names {
		if n, err := strconv.ParseUint(name, 10, 32); err == nil {
			found = append(found, uint32(n))
		}
	}
	slices.Sort(found)
	return found
}
