package proc

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The questions of kcmp(2).
const (
	kcmpFile     = 0
	kcmpEpollTFD = 7
)

// SameFile reports whether two descriptors are the same open file. The error says that the kernel would not tell: it may lack
// kcmp, or the right to look at either process may be missing.
func SameFile(pid uint32, fd int32, otherPID uint32, otherFD int32) (bool, error) {
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(pid), uintptr(otherPID), kcmpFile, uintptr(fd), uintptr(otherFD), 0)
	if errno != 0 {
		return false, fmt.Errorf("comparing descriptors: %w", errno)
	}
	return r == 0, nil
}

// StillRefers reports whether descriptor fd of holder is the file that an item of an epoll instance was registered with. Of several
// items under the same number, nth says which, from 0 in the order of the interest list. The kernel walks the
// whole list for each answer.
func StillRefers(holder uint32, fd int32, pid uint32, epfd int32, nth uint32) (bool, error) {
	slot := struct{ epfd, tfd, nth uint32 }{uint32(epfd), uint32(fd), nth} // struct kcmp_epoll_slot
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(holder), uintptr(pid), kcmpEpollTFD,
		uintptr(fd), uintptr(unsafe.Pointer(&slot)), 0)
	switch {
	case errno == unix.EBADF:
		return false, nil // closed
	case errno != 0:
		return false, fmt.Errorf("comparing descriptor %d with the item of epoll descriptor %d: %w", fd, epfd, errno)
	}
	return r == 0, nil
}

// Protocol returns what kind of socket a descriptor is, in lower case: tcp, mptcp, udp, unix-stream, netlink and so on.
func Protocol(pid uint32, fd int32) (string, error) {
	var b [64]byte
	n, err := unix.Getxattr(fdPath(pid, "fd", fd), "system.sockprotoname", b[:])
	if err != nil {
		return "", fmt.Errorf("asking what socket descriptor %d of process %d is: %w", fd, pid, explain(err))
	}
	return strings.ToLower(strings.TrimRight(string(b[:n]), "\x00")), nil
}

// Hidden reports whether a process exists though /proc does not show it, as with the mount option hidepid.
func Hidden(pid uint32) bool { return errors.Is(unix.Kill(int(pid), 0), unix.EPERM) }
