package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/server"
)

// served is one of the documented servers alone, with one client.
type served struct {
	t      *testing.T
	cmd    *exec.Cmd
	client *net.TCPConn
}

// serveOne starts a server and connects to it.
func serveOne(t *testing.T, variant string) *served {
	t.Helper()
	s := &served{t: t, cmd: program("serve", variant, "--port", "0")}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() })
	lines := bufio.NewScanner(out)
	lines.Scan()
	port, ok := strings.CutPrefix(lines.Text(), "listen on port ")
	if !ok {
		t.Fatalf("first line: %q", lines.Text())
	}
	go func() {
		for lines.Scan() { // the server must not block on what it prints
		}
	}()
	conn, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		t.Fatal(err)
	}
	s.client = conn.(*net.TCPConn)
	t.Cleanup(func() { conn.Close() })
	return s
}

func (s *served) send(words string) {
	s.t.Helper()
	if _, err := s.client.Write([]byte(words)); err != nil {
		s.t.Fatal(err)
	}
}

// echo waits for that many bytes: the server has read them then.
func (s *served) echo(n int) {
	s.t.Helper()
	_ = s.client.SetReadDeadline(time.Now().Add(deadline))
	for n > 0 {
		m, err := s.client.Read(make([]byte, n))
		if err != nil {
			s.t.Fatal(err)
		}
		n -= m
	}
}

func (s *served) pid() string { return uitoa(uint32(s.cmd.Process.Pid)) }

// still is past the kernel's tick for the time of the last data.
func still() { time.Sleep(30 * time.Millisecond) }

// inspected is the JSON of one inspection.
type inspected struct {
	Type     string
	Check    string
	Root     string
	Message  string
	Fix      string
	Severity string
	Events   string
	State    string
	Peer     string
	Ended    string
	Looks    int
	FD       int
	Items    int
	Unread   uint32
	FIN      bool
	Armed    bool
	Findings map[string]int
	Missing  []any
	PIDs     []int
}

func parseInspection(t *testing.T, out string) []inspected {
	t.Helper()
	var lines []inspected
	for raw := range strings.Lines(out) {
		var l inspected
		if err := json.Unmarshal([]byte(raw), &l); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		lines = append(lines, l)
	}
	if n := len(lines); n < 2 || lines[0].Type != "meta" || lines[n-1].Type != "summary" {
		t.Fatalf("not a whole inspection:\n%s", out)
	}
	return lines
}

func inspectJSON(t *testing.T, pid string, args ...string) []inspected {
	t.Helper()
	got := runProgram(t, append([]string{"inspect", pid, "--format", "json"}, args...)...)
	if got.status != exitDone || got.stderr != "" {
		t.Fatalf("status %d: %s", got.status, got.stderr)
	}
	return parseInspection(t, got.stdout)
}

func ofType(lines []inspected, kind string) []inspected {
	return slices.DeleteFunc(slices.Clone(lines), func(l inspected) bool { return l.Type != kind })
}

// suspicions are the findings as check, unread bytes and root.
func suspicions(lines []inspected) []string {
	var out []string
	for _, l := range ofType(lines, "finding") {
		words := l.Check + " " + uitoa(l.Unread)
		if l.Root != "" {
			words += " from " + l.Root
		}
		out = append(out, words)
	}
	return out
}

