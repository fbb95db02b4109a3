package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// threshold is how long whatever is wrong lasts before these tests call it so; long enough for a VM to be slow.
const threshold = 400 * time.Millisecond

func attachArgs(more ...string) []string {
	return append([]string{
		"attach", "--format", "json", "--et-unread", threshold.String(), "--oneshot-disarmed", threshold.String(),
		"--close-wait", threshold.String(),
	}, more...)
}

// TestAttach has four servers as one target: one that was left with unread input before, one whose disarmed item has input
// and a hang-up, one that is healthy, and one that goes wrong only afterwards. Each is told apart from the others, what
// was seen from what was found, and the observation ends with the last of them.
func TestAttach(t *testing.T) {
	usableFamilies(t)
	stuck, disarmed, healthy, fresh := startTarget(t, "et-partial"), startTarget(t, "oneshot"), startTarget(t, "lt"), startTarget(t, "et-partial")
	stuckPeer := stuck.dial()
	stuckPeer.send("01234567890123456789")
	stuckPeer.echo(16)
	disarmedPeer := disarmed.dial()
	disarmedPeer.send("01234567890123456789")
	disarmedPeer.echo(16)
	disarmedPeer.send("end")
	if err := disarmedPeer.conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	idle := healthy.dial()
	idle.send("0123456789")
	idle.echo(10)

	r := beginCommand(t, attachArgs(stuck.arg(), disarmed.arg(), healthy.arg(), fresh.arg())...)
	begun := time.Now()
	if want := []uint32{stuck.pid(), disarmed.pid(), healthy.pid(), fresh.pid()}; !slices.Equal(r.meta.PIDs, want) {
		t.Errorf("the processes are %v, want %v", r.meta.PIDs, want)
	}
	out := r.first + r.await(`"check":"close-wait"`)
	if !strings.Contains(out, `"check":"et-unread"`) {
		out += r.await(`"check":"et-unread"`)
	}
	limit := 2 * time.Second
	if inVM() {
		limit *= 2 // emulation
	}
	if took := time.Since(begun); took > limit {
		t.Errorf("the stuck servers were named after %v", took)
	}
	// What was stuck goes on, and ends in what it must come to.
	stuckPeer.send("01234567890123456789")
	out += r.await(`"outcome":"rescued"`)
	stuckPeer.echo(16)
	stuckPeer.conn.Close()
	freshPeer := fresh.dial()
	freshPeer.send("01234567890123456789")
	freshPeer.echo(16)
	for !strings.Contains(lastLine(out), fmt.Sprintf(`"pid":%d`, fresh.pid())) {
		out += r.await(`"check":"et-unread"`, `"outcome":"ongoing"`)
	}
	for _, s := range []*target{stuck, disarmed, healthy, fresh} {
		s.kill()
	}
	got := r.rest()
	out += got.stdout
	if got.status != exitDone || got.stderr != "" {
		t.Errorf("status %d: %s", got.status, got.stderr)
	}
	rec := parse(t, out)
	checkSchema(t, out, "meta", "event", "finding", "summary")
	type told struct {
		pid      uint32
		check    string
		unread   uint32
		outcome  string
		snapshot bool
		root     string
	}
	var found []told
	for _, f := range rec.findings() {
		found = append(found, told{f.PID, f.Check, f.Unread, f.Outcome, f.Snapshot, f.Root})
		if f.Snapshot != strings.Contains(f.Message, "epwatch came") {
			t.Errorf("snapshot %t: %s", f.Snapshot, f.Message)
		}
	}
	for _, want := range []told{
		{stuck.pid(), "et-unread", 4, "rescued", true, ""},
		{stuck.pid(), "reset-on-close", 8, "lost", false, ""},
		{disarmed.pid(), "oneshot-disarmed", 7, "lost", true, ""},
		{disarmed.pid(), "close-wait", 7, "lost", true, "oneshot-disarmed"},
		{disarmed.pid(), "reset-on-close", 7, "lost", false, "oneshot-disarmed"},
		{fresh.pid(), "et-unread", 4, "lost", false, ""},
		{fresh.pid(), "reset-on-close", 4, "lost", false, "et-unread"},
	} {
		i := slices.Index(found, want)
		if i < 0 {
			t.Errorf("not found: %+v", want)
			continue
		}
		found = slices.Delete(found, i, i+1)
	}
	for _, f := range found {
		// The second leftover of the stuck one may last long enough or not, before its peer closes.
		if f.pid != stuck.pid() || f.check != "et-unread" || f.unread != 8 {
			t.Errorf("found besides: %+v", f)
		}
	}
	s := rec.summary()
	if s.Ended != errAllEnded.Error() || s.Lost > 0 || len(s.Unknown) > 0 || len(s.Checks) != len(checkCodes()) || s.CPU <= 0 {
		t.Errorf("summary: %+v", s)
	}
	if s.Matched != s.Receives || len(s.Unmatched) > 0 {
		t.Errorf("matching: %+v", s)
	}
	if t.Failed() {
		t.Log(out)
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return lines[len(lines)-1]
}

// TestAttachUnderLoad attaches and goes away again and again, the last time by SIGKILL: the server answers every request
// all the while, keeps its descriptors, and nothing is left in the kernel.
func TestAttachUnderLoad(t *testing.T) {
	needTracing(t)
	times := 20
	if inVM() {
		times = 1 // an attach takes seconds there
	}
	s := startTarget(t, "et-drain")
	s.swallow()
	before, held := bpfPrograms(t), descriptorsOf(t, s.pid())
	l := startLoad(s.address())
	for i := range times {
		last := i == times-1
		r := beginCommand(t, "attach", "--format", "json", s.arg())
		r.await(`"kind":"recv"`)
		if last {
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
			break
		}
		out := make(chan result, 1)
		go func() { out <- r.rest() }()
		_ = r.cmd.Process.Signal(syscall.SIGINT)
		got := <-out
		rec := parse(t, `{"type":"meta"}`+"\n"+got.stdout)
		if sum := rec.summary(); got.status != exitDone || got.stderr != "" || sum.Ended != errInterrupted.Error() || sum.Lost > 0 {
			t.Fatalf("attach %d: status %d: %s; %+v", i+1, got.status, got.stderr, sum)
		}
		if found := rec.findings(); len(found) > 0 {
			t.Fatalf("attach %d accuses a healthy server: %+v", i+1, found)
		}
	}
	for end := time.Now().Add(deadline); ; time.Sleep(10 * time.Millisecond) { // freed after a grace period
		left := bpfPrograms(t)
		maps.DeleteFunc(left, func(id uint32, _ bool) bool { return before[id] })
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Errorf("%d programs were left in the kernel", len(left))
			break
		}
	}
	answered, err := l.end()
	if err != nil || answered == 0 {
		t.Errorf("%d requests were answered, and then: %v", answered, err)
	}
	t.Logf("%d requests were answered", answered)
	for end := time.Now().Add(deadline); ; time.Sleep(10 * time.Millisecond) { // the server closes what its clients closed
		now := descriptorsOf(t, s.pid())
		if now == held {
			break
		}
		if time.Now().After(end) {
			t.Errorf("the server holds %d descriptors, before it held %d", now, held)
			break
		}
	}
}

