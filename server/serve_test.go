package server

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const shortTimeout = 200 * time.Millisecond

// journals are what the servers' reads return in one documented run.
var journals = map[string][]int64{
	"et-drain":      {16, 4, again},
	"et-partial":    {16, 16},
	"lt":            {16, 4, 0},
	"oneshot":       {16},
	"et-fair":       {16, 4, again, 0},
	"oneshot-rearm": {16, 4, 3, 0},
}

// echoes are what the clients get back.
var echoes = map[string]string{
	"et-drain":      "01234567890123456789",
	"et-partial":    "01234567890123456789012345678901",
	"lt":            "01234567890123456789",
	"oneshot":       "0123456789012345",
	"et-fair":       "01234567890123456789",
	"oneshot-rearm": "01234567890123456789end",
}

func TestVariants(t *testing.T) {
	for _, v := range Variants() {
		for _, address := range []string{"", "::1"} {
			t.Run(v.Name+"/"+address, func(t *testing.T) {
				t.Parallel()
				if _, err := os.Stat("/proc/net/if_inet6"); err != nil && address == "::1" {
					t.Skip("this kernel has no IPv6")
				}
				run(t, v, address)
			})
		}
	}
}

func run(t *testing.T, v Variant, address string) {
	s := start(t, v.Name, address)
	var moments []string
	got, err := Client(context.Background(), ClientOptions{
		Variant: v, Address: address, Port: s.port, Timeout: shortTimeout, OnStep: func(m Moment) {
			if m.Name == Connected {
				s.awaitLine(t, "[+] accept client", 1)
			}
			moments = append(moments, m.Name)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitLine(t, v.LastLine(), 1)
	if n := s.epolls(t); n != 1 {
		t.Errorf("the server has %d epoll instances", n)
	}
	if st := s.end(t, syscall.SIGINT); !st.Signaled() || st.Signal() != syscall.SIGINT {
		t.Errorf("the server ended with status %#x, stderr %q", st, &s.stderr)
	}
	if diff := cmp.Diff(fillIn(v.Lines, got), s.lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if got.Echo() != echoes[v.Name] {
		t.Errorf("the client got %q", got.Echo())
	}
	if want := 1 + len(v.Script); len(moments) != want || len(got.Moments) != want {
		t.Errorf("moments %q", moments)
	}
	checkJournal(t, v, s)
}

func checkJournal(t *testing.T, v Variant, s *child) {
	t.Helper()
	first, reads := s.records[0], s.records[1:]
	if first.Kind != Listening || int(first.Result) != s.port {
		t.Errorf("the journal begins with %+v", first)
	}
	var results []int64
	for i, r := range reads {
		results = append(results, int64(r.Result))
		if r.Kind != ReadDone || r.FD != reads[0].FD || r.FD == first.FD || r.TID != first.TID {
			t.Errorf("entry %d is %+v", i+1, r)
		}
		if r.Time <= s.records[i].Time {
			t.Errorf("entry %d is not later than the one before", i+1)
		}
	}
	if !slices.Equal(results, journals[v.Name]) {
		t.Errorf("the reads returned %v instead of %v", results, journals[v.Name])
	}
}

// TestHowItEnds looks at the end from the client's side, with half a close so that it can see what comes: servers that
// leave bytes unread reset, the others close in order.
func TestHowItEnds(t *testing.T) {
	resets := map[string]bool{"et-partial": true, "oneshot": true}
	for _, v := range Variants() {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			s := start(t, v.Name, "")
			c := dial(t, s)
			got := 0
			for _, step := range v.Script {
				if step.Action != Send {
					continue
				}
				if _, err := c.Write([]byte(step.Text)); err != nil {
					t.Fatal(err)
				}
				want := len(journalUpTo(v, &got))
				if _, err := io.ReadFull(c, make([]byte, want)); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if v.Name == "oneshot" {
				s.end(t, syscall.SIGINT)
			}
			n, err := c.Read(make([]byte, 64))
			if want := resets[v.Name]; errors.Is(err, unix.ECONNRESET) != want || errors.Is(err, io.EOF) == want {
				t.Errorf("the client read %d bytes, then %v", n, err)
			}
		})
	}
}

// journalUpTo returns what is echoed for the next send of a script, given how much was echoed before.
func journalUpTo(v Variant, before *int) string {
	parts := map[string][]int{
		"et-drain": {20}, "et-partial": {16, 16}, "lt": {20}, "oneshot": {16, 0}, "et-fair": {20}, "oneshot-rearm": {20, 3},
	}[v.Name]
	n := parts[*before]
	*before++
	return strings.Repeat("x", n)
}

// TestMuch sends far more than a turn takes to the variants that promise to lose nothing, and closes at once.
func TestMuch(t *testing.T) {
	const much = 3*TurnBytes + 5
	for _, name := range []string{"et-drain", "lt", "et-fair", "oneshot-rearm"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, name, "")
			c := dial(t, s)
			go func() {
				_, _ = c.Write(make([]byte, much))
				if name == "et-fair" || name == "oneshot-rearm" {
					_ = c.CloseWrite()
				}
			}()
			if _, err := io.ReadFull(c, make([]byte, much)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestGate(t *testing.T) {
	s := spawn(t, "lt", "")
	s.gate.Close()
	if st := s.wait(t); st.ExitStatus() != 1 || len(s.lines) != 0 {
		t.Errorf("status %#x, printed %q", st, s.lines)
	}
	if got, want := s.stderr.String(), "waiting for the start: the observing process is gone\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEndsWithItsJournal(t *testing.T) {
	s := start(t, "lt", "")
	if err := s.journal.Close(); err != nil {
		t.Fatal(err)
	}
	if st := s.wait(t); !st.Signaled() || st.Signal() != syscall.SIGTERM {
		t.Errorf("status %#x, stderr %q", st, &s.stderr)
	}
}

func TestListenErrors(t *testing.T) {
	taken, port, err := listen("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(taken)
	p := strconv.Itoa(port)
	tests := []struct {
		address string
		port    int
		want    string
	}{
		{"127.0.0.1", port, "listening on 127.0.0.1:" + p + ": address already in use (another process listens there; choose a port with --port)"},
		{"here", 1, "listening on here:1: not an IPv4 or IPv6 address"},
		{"::1", 65536, "listening on [::1]:65536: no such port (0 to 65535)"},
		{"fe80::1%nosuch", 1, `listening on [fe80::1%nosuch]:1: no interface "nosuch"`},
		{"192.0.2.1", 0, "listening on 192.0.2.1:0: cannot assign requested address (no interface of this machine has that address)"},
	}
	for _, test := range tests {
		fd, _, err := listen(test.address, test.port)
		if err == nil {
			unix.Close(fd)
		}
		if err == nil || err.Error() != test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

// dial connects and waits for the server's word that it has registered the connection.
func dial(t *testing.T, s *child) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	s.awaitLine(t, "[+] accept client "+c.LocalAddr().String(), 1)
	return c.(*net.TCPConn)
}