func TestInspectStuck(t *testing.T) {
	t.Run("et-partial", func(t *testing.T) {
		s := serveOne(t, "et-partial")
		s.send(server.Message)
		s.echo(16)
		still()
		lines := inspectJSON(t, s.pid())
		if diff := cmp.Diff([]string{"et-unread 4"}, suspicions(lines)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		item := ofType(lines, "snapshot")[1]
		if item.State != "ESTABLISHED" || item.Unread != 4 || !item.Armed || item.Peer != s.client.LocalAddr().String() || item.Events != "IN|ERR|HUP|RDHUP|ET" {
			t.Errorf("%+v", item)
		}
	})
	t.Run("oneshot", func(t *testing.T) {
		s := serveOne(t, "oneshot")
		s.send(server.Message)
		s.echo(16)
		s.send("end")
		still()
		lines := inspectJSON(t, s.pid())
		if diff := cmp.Diff([]string{"oneshot-disarmed 7"}, suspicions(lines)); diff != "" {
			t.Errorf("before the FIN: -want +got:\n%s", diff)
		}
		if err := s.client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		lines = inspectJSON(t, s.pid())
		if diff := cmp.Diff([]string{"oneshot-disarmed 7", "close-wait 7 from oneshot-disarmed"}, suspicions(lines)); diff != "" {
			t.Errorf("after the FIN: -want +got:\n%s", diff)
		}
		item := ofType(lines, "snapshot")[1]
		if item.State != "CLOSE_WAIT" || !item.FIN || item.Armed || item.Events != "ONESHOT|ET" {
			t.Errorf("%+v", item)
		}
		golden(t, "inspect-oneshot.txt", runProgram(t, "inspect", s.pid()).stdout)
	})
}

// golden compares a text whose ports, processes, descriptors and times were made alike.
func golden(t *testing.T, name, got string) {
	t.Helper()
	for _, r := range []struct{ pattern, with string }{
		{`127\.0\.0\.1:\d+ +→`, "127.0.0.1:PORT →"}, {`127\.0\.0\.1:\d+`, "127.0.0.1:PORT"},
		{`epwatch .* · inspect \d+ · pid \d+ \([^)]*\) · kernel .*`, "epwatch VERSION · inspect PID · pid PID (COMM) · kernel RELEASE"},
		{`thread \d+`, "thread TID"}, {`\d+ ms`, "N ms"}, {`\d+\.\d s`, "N ms"}, {`0/\d+`, "0/LIMIT"},
		{`epoll instance fd \d+`, "epoll instance fd EPFD"}, {`(?m)^ +\d+  tcp`, "  FD  tcp"}, {`(yes|no) +\d+ `, "$1 DATA "},
	} {
		got = regexp.MustCompile(r.pattern).ReplaceAllString(got, r.with)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestInspectHealthy(t *testing.T) {
	for _, v := range []string{"et-drain", "lt", "et-fair", "oneshot-rearm"} {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			s := serveOne(t, v)
			s.send(server.Message)
			s.echo(20)
			lines := inspectJSON(t, s.pid(), "--sample", "60ms")
			if got := suspicions(lines); len(got) > 0 {
				t.Errorf("idle: %v", got)
			}
			if n := len(ofType(lines, "snapshot")); n != 2 || lines[len(lines)-1].Items != 2 {
				t.Errorf("%d items", n)
			}
			got := runProgram(t, "inspect", s.pid(), "--sample", "60ms")
			if got.status != exitDone || !strings.Contains(got.stdout, "nothing suspicious") {
				t.Errorf("status %d: %s%s", got.status, got.stdout, got.stderr)
			}
			stop, over := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(over)
				for {
					select {
					case <-stop:
						return
					default:
						s.send("0123456789012345")
						s.echo(16)
					}
				}
			}()
			for range 3 {
				if got := suspicions(inspectJSON(t, s.pid(), "--sample", "60ms")); len(got) > 0 {
					t.Errorf("under load: %v", got)
				}
			}
			close(stop)
			<-over
		})
	}
}

func TestInspectFails(t *testing.T) {
	fails := func(pid, want string) {
		t.Helper()
		got := runProgram(t, "inspect", pid, "--sample", "20ms")
		if got.status != exitFailed || got.stdout != "" || strings.Count(got.stderr, "\n") != 1 || !regexp.MustCompile("^epwatch: "+want+"\n$").MatchString(got.stderr) {
			t.Errorf("status %d, %q, want %q; %s", got.status, got.stderr, want, got.stdout)
		}
	}
	fails("1073741824", `looking at process 1073741824: no such process`)

	plain := exec.Command("sleep", "60")
	if err := plain.Start(); err != nil {
		t.Skip("no sleep here: ", err)
	}
	defer func() { _ = plain.Process.Kill(); _ = plain.Wait() }()
	fails(uitoa(uint32(plain.Process.Pid)), `process \d+ \((sleep|busybox)\) has no epoll instance`)
	_ = plain.Process.Kill()
	fails(zombie(t, uint32(plain.Process.Pid)), `looking at process \d+ \(\S+\): it is a zombie: .*`)

	if comm, err := os.ReadFile("/proc/2/comm"); err == nil && string(comm) == "kthreadd\n" {
		fails("2", `looking at process 2 \(kthreadd\): it is a kernel thread`)
	}
}

// zombie waits until a killed child is one.
func zombie(t *testing.T, pid uint32) string {
	t.Helper()
	for end := time.Now().Add(deadline); !dead(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d did not end", pid)
		}
	}
	return uitoa(pid)
}

