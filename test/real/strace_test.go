//go:build linux

package real

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// counts are what one observer saw of a server's work on its TCP connections.
type counts struct {
	Reads, ReadBytes     int // reads that returned bytes
	Ends                 int // reads that returned the end of the stream
	Empty                int // reads that found nothing
	Writes, WrittenBytes int
	Accepts              int
	AcceptsEmpty         int
	Closes               int
	Waits                int // waits that returned something
	Deliveries           int
}

// call adds one call on a socket with its result.
func (c *counts) call(kind callKind, result int) {
	switch {
	case kind == reading && result == 0:
		c.Ends++
	case kind == reading && result > 0:
		c.Reads++
		c.ReadBytes += result
	case kind == reading:
		c.Empty++
	case kind == writing && result >= 0:
		c.Writes++
		c.WrittenBytes += result
	case kind == accepting && result >= 0:
		c.Accepts++
	case kind == accepting:
		c.AcceptsEmpty++
	case kind == closing && result == 0:
		c.Closes++
	case kind == waiting && result > 0:
		c.Waits++
		c.Deliveries += result
	}
}

type callKind int

const (
	otherCall callKind = iota
	reading
	writing
	accepting
	closing
	waiting
)

// compared are the calls of both observers.
const compared = "read,readv,recvfrom,recvmsg,recvmmsg,write,writev,sendto,sendmsg,sendmmsg,sendfile,accept4,accept,close,epoll_wait,epoll_pwait,epoll_pwait2"

func kindOf(call string) callKind {
	switch call {
	case "read", "readv", "recvfrom", "recvmsg", "recvmmsg":
		return reading
	case "write", "writev", "sendto", "sendmsg", "sendmmsg", "sendfile":
		return writing
	case "accept", "accept4":
		return accepting
	case "close":
		return closing
	case "epoll_wait", "epoll_pwait", "epoll_pwait2":
		return waiting
	default:
		return otherCall
	}
}

// straced is a strace under way.
type straced struct {
	*process
	path  string
	begin int64 // of what counts in its output
}

// strace returns when it is seen to follow the server. What descriptors are is written behind them.
func strace(t *testing.T, s *target) *straced {
	t.Helper()
	st := &straced{path: filepath.Join(t.TempDir(), "strace")}
	args := []string{"-f", "-qq", "-yy", "-s", "0", "-e", "signal=none", "-e", "trace=" + compared, "-o", st.path}
	for _, pid := range s.pids {
		args = append(args, "-p", strconv.Itoa(pid))
	}
	st.process = start(t, nil, "strace", args...)
	// A thread that is seized but not yet stopped returns from its call unseen, and nothing outside tells the two apart. So
	// connections are made until the whole life of one was seen.
	err := until(deadline, func() bool {
		local := askExactly(t, s, 1)
		seen := func() bool {
			text, _ := os.ReadFile(st.path)
			_, life, accepted := strings.Cut(string(text), fmt.Sprintf("->%s]>\n", local))
			return accepted && strings.Contains(life, fmt.Sprintf("->%s]>) = 0\n", local))
		}
		return until(100*time.Millisecond, seen) == nil
	})
	if err != nil {
		t.Fatalf("waiting for strace: %v\n%s", err, st.output)
	}
	time.Sleep(100 * time.Millisecond) // for what may follow a close
	return st
}

// mark makes what comes from now on count.
func (s *straced) mark(t *testing.T) {
	t.Helper()
	info, err := os.Stat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	s.begin = info.Size()
}

