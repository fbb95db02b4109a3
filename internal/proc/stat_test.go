package proc

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const tail = " 0 0 31 0 0"

func TestParseStat(t *testing.T) {
	tests := []struct {
		name, line string
		want       Process
	}{
		{"plain", "42 (nginx) S 1 42 42 0 -1 4194560 77 0 0 0 5 3 0 0 20 0 4 0 9876" + tail,
			Process{PID: 42, Parent: 1, Comm: "nginx", State: 'S', Threads: 4, StartTime: 9876}},
		{"a name that looks like the rest", "7 (a) R 9 (b) Z 1 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5" + tail,
			Process{PID: 7, Parent: 1, Comm: "a) R 9 (b", State: 'Z', Threads: 1, StartTime: 5}},
		{"kernel thread", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 2 0 0 20 0 1 0 31" + tail,
			Process{PID: 2, Comm: "kthreadd", State: 'S', Threads: 1, Kernel: true, StartTime: 31}},
	}
	for _, tt := range tests {
		got, err := parseStat([]byte(tt.line + "\n"))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.name, diff)
		}
	}
	for _, bad := range []string{"", "42", "42 (nginx)", "42 (nginx S 1", "(x) S 1", "42 (x) S 1 2 3", "x (x) S 1 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5" + tail} {
		if p, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, p)
		}
	}
}

func TestParseStatus(t *testing.T) {
	var p Process
	text := "Name:\tx\nTgid:\t42\nUid:\t1000\t1001\t1002\t1003\nNSpid:\t42\t7\t1\nThreads:\t1\n"
	if leader := parseStatus([]byte(text), &p); leader != 42 {
		t.Errorf("leader %d", leader)
	}
	if diff := cmp.Diff(Process{UID: 1001, NSPID: []uint32{42, 7, 1}}, p); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if leader := parseStatus([]byte("Tgid:\nUid:\n\n"), &p); leader != 0 {
		t.Errorf("leader %d of nothing", leader)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (nginx) S 1 42 42 0 -1 4194560 77 0 0 0 5 3 0 0 20 0 4 0 9876" + tail))
	f.Add([]byte(")("))
	f.Fuzz(func(t *testing.T, line []byte) {
		p, err := parseStat(line)
		if err == nil && p.Threads < 0 || err != nil && p.Comm != "" {
			t.Errorf("%+v, %v", p, err)
		}
		parseStatus(line, &p)
	})
}

func TestStatGone(t *testing.T) {
	if _, err := Stat(1 << 30); !errors.Is(err, ErrGone) {
		t.Errorf("a process beyond every limit: %v", err)
	}
	if _, err := Stat(0); !errors.Is(err, ErrGone) {
		t.Errorf("process 0: %v", err)
	}
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("no /proc here")
	}
	p, err := Stat(uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	if p.PID != uint32(os.Getpid()) || p.Parent != uint32(os.Getppid()) || p.UID != uint32(os.Geteuid()) || p.StartTime == 0 || p.Threads < 1 {
		t.Errorf("%+v", p)
	}
}
