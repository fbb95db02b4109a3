package tracer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// startWorkload starts a workload, which waits for a line on its gate. It ends with the test, on every path.
func startWorkload(t testing.TB, name string) (cmd *exec.Cmd, gate io.Writer, out io.Reader) {
	t.Helper()
	cmd = exec.Command("/proc/self/exe", "-test.run=^$")
	// Go's runtime interrupts who computes for 10 ms by a signal. A stack that is taken in its handler says nothing of whom it interrupted,
	// because frame pointers do not lead through a signal's frame.
	cmd.Env = append(os.Environ(), workloadVariable+"="+name, "GODEBUG=asyncpreemptoff=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err = cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Process.Kill() })
	return cmd, in, out
}

// observe runs a workload under observation and returns what was recorded, in order of time, and what the workload
// printed.
func observe(t testing.TB, name string, o Options) ([]event.Event, []string, *Tracer) {
	t.Helper()
	cmd, gate, out := startWorkload(t, name)
	o.PIDs = []uint32{uint32(cmd.Process.Pid)}
	tr := open(t, o)
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := gate.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	// Read while it happens, as it is done in earnest.
	read := make(chan []event.Event)
	go func() { read <- drain(t, tr) }()
	var lines []string
	for scan := bufio.NewScanner(out); scan.Scan(); {
		lines = append(lines, scan.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	tr.Stop()
	return <-read, lines, tr
}

// observation is what one workload gave to one family.
type observation struct {
	events []event.Event
	lines  []string
	lost   map[string]uint64
}

// observed is observe with a memory: under emulation attaching takes seconds, so tests that only look share a run.
func observed(t *testing.T, name string, family Family) observation {
	t.Helper()
	key := name + " by " + string(family)
	if o, ok := observations[key]; ok {
		return o
	}
	events, lines, tr := observe(t, name, Options{Backend: family})
	o := observation{events, lines, tr.Stats().Lost}
	observations[key] = o
	return o
}

var observations = make(map[string]observation)

func drain(t testing.TB, tr *Tracer) []event.Event {
	t.Helper()
	var events []event.Event
	var err error
	for !errors.Is(err, io.EOF) {
		events, err = tr.Read(events)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
			break
		}
	}
	slices.SortStableFunc(events, func(a, b event.Event) int { return int(a.Time - b.Time) })
	return events
}

// serverFile returns the descriptor that the workload says is its server side, and the socket behind it.
func serverFile(t testing.TB, events []event.Event, lines []string) (int32, event.Addr) {
	t.Helper()
	for _, line := range lines {
		var fd int32
		if n, _ := fmt.Sscanf(line, "server %d", &fd); n == 1 {
			for _, e := range events {
				if e.Kind == event.KindAccept && e.Ret == int64(fd) {
					return fd, e.SockAddr
				}
			}
			t.Fatalf("no accept returned %d", fd)
		}
	}
	t.Fatalf("the workload said %q", lines)
	return 0, 0
}

// TestExactly23 does 23 rounds and expects 23 of everything, from every family.
func TestExactly23(t *testing.T) {
	needPrivileges(t)
	for _, family := range usableFamilies(t) {
		t.Run(string(family), func(t *testing.T) {
			o := observed(t, "rounds", family)
			events := o.events
			fd, sock := serverFile(t, events, o.lines)
			count := make(map[string]int)
			named := 0
			for _, e := range events {
				switch {
				case e.Kind == event.KindWakeup && e.FD == fd && e.Has(event.HasUnread) && e.Unread == 10 && e.Key.String() == "IN|PRI|RDNORM|RDBAND":
					count["wakeup of 10 bytes"]++
				case e.Kind == event.KindDeliver && e.Data&0xffffffff == uint64(fd) && e.Events == event.In:
					count["delivery of IN"]++
				case e.Kind == event.KindRecv && e.SockAddr == sock && e.Ret == 10 && e.Has(event.HasUnread) && e.Unread == 0:
					count["receive of 10 bytes, 0 left"]++
				case e.Kind == event.KindRead && e.FD == fd && e.SockAddr == sock && e.Ret == 10 && e.Start > 0 && e.Start < e.Time:
					count["read of 10 bytes"]++
				case e.Kind == event.KindSnapshot && e.SockAddr == sock && e.FD == fd:
					named++
				case e.Kind == event.KindWrite && e.Ret == 10:
					count["write of 10 bytes"]++
				}
			}
			for _, what := range []string{"wakeup of 10 bytes", "delivery of IN", "receive of 10 bytes, 0 left", "read of 10 bytes", "write of 10 bytes"} {
				if count[what] != rounds {
					t.Errorf("%d times %s, want %d", count[what], what, rounds)
				}
			}
			if named != 1 {
				t.Errorf("the connection's descriptor was told %d times, want once", named)
			}
			if len(o.lost) > 0 {
				t.Errorf("lost %v", o.lost)
			}
			if t.Failed() {
				dump(t, events)
			}
		})
	}
}

// TestFamiliesAgree compares what two families say of the same history: wakeups of the connection, receives, states,
// resets.
func TestFamiliesAgree(t *testing.T) {
	needPrivileges(t)
	families := usableFamilies(t)
	histories := make(map[Family][]string)
	for _, family := range families {
		o := observed(t, "rounds", family)
		events := o.events
		fd, sock := serverFile(t, events, o.lines)
		for _, e := range events {
			switch {
			case e.Kind == event.KindWakeup && e.FD == fd:
				histories[family] = append(histories[family], fmt.Sprintf("wakeup %v key %v unread %d flags %x", e.Events, e.Key, e.Unread, uint32(e.Flags&^event.Waiter)))
			case e.Kind == event.KindRecv && e.SockAddr == sock:
				histories[family] = append(histories[family], fmt.Sprintf("recv %d unread %d", e.Ret, e.Unread))
			case e.Kind == event.KindState && e.SockAddr == sock:
				histories[family] = append(histories[family], fmt.Sprintf("state %v to %v", e.OldState, e.NewState))
			}
		}
	}
	for _, family := range families[1:] {
		if a, b := strings.Join(histories[families[0]], "\n"), strings.Join(histories[family], "\n"); a != b {
			t.Errorf("%s saw:\n%s\n%s saw:\n%s", families[0], a, family, b)
		}
	}
	if len(histories[families[0]]) < 2*rounds {
		t.Errorf("%s saw only %d events", families[0], len(histories[families[0]]))
	}
}

// TestEveryProgramFires reaches every program of every family once. What it logs is the evidence behind docs/hooks.md.
func TestEveryProgramFires(t *testing.T) {
	needPrivileges(t)
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	for _, family := range usableFamilies(t) {
		t.Run(string(family), func(t *testing.T) {
			events, lines, tr := observe(t, "tour", Options{Backend: family, Packets: true, SlowTurn: tourTurn, Stacks: noNames})
			observations["tour by "+string(family)] = observation{events, lines, tr.Stats().Lost}
			kinds := make(map[event.Kind]int)
			for _, e := range events {
				kinds[e.Kind]++
			}
			for _, h := range tr.Hooks() {
				if len(h.Programs) == 0 {
					t.Logf("hook %s %s %s none %s", kernelRelease(), family, h.Event, h.Reason)
				}
				for _, target := range h.Programs {
					fired := "silent"
					if runs(t, tr, target) > 0 {
						fired = "fired"
					} else {
						t.Errorf("%s: the program on %s never ran", h.Event, target)
					}
					t.Logf("hook %s %s %s %s %s", kernelRelease(), family, h.Event, target, fired)
				}
				for _, kind := range kindsOf(h.Event) {
					if kinds[kind] == 0 && len(h.Programs) > 0 {
						t.Errorf("%s: no %v event came", h.Event, kind)
					}
				}
			}
			if t.Failed() {
				dump(t, events)
			}
		})
	}
}

// kindsOf returns the kinds of event that a hook must give in the tour.
func kindsOf(hook string) []event.Kind {
	return map[string][]event.Kind{
		"calls": {
			event.KindEpollCreate, event.KindEpollCtl, event.KindWaitEnter, event.KindWaitReturn, event.KindDeliver, event.KindRead,
			event.KindWrite, event.KindAccept, event.KindClose,
		},
		"wakeup": {event.KindWakeup}, "woken": {event.KindWoken}, "recv": {event.KindRecv}, "reset": {event.KindReset},
		"state": {event.KindState, event.KindSnapshot}, "queued": {event.KindQueued}, "release": {event.KindRelease},
		"process": {event.KindFork, event.KindExit, event.KindSignal}, "packet": {event.KindPacket},
		"sched": {event.KindSched},
	}[hook]
}

// runs returns how often the program on a target ran. Some things, such as the freeing of a task, come a while after
// the process that caused them is gone.
func runs(t *testing.T, tr *Tracer, target string) uint64 {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if n := runsNow(t, tr, target); n > 0 || time.Now().After(deadline) {
			return n
		}
	}
}

func runsNow(t *testing.T, tr *Tracer, target string) uint64 {
	t.Helper()
	var total uint64
	for name, p := range tr.coll.Programs {
		if !strings.HasSuffix(name, "_"+target) {
			continue
		}
		s, err := p.Stats()
		if err != nil {
			t.Fatal(err)
		}
		total += s.RunCount
	}
	return total
}

// TestResetSaysWhatWasUnread checks the figures of a close with unread input.
func TestResetSaysWhatWasUnread(t *testing.T) {
	needPrivileges(t)
	k, err := sharedKernel()
	if err != nil {
		t.Fatal(err)
	}
	// Where the kernel tells reasons, this one must be told.
	reason := event.ReasonUnknown
	if _, err := k.types.AnyTypeByName("sk_rst_reason"); err == nil {
		reason = event.ReasonAbortOnClose
	}
	for _, family := range usableFamilies(t) {
		t.Run(string(family), func(t *testing.T) {
			events := observed(t, "tour", family).events
			resets := 0
			for _, e := range events {
				if e.Kind != event.KindReset {
					continue
				}
				if e.Reason == reason && e.Unread > 0 {
					resets++
					if e.Unread != 4 || e.TID == 0 || e.PID == 0 {
						t.Errorf("a reset with %d bytes unread by pid %d tid %d, want 4 and the closing thread", e.Unread, e.PID, e.TID)
					}
				}
			}
			// One each over IPv4 and IPv6; the connection that was spliced and the rest were read out or are open at the exit.
			if resets < 2 {
				t.Errorf("%d resets for unread input, want 2 at least", resets)
			}
		})
	}
}

// TestLossIsCounted makes the buffer far too small and expects every record accounted for: sent and lost together
// are as many as a large buffer receives.
func TestLossIsCounted(t *testing.T) {
	needPrivileges(t)
	const n = 10000
	// What the runtime's own threads do is not the same in every run.
	o := Options{Backend: usableFamilies(t)[0], Kinds: []event.Kind{
		event.KindWakeup, event.KindRecv, event.KindRead, event.KindWrite, event.KindWaitEnter, event.KindWaitReturn, event.KindDeliver,
	}}
	count := func(buffer int) (received, carried uint64, s Stats) {
		o.Buffer = buffer
		events, _, tr := observe(t, fmt.Sprintf("flood=%d", n), o)
		for _, e := range events {
			carried += uint64(e.Lost)
			if slices.Contains(o.Kinds, e.Kind) {
				received++
			}
		}
		return received, carried, tr.Stats()
	}
	due, _, s := count(64 << 20)
	if len(s.Lost) > 0 || due < 7*n {
		t.Fatalf("with a large buffer %d records came, lost %v", due, s.Lost)
	}
	received, carried, s := count(os.Getpagesize())
	if s.Records == 0 {
		t.Fatal("nothing was lost: the test proves nothing")
	}
	if carried != s.Records {
		t.Errorf("events carry %d lost records, the counter says %d", carried, s.Records)
	}
	// The few snapshots, states and exits may have been lost as well.
	if sum := received + s.Records; sum < due || sum > due+40 {
		t.Errorf("%d records came and %d were lost, %d were due", received, s.Records, due)
	}
}

// TestNothingIsLeft looks for programs and descriptors after the tracer has closed.
func TestNothingIsLeft(t *testing.T) {
	needPrivileges(t)
	before := openFiles(t)
	for range 3 {
		tr := open(t, Options{PIDs: []uint32{1}})
		tr.Stop()
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		left := ownPrograms(t)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("programs left in the kernel: %v", left)
		}
		// The kernel frees programs after a grace period.
		time.Sleep(20 * time.Millisecond)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// ownPrograms lists loaded programs with the names of ours.
func ownPrograms(t *testing.T) []string {
	t.Helper()
	spec, err := loadEpwatch()
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for name := range spec.Programs {
		names[name[:min(len(name), 15)]] = true
	}
	var left []string
	var id ebpf.ProgramID
	for {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return left
		}
		if err != nil {
			t.Fatal(err)
		}
		id = next
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // it went away in between
		}
		if info, err := p.Info(); err == nil && names[info.Name] {
			left = append(left, info.Name)
		}
		p.Close()
	}
}