// Without the right to look, the one line names what is missing.
func TestInspectNotAllowed(t *testing.T) {
	cmd := program("inspect", "1", "--sample", "20ms")
	if os.Geteuid() == 0 {
		cmd = program("inspect", uitoa(uint32(os.Getpid())), "--sample", "20ms")
		if os.Getenv("EPWATCH_BINARY") == "" {
			cmd.Path = "/proc/self/exe" // the folder of the test binary is closed to others
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		t.Skip("cannot start it as another user: ", err)
	}
	_ = cmd.Wait()
	want := regexp.MustCompile(`^epwatch: .*: permission denied \(it runs as uid 0; needs CAP_SYS_PTRACE, or root\)\n$`)
	if cmd.ProcessState.ExitCode() != exitFailed || out.Len() > 0 || !want.MatchString(errOut.String()) {
		t.Errorf("status %d: %s%s", cmd.ProcessState.ExitCode(), errOut.String(), out.String())
	}
}

func TestInspectWatch(t *testing.T) {
	for name, end := range map[string]func(*served, *exec.Cmd) error{
		"interrupted": func(_ *served, watching *exec.Cmd) error { return watching.Process.Signal(syscall.SIGINT) },
		"no such process": func(s *served, _ *exec.Cmd) error {
			err := s.cmd.Process.Kill()
			_ = s.cmd.Wait() // says that it was killed
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveOne(t, "et-drain")
			watching := program("inspect", s.pid(), "--watch", "60ms", "--sample", "20ms", "--format", "json")
			var errOut bytes.Buffer
			watching.Stderr = &errOut
			pipe, err := watching.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := watching.Start(); err != nil {
				t.Fatal(err)
			}
			defer time.AfterFunc(deadline, func() { _ = watching.Process.Kill() }).Stop()
			var out strings.Builder
			looks := 0
			for lines := bufio.NewScanner(pipe); lines.Scan(); {
				out.WriteString(lines.Text() + "\n")
				if strings.HasPrefix(lines.Text(), `{"type":"instance"`) {
					if looks++; looks == 3 {
						if err := end(s, watching); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			_ = watching.Wait()
			if watching.ProcessState.ExitCode() != exitDone || errOut.Len() > 0 {
				t.Errorf("status %d: %s", watching.ProcessState.ExitCode(), errOut.String())
			}
			lines := parseInspection(t, out.String())
			if last := lines[len(lines)-1]; last.Looks < 3 || !strings.Contains(last.Ended, name) && !strings.Contains(last.Ended, "zombie") {
				t.Errorf("summary %+v", last)
			}
		})
	}
}

func TestInspectToFile(t *testing.T) {
	s := serveOne(t, "et-drain")
	file := filepath.Join(t.TempDir(), "out")
	got := runProgram(t, "inspect", s.pid(), "--sample", "20ms", "--output", file)
	text, err := os.ReadFile(file)
	if got.status != exitDone || got.stdout != "" || err != nil || !strings.Contains(string(text), "epoll instance fd ") {
		t.Errorf("status %d: %s%s%v\n%s", got.status, got.stdout, got.stderr, err, text)
	}
}

// mostMemory follows a process to its end and returns the most MiB that it was seen to have. What wait(2) tells would count in the
// memory of this test, which the process shared until its exec.
func mostMemory(pid int) int {
	most := 0
	for ; ; time.Sleep(2 * time.Millisecond) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, after, running := strings.Cut(string(status), "VmHWM:")
		if err != nil || !running {
			return most
		}
		var kib int
		if _, err := fmt.Sscan(after, &kib); err == nil {
			most = max(most, kib>>10)
		}
	}
}

// Ten thousand connections in one instance take less than two seconds and little memory.
func TestInspectManyConnections(t *testing.T) {
	want := 10_000
	if testing.Short() || inVM() {
		want = 500
	}
	conns := min(want, (descriptorLimit(t, uint64(2*want+500))-500)/2)
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	fds := []int{ep}
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	add := func(fd int, err error) int {
		if err != nil {
			t.Fatalf("after %d descriptors: %v", len(fds), err)
		}
		fds = append(fds, fd)
		return fd
	}
	l := add(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	if err := unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(l, 128); err != nil {
		t.Fatal(err)
	}
	to, err := unix.Getsockname(l)
	if err != nil {
		t.Fatal(err)
	}
	for range conns {
		c := add(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		// The end closes with a reset, or thousands of ports would stay in TIME_WAIT.
		_ = unix.SetsockoptLinger(c, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		if err := unix.Connect(c, to); err != nil {
			t.Fatal(err)
		}
		fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
		add(fd, err)
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			t.Fatal(err)
		}
	}
	cmd := program("inspect", uitoa(uint32(os.Getpid())), "--format", "json")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	memory := make(chan int, 1)
	go func() { memory <- mostMemory(cmd.Process.Pid) }()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	// Of the processor, because a busy machine is slow.
	took := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	lines := parseInspection(t, out.String())
	if last := lines[len(lines)-1]; last.Items < conns || len(last.Findings) > 0 {
		t.Errorf("summary %+v", last)
	}
	connected := 0
	for _, item := range ofType(lines, "snapshot") {
		if item.State == "ESTABLISHED" {
			connected++
		}
	}
	used := <-memory
	t.Logf("%d connections: %v, %d MiB", conns, took, used)
	if connected < conns || used > 100 {
		t.Errorf("%d of %d connections, %d MiB", connected, conns, used)
	}
	if took > 2*time.Second && !testing.Short() && !inVM() { // the race detector has a pace of its own, and so has emulation
		t.Errorf("it took %v", took)
	}
}

// descriptorLimit raises the limit for the length of the test as far as it goes, to want at most.
func descriptorLimit(t *testing.T, want uint64) int {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &was) })
	for _, more := range []unix.Rlimit{{Cur: want, Max: max(want, was.Max)}, {Cur: min(want, was.Max), Max: was.Max}} {
		if more.Cur <= was.Cur {
			break
		}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &more) == nil {
			return int(more.Cur)
		}
	}
	return int(was.Cur)
}