func descriptorsOf(t *testing.T, pid uint32) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/" + uitoa(pid) + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestAttachInnocent is a server of this test's own, with its loop, that is not wrong when epwatch comes: a byte has just
// arrived and is read a little later.
func TestAttachInnocent(t *testing.T) {
	usableFamilies(t)
	if inVM() {
		return // this is about the checks, not about the kernel
	}
	var pair [2]int
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(err)
	defer unix.Close(listener)
	check(unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(unix.Listen(listener, 1))
	where, err := unix.Getsockname(listener)
	check(err)
	pair[0], err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check(err)
	defer unix.Close(pair[0])
	check(unix.Connect(pair[0], where))
	pair[1], _, err = unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	check(err)
	defer unix.Close(pair[1])
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	check(err)
	defer unix.Close(ep)
	check(unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, pair[1], &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: int32(pair[1])}))
	var events [8]unix.EpollEvent
	wait := func(ms int) {
		t.Helper()
		if _, err := unix.EpollWait(ep, events[:], ms); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
	_, err = unix.Write(pair[0], []byte("x"))
	check(err)
	wait(1000) // told of it, and busy with something else when epwatch comes

	r := beginCommand(t, attachArgs("--duration", "1500ms", uitoa(uint32(os.Getpid())))...)
	wait(100)
	var b [8]byte
	if n, err := unix.Read(pair[1], b[:]); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wait(100)
	got := r.rest()
	rec := parse(t, r.first+got.stdout)
	saw := slices.ContainsFunc(rec.events, func(e event.Event) bool {
		return e.Kind == event.KindSnapshot && e.FD == int32(pair[1]) && e.Unread == 1
	})
	if s := rec.summary(); got.status != exitDone || !saw || len(rec.findings()) > 0 || s.Ended != errTimeUp.Error() {
		t.Errorf("status %d: %s; the byte was seen: %t; %+v", got.status, got.stderr, saw, s)
		t.Log(got.stdout)
	}
}

