package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

// helperMain is a command for run to run: it says what it got, and ends as it is told. The first word that is a number is
// its exit status.
func helperMain() {
	status := 0
	for _, word := range os.Args[1:] {
		switch word {
		case "fds":
			entries, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				panic(err)
			}
			for _, e := range entries {
				to, _ := os.Readlink("/proc/self/fd/" + e.Name())
				if !strings.HasPrefix(to, "/proc/") { // the folder itself
					fmt.Println("fd", e.Name(), to)
				}
			}
		case "env":
			fmt.Println(strings.Join(os.Environ(), "\n"))
		case "cwd":
			dir, _ := os.Getwd()
			fmt.Println(dir)
		case "stdin":
			var line string
			_, _ = fmt.Scanln(&line)
			fmt.Println(line)
		case "stderr":
			fmt.Fprintln(os.Stderr, "said on standard error")
		case "http":
			goTarget()
		case "die":
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "signals":
			c := make(chan os.Signal, 8)
			signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
			fmt.Println("listening")
			for s := range c {
				fmt.Println(s)
				if s == syscall.SIGTERM {
					break
				}
			}
		default:
			status, _ = strconv.Atoi(word)
		}
	}
	os.Exit(status)
}

// helper returns the path of a command that does what helperMain says.
func helper(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "helper")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	return link
}

// TestRun: the command's output, status, descriptors, environment and folder are its own, what is recorded begins with its exec
// and ends with its exit.
func TestRun(t *testing.T) {
	usableFamilies(t)
	file := filepath.Join(t.TempDir(), "out.jsonl")
	alone := exec.Command(helper(t), "fds", "env", "cwd", "stderr", "7")
	alone.Dir = t.TempDir()
	alone.Env = append(os.Environ(), "EPWATCH_TEST=a b", "NO_COLOR=1")
	watched := program(append([]string{"run", "--format", "json", "--output", file, "--"}, alone.Args...)...)
	watched.Dir, watched.Env = alone.Dir, alone.Env
	runBoth := func(cmd *exec.Cmd) result {
		var out, errOut strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errOut
		_ = cmd.Run()
		// Pipes have numbers of their own.
		lines := strings.Split(out.String(), "\n")
		for i, l := range lines {
			if head, _, ok := strings.Cut(l, " pipe:["); ok && strings.HasPrefix(l, "fd ") {
				lines[i] = head
			}
		}
		return result{strings.Join(lines, "\n"), errOut.String(), cmd.ProcessState.ExitCode()}
	}
	want, got := runBoth(alone), runBoth(watched)
	if want != got || got.status != 7 {
		t.Errorf("alone:\n%+v\nunder observation:\n%+v", want, got)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rec := parse(t, string(b))
	checkSchema(t, string(b), "meta", "event", "summary")
	if len(rec.events) < 2 {
		t.Fatalf("recorded:\n%s", b)
	}
	first, last := rec.events[0], rec.events[len(rec.events)-1]
	if pid := rec.lines[0].PIDs[0]; first.Kind != event.KindExec || first.PID != pid {
		t.Errorf("the first event is %s of process %d, want exec of %d", first.Kind, first.PID, pid)
	}
	if i := slices.IndexFunc(rec.events, func(e event.Event) bool { return e.Kind == event.KindExit && e.Has(event.Last) }); i < 0 || rec.events[i].Ret != 7<<8 {
		t.Errorf("the last event is %s with %#x", last.Kind, last.Ret)
	}
	if s := rec.summary(); s.Ended != errCommandEnded.Error() || s.Lost > 0 {
		t.Errorf("summary: %+v", s)
	}
}

// TestRunStatus: the command's own, unless epwatch has something to say.
func TestRunStatus(t *testing.T) {
	usableFamilies(t)
	if inVM() {
		return // this is about processes, not about the kernel's hooks
	}
	h := helper(t)
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"--", h, "0"}, 0, ""},
		{[]string{"--", h, "die"}, 128 + 9, ""},
		{[]string{"--fail-on", "any", "--", h, "5"}, 5, ""},
		{[]string{h, "--quiet"}, 0, ""}, // flags behind it are the command's
		{[]string{"--", filepath.Dir(h) + "/nowhere"}, exitFailed, "no such file or directory"},
		{[]string{"--", "epwatch-nowhere"}, exitFailed, "executable file not found in $PATH"},
		{[]string{"--", filepath.Dir(h)}, exitFailed, "is a directory"},
		{[]string{"--", unfit(t)}, exitFailed, "exec format error"},
	} {
		out := filepath.Join(t.TempDir(), "out")
		got := runProgram(t, slices.Concat([]string{"run", "--quiet", "--output", out}, c.args)...)
		want := ""
		if c.says != "" {
			want = fmt.Sprintf("epwatch: running %s: %s\n", c.args[len(c.args)-1], c.says)
		}
		if got.status != c.status || got.stderr != want || got.stdout != "" {
			t.Errorf("run %v: %+v, want status %d and %q", c.args, got, c.status, want)
		}
	}
}

// unfit is a file that may be executed and cannot.
func unfit(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "unfit")
	if err := os.WriteFile(path, []byte("words\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRunSignals: what epwatch is sent the command gets, once.
func TestRunSignals(t *testing.T) {
	usableFamilies(t)
	if inVM() {
		return // this is about processes, not about the kernel's hooks
	}
	cmd := program("run", "--quiet", "--output", filepath.Join(t.TempDir(), "out"), "--", helper(t), "signals", "4")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // the command too, which holds the pipe
	defer end()
	defer time.AfterFunc(deadline, end).Stop()
	var said string
	word := func() { _, _ = fmt.Fscanln(out, &said) }
	word()
	if said != "listening" {
		t.Fatalf("the command said %q", said)
	}
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGTERM} {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 100)
		n, err := out.Read(buffer)
		if got := string(buffer[:n]); err != nil || got != s.String()+"\n" {
			t.Errorf("after %v the command said %q (%v)", s, got, err)
		}
	}
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 4 {
		t.Errorf("%v", cmd.ProcessState)
	}
}

// TestRunServer observes a server from its first call on, and fails on what is wrong with it.
func TestRunServer(t *testing.T) {
	usableFamilies(t)
	if inVM() {
		return // trace does this there
	}
	file := filepath.Join(t.TempDir(), "out.jsonl")
	server := filepath.Join(t.TempDir(), "epwatch")
	if err := os.Symlink(program().Path, server); err != nil {
		t.Fatal(err)
	}
	cmd := program("run", "--format", "json", "--output", file, "--et-unread", "200ms", "--fail-on", "et-unread", "--",
		server, "serve", "et-partial", "--port", "0")
	s := startNamed(t, cmd)
	p := s.dial()
	p.send("01234567890123456789")
	p.echo(16)
	for end := time.Now().Add(deadline); ; time.Sleep(10 * time.Millisecond) {
		if b, _ := os.ReadFile(file); strings.Contains(string(b), `"check":"et-unread"`) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no et-unread was found")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != exitFinding {
		t.Errorf("%v", cmd.ProcessState)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rec := parse(t, string(b))
	created := slices.ContainsFunc(rec.events, func(e event.Event) bool { return e.Kind == event.KindEpollCreate })
	found := rec.findings()
	if !created || len(found) != 2 || found[0].Check != "et-unread" || found[0].Unread != 4 || found[0].Snapshot {
		t.Errorf("its first epoll_create was seen: %t; found: %+v", created, found)
	}
	if s := rec.summary(); s.Matched != s.Receives || s.Reads == 0 || len(s.Unmatched) > 0 {
		t.Errorf("summary: %+v", s)
	}
}