// end lets the processes go and counts what was seen of the connections of a port.
func (s *straced) end(t *testing.T, port int) counts {
	t.Helper()
	// It ends by the signal that it was told to end by.
	if err := s.interrupt(t); errors.Is(err, errTimeout) {
		t.Fatal("strace does not end")
	}
	f, err := os.Open(s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := parseStrace(bufio.NewScanner(f), port, s.begin)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	straceLine   = regexp.MustCompile(`^(\d+) +(?:<\.\.\. (\w+) resumed>)?(.*)$`)
	straceCall   = regexp.MustCompile(`^(\w+)\((\d+)(?:<(.*?)>[,)]| *[,)<])`)
	straceResult = regexp.MustCompile(`^ *(-?\d+|\?)`)
)

// parseStrace counts the calls that ended after so many bytes of the output. It also puts together what strace wrote in two parts, since another thread's call came between. A descriptor is one
// of the connections when strace says that its own address has the port.
func parseStrace(in *bufio.Scanner, port int, after int64) (counts, error) {
	var read int64
	var c counts
	begun := map[string]string{}
	for in.Scan() {
		read += int64(len(in.Bytes()) + 1)
		m := straceLine.FindStringSubmatch(in.Text())
		if m == nil {
			return c, fmt.Errorf("not a line of strace: %q", in.Text())
		}
		thread, text := m[1], m[3]
		if m[2] != "" {
			text = begun[thread] + text
			delete(begun, thread)
		}
		if before, cut := strings.CutSuffix(text, "<unfinished ...>"); cut {
			begun[thread] = before
			continue
		}
		at := strings.LastIndex(text, " = ")
		if at < 0 {
			continue // "+++ exited" and the like
		}
		call := straceCall.FindStringSubmatch(text)
		result := straceResult.FindStringSubmatch(text[at+len(" = "):])
		if call == nil || result == nil {
			return c, fmt.Errorf("not a call of strace: %q", text)
		}
		n, err := strconv.Atoi(result[1])
		if err != nil {
			continue // the call never returned
		}
		if read <= after {
			continue
		}
		if kind := kindOf(call[1]); kind == waiting || ofPort(call[3], kind, port) {
			c.call(kind, n)
		}
	}
	return c, in.Err()
}

// ofPort tells connections from listeners by their peer. An MPTCP listener has no word of its own in some versions.
func ofPort(description string, kind callKind, port int) bool {
	if kind == accepting {
		return true
	}
	return strings.HasPrefix(description, fmt.Sprintf("TCP:[127.0.0.1:%d->", port))
}

func TestParseStrace(t *testing.T) {
	text := `7 epoll_wait(5<anon_inode:[eventpoll]>, [{events=EPOLLIN, data={u32=6, u64=6}}], 10128, 59) = 1
7 accept4(6<TCP:[127.0.0.1:80]>, {sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("127.0.0.1")}, [16], SOCK_CLOEXEC) = 7<TCP:[127.0.0.1:80->127.0.0.1:9]>
7 accept4(6<TCP:[127.0.0.1:80]>, 0x7ffe, [128], SOCK_CLOEXEC) = -1 EAGAIN (Resource temporarily unavailable)
8 epoll_wait(5<anon_inode:[eventpoll]>,  <unfinished ...>
7 read(7<TCP:[127.0.0.1:80->127.0.0.1:9]>, ""..., 16384) = 23
7 read(7<TCP:[127.0.0.1:81->127.0.0.1:80]>, ""..., 16384) = 23
7 read(9</proc/7/stat>, ""..., 4096) = 300
8 <... epoll_wait resumed>[{events=EPOLLIN, data={u32=7, u64=7}}, {events=EPOLLIN, data={u32=8, u64=8}}], 128, -1, NULL, 0) = 2
7 write(7<TCP:[127.0.0.1:80->127.0.0.1:9]>, ""..., 5) = 5
7 recvfrom(7<TCP:[127.0.0.1:80->127.0.0.1:9]>, 0x55, 16, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)
7 read(7<TCP:[127.0.0.1:80->127.0.0.1:9]>, "", 16384) = 0
7 close(7<TCP:[127.0.0.1:80->127.0.0.1:9]>) = 0
7 close(9</proc/7/stat>) = 0
8 epoll_wait(5<anon_inode:[eventpoll]>, 0x1, 128, -1) = -1 EINTR (Interrupted system call)
8 epoll_wait(5<anon_inode:[eventpoll]> <unfinished ...>) = ?
8 +++ exited with 0 +++
`
	got, err := parseStrace(bufio.NewScanner(strings.NewReader(text)), 80, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := counts{Reads: 1, Ends: 1, ReadBytes: 23, Empty: 1, Writes: 1, WrittenBytes: 5, Accepts: 1, AcceptsEmpty: 1, Closes: 1, Waits: 2, Deliveries: 3}
	if got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}