// TestAttachByName takes in a process that starts only later, and leaves out what is not asked for.
func TestAttachByName(t *testing.T) {
	usableFamilies(t)
	if inVM() {
		return // the tracer's own tests do this there
	}
	name := fmt.Sprintf("epw-%d", os.Getpid())
	link := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(program().Path, link); err != nil {
		t.Fatal(err)
	}
	ready := filepath.Join(t.TempDir(), "ready")
	r := beginCommand(t, "attach", "--format", "json", "--comm", name, "--events", "recv,read", "--ready-file", ready)
	if _, err := os.Stat(ready); err != nil {
		t.Error(err)
	}
	out := r.first + r.await(`"type":"note"`, "no process has that name")
	cmd := program("serve", "lt", "--port", "0")
	cmd.Path = link
	s := startNamed(t, cmd)
	out += r.await(`"type":"process"`, name)
	p := s.dial()
	p.send("0123456789")
	p.echo(10)
	out += r.await(`"kind":"read"`)
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	got := r.rest()
	out += got.stdout
	rec := parse(t, out)
	checkSchema(t, out, "note", "process", "event", "summary")
	for _, e := range rec.events {
		if e.PID != s.pid() || !slices.Contains(append(vital(), event.KindRecv, event.KindRead), e.Kind) {
			t.Errorf("a %s of process %d", e.Kind, e.PID)
		}
	}
	if sum := rec.summary(); got.status != exitDone || len(sum.Unknown) != len(checkCodes()) {
		t.Errorf("status %d: %s; with two kinds of events there are %d checks without an answer", got.status, got.stderr, len(sum.Unknown))
	}
}

// TestAttachFailOn is the status for scripts, and the text for people.
func TestAttachFailOn(t *testing.T) {
	usableFamilies(t)
	if inVM() {
		return // this is about the command line, not about the kernel
	}
	s := startTarget(t, "et-partial")
	p := s.dial()
	p.send("01234567890123456789")
	p.echo(16)
	file := filepath.Join(t.TempDir(), "out")
	got := runProgram(t, "attach", s.arg(), "--quiet", "--duration", "1s", "--et-unread", "200ms", "--fail-on", "any", "--output", file)
	if want := fmt.Sprintf("epwatch: checking %s: found et-unread (--fail-on)\n", s.arg()); got.status != exitFinding || got.stderr != want || got.stdout != "" {
		t.Errorf("%+v", got)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	flat := strings.Join(strings.Fields(text), " ")
	for _, want := range []string{
		"4 bytes lay unread on an edge-triggered item when epwatch came", "how it came about was not seen", "et-unread found",
		"close-wait clean", "ended: the duration is over", "of processor time", "nothing lost",
	} {
		if !strings.Contains(flat, want) {
			t.Errorf("the text lacks %q", want)
		}
	}
	for l := range strings.Lines(text) {
		if n := len([]rune(l)); n > 101 {
			t.Errorf("%d columns: %s", n-1, l)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	got = runProgram(t, "attach", s.arg(), "--quiet", "--duration", "600ms", "--et-unread", "200ms", "--fail-on", "close-wait")
	if got.status != exitDone {
		t.Errorf("--fail-on close-wait: %+v", got)
	}
}

// TestAttachClosedPipe: a reader that goes away ends an observation of a busy server without a word.
func TestAttachClosedPipe(t *testing.T) {
	usableFamilies(t)
	if inVM() {
		return // trace does this there
	}
	s := startTarget(t, "et-drain")
	s.swallow()
	l := startLoad(s.address())
	r := beginCommand(t, "attach", "--format", "json", s.arg())
	r.await(`"kind":"recv"`)
	r.pipe.Close()
	_ = r.cmd.Wait()
	if status := r.cmd.ProcessState.ExitCode(); status != exitFailed || r.stderr.Len() > 0 {
		t.Errorf("status %d (%v): %s", status, r.cmd.ProcessState, r.stderr.String())
	}
	if _, err := l.end(); err != nil {
		t.Error(err)
	}
}

// TestAttachRefuses: each thing that cannot be observed is one clear line.
func TestAttachRefuses(t *testing.T) {
	ended := program("version")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	zombie := program("version")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = zombie.Wait() }()
	gone(t, uint32(zombie.Process.Pid))
	refused := map[int]string{
		ended.Process.Pid:  "no such process",
		zombie.Process.Pid: "it is a zombie: it has ended, and only its parent's wait is missing",
		1 << 30:            "no such process",
	}
	if comm := commOf(2); comm == "kthreadd" {
		refused[2] = "it is a kernel thread"
	}
	if tid := unix.Gettid(); tid != os.Getpid() {
		refused[tid] = fmt.Sprintf("it is a thread, not a process (of process %d)", os.Getpid())
	}
	for pid, why := range refused {
		got := runProgram(t, "attach", fmt.Sprint(pid))
		if want := fmt.Sprintf("epwatch: attaching to %d: %s\n", pid, why); got.status != exitFailed || got.stderr != want || got.stdout != "" {
			t.Errorf("status %d: %s, want %s", got.status, got.stderr, want)
		}
	}
}