// TestIdleIsQuiet observes a process that does nothing and expects next to nothing. Whatever else the test's process does for its
// runtime counts as well, so the quietest of a few seconds is taken.
func TestIdleIsQuiet(t *testing.T) {
	needPrivileges(t)
	tr := open(t, Options{PIDs: []uint32{1}})
	defer tr.Close()
	limit := 20 * time.Millisecond
	if os.Getenv("EPWATCH_VM") != "" {
		limit *= 20 // emulation
	}
	var took []time.Duration
	for range 5 {
		used := idleSecond(t, tr)
		if used <= limit {
			return
		}
		took = append(took, used)
	}
	t.Errorf("seconds of idle observation took %v of CPU time, want %v at most", took, limit)
}

// idleSecond returns the CPU time that a second of observation takes.
func idleSecond(t *testing.T, tr *Tracer) time.Duration {
	t.Helper()
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		t.Fatal(err)
	}
	var events []event.Event
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		var err error
		if events, err = tr.Read(events[:0]); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
		t.Fatal(err)
	}
	return time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
}

// dump logs events for a failed test.
func dump(t testing.TB, events []event.Event) {
	t.Helper()
	for i, e := range events {
		if i > 400 {
			t.Logf("... %d more", len(events)-i)
			return
		}
		t.Logf("%9d %v %v tid %d fd %d epfd %d sock %x events %v key %v data %x ret %d unread %d flags %x %v>%v %v", e.Time-events[0].Time,
			e.Kind, e.Call, e.TID, e.FD, e.EpFD, e.SockAddr&0xffffff, e.Events, e.Key, e.Data, e.Ret, e.Unread, uint32(e.Flags), e.OldState, e.NewState, e.Reason)
	}
}
