//go:build amd64 || arm64

package proc

import (
	"syscall"
	"testing"
)

func TestCallName(t *testing.T) {
	for number, want := range map[int64]string{
		syscall.SYS_READ: "read", syscall.SYS_FUTEX: "futex", syscall.SYS_NANOSLEEP: "nanosleep", syscall.SYS_FDATASYNC: "fdatasync",
		syscall.SYS_PRLIMIT64: "prlimit64", 441: "epoll_pwait2", 424: "pidfd_send_signal", -1: "call -1", 100000: "call 100000",
	} {
		if got := CallName(number); got != want {
			t.Errorf("call %d is %q, want %q", number, got, want)
		}
	}
}
