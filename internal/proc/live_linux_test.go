package proc

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

var self = uint32(os.Getpid())

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func epollOf(t *testing.T, items map[int]uint32) int {
	t.Helper()
	ep := must[int](t)(unix.EpollCreate1(unix.EPOLL_CLOEXEC))
	t.Cleanup(func() { unix.Close(ep) })
	for fd, mask := range items {
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: mask, Fd: int32(fd), Pad: 9}); err != nil {
			t.Fatal(err)
		}
	}
	return ep
}

func eventfd(t *testing.T) int {
	t.Helper()
	fd := must[int](t)(unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK))
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestOwnInterests(t *testing.T) {
	a := eventfd(t)
	var pair [2]int
	if err := unix.Pipe2(pair[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	defer unix.Close(pair[0])
	ep := epollOf(t, map[int]uint32{a: unix.EPOLLIN | unix.EPOLLET, pair[0]: unix.EPOLLIN})
	got := must[[]Interest](t)(Interests(self, int32(ep)))
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	listed := must[[]Descriptor](t)(Descriptors(self))
	for _, i := range got {
		d := must[Descriptor](t)(Describe(self, i.FD))
		if !slices.Contains(listed, d) || i.Data != uint64(i.FD)|9<<32 {
			t.Errorf("%+v is not among the descriptors, or its data %#x is wrong", d, i.Data)
		}
		switch int(i.FD) {
		case a:
			if d.Kind != KindEventfd || i.Events != event.In|event.Err|event.Hup|event.ET {
				t.Errorf("%+v %v", d, i.Events)
			}
		case pair[0]:
			if d.Kind != KindPipe || d.Inode != i.Inode || i.Inode == 0 {
				t.Errorf("%+v and %+v", d, i)
			}
		}
	}
	info := must[Info](t)(DescriptorInfo(self, int32(a)))
	if info.Flags&unix.O_NONBLOCK == 0 {
		t.Errorf("flags %o", info.Flags)
	}
	if _, err := Interests(self, 1<<20); !errors.Is(err, ErrGone) {
		t.Errorf("a closed descriptor: %v", err)
	}
}

func TestStillRefers(t *testing.T) {
	a, b := eventfd(t), eventfd(t)
	ep := epollOf(t, map[int]uint32{a: unix.EPOLLIN})
	kept := must[int](t)(unix.FcntlInt(uintptr(a), unix.F_DUPFD_CLOEXEC, 0))
	defer unix.Close(kept)
	if same, err := SameFile(self, int32(a), self, int32(kept)); err != nil || !same {
		if errors.Is(err, unix.ENOSYS) {
			t.Skip("this kernel has no kcmp")
		}
		t.Errorf("a duplicate: %v, %v", same, err)
	}
	if same, err := SameFile(self, int32(a), self, int32(b)); err != nil || same {
		t.Errorf("two files: %v, %v", same, err)
	}
	is := func(want bool) {
		t.Helper()
		if same, err := StillRefers(self, int32(a), self, int32(ep), 0); err != nil || same != want {
			t.Errorf("%v, %v", same, err)
		}
	}
	is(true)
	if err := unix.Dup3(b, a, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	is(false)
	unix.Close(a)
	is(false)
}

func TestCurrentCall(t *testing.T) {
	ep := epollOf(t, nil)
	stop := eventfd(t)
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, stop, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		t.Fatal(err)
	}
	tid, over := make(chan uint32), make(chan struct{})
	go func() {
		defer close(over)
		runtime.LockOSThread()
		tid <- uint32(unix.Gettid())
		for {
			if n, err := unix.EpollWait(ep, make([]unix.EpollEvent, 1), -1); n > 0 || err != nil && err != unix.EINTR {
				return
			}
		}
	}()
	sleeper := <-tid
	defer func() { _, _ = unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}); <-over }()
	if !slices.Contains(must[[]uint32](t)(Threads(self)), sleeper) {
		t.Errorf("thread %d is not listed", sleeper)
	}
	if _, err := Stat(sleeper); sleeper != self && !errors.Is(err, ErrThread) {
		t.Errorf("a thread's number: %v", err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		c, blocked, err := CurrentCall(self, sleeper)
		if errors.Is(err, ErrPermission) || errors.Is(err, ErrGone) && !exists("/proc/self/syscall") {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if blocked && int(c.Args[0]) == ep {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never seen waiting; last %+v, %v", c, blocked)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestZombieAndKernelThread(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		p, err := Stat(uint32(cmd.Process.Pid))
		if errors.Is(err, ErrZombie) {
			if p.State != 'Z' || p.Parent != self || !strings.Contains(err.Error(), p.Comm) {
				t.Errorf("%+v: %v", p, err)
			}
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("%+v, %v", p, err)
		}
	}
	comm, err := os.ReadFile("/proc/2/comm")
	if err != nil || string(comm) != "kthreadd\n" {
		t.Skip("no kernel threads in sight")
	}
	if p, err := Stat(2); !errors.Is(err, ErrKernelThread) || !p.Kernel {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestByComm(t *testing.T) {
	p := must[Process](t)(Stat(self))
	if got := must[[]uint32](t)(ByComm(p.Comm)); !slices.Contains(got, self) {
		t.Errorf("%q: %v", p.Comm, got)
	}
	if os.WriteFile("/proc/self/comm", []byte("a name that is longer"), 0) == nil {
		defer func() { _ = os.WriteFile("/proc/self/comm", []byte(p.Comm), 0) }()
		if got := must[[]uint32](t)(ByComm("a name that is longer")); !slices.Contains(got, self) {
			t.Errorf("a name that the kernel cut: %v", got)
		}
	}
	if got := must[[]uint32](t)(ByComm("no such/name")); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

func TestSockets(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	udp := must[int](t)(unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	defer unix.Close(udp)
	if p := must[string](t)(Protocol(self, int32(udp))); p != "udpv6" {
		t.Errorf("protocol %q", p)
	}
	d := must[Descriptor](t)(Describe(self, int32(fds[0])))
	var found UnixSocket
	if err := UnixSockets(self, func(s UnixSocket) {
		if s.Inode == d.Inode {
			found = s
		}
	}); err != nil {
		t.Fatal(err)
	}
	if found != (UnixSocket{Inode: d.Inode, Type: "seqpacket", State: "CONNECTED"}) {
		t.Errorf("%+v", found)
	}
	ns := must[uint64](t)(NetNS(self))
	f := must[*os.File](t)(OpenNetNS(self))
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Ino != ns {
		t.Errorf("namespace %d, its file %d, %v", ns, st.Ino, err)
	}
	if Hidden(self) || Hidden(1<<30) {
		t.Error("called hidden")
	}
}
