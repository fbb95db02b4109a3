package main

import (
	"context"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/sockdiag"
)

// bpfPrograms returns the numbers of the programs that are loaded in the kernel. They are not reused soon.
func bpfPrograms(t *testing.T) map[uint32]bool {
	t.Helper()
	ids := map[uint32]bool{}
	attr := struct{ start, next, flags uint32 }{}
	for {
		_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_GET_NEXT_ID, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		runtime.KeepAlive(&attr)
		switch errno {
		case 0:
			ids[attr.next] = true
			attr.start = attr.next
		case unix.ENOENT:
			return ids
		default:
			t.Fatalf("listing programs: %v", errno)
		}
	}
}

// listeningPort returns the port that a process listens on, 0 if it does not.
func listeningPort(t *testing.T, pid uint32) int {
	t.Helper()
	socks, err := sockdiag.List(context.Background(), sockdiag.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	owners, err := sockdiag.Owners(pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range socks {
		if s.State == event.Listen && len(owners[s.Inode]) > 0 {
			return int(s.Local.Port())
		}
	}
	return 0
}
