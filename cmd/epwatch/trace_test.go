package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/server"
	"github.com/epwatch/epwatch/tracer"
)

func uitoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// runsVariable overrides how often each variant is run in a row.
const runsVariable = "EPWATCH_TRACE_RUNS"

func runs(t *testing.T) int {
	t.Helper()
	if s := os.Getenv(runsVariable); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("%s=%q is no number of runs", runsVariable, s)
		}
		return n
	}
	if inVM() {
		return 1
	}
	return 20
}

// TestTraceVariants runs each variant many times with every family of hooks: each run shows every claim, matches
// every entry of the journal, loses nothing, and finds exactly what is documented. And all families tell the same of a
// script: the same wakeups by input, the same deliveries, receives and reads, the same states and resets.
func TestTraceVariants(t *testing.T) {
	families := usableFamilies(t)
	for _, v := range server.Variants() {
		t.Run(v.Name, func(t *testing.T) {
			if !inVM() {
				t.Parallel() // they mostly wait
			}
			stories := make(map[tracer.Family][]string)
			for _, family := range families {
				for i := range runs(t) {
					stories[family] = story(checkRun(t, v, family))
					if t.Failed() {
						t.Fatalf("in run %d by %s", i+1, family)
					}
				}
				if diff := cmp.Diff(stories[families[0]], stories[family]); diff != "" {
					t.Errorf("-%s +%s:\n%s", families[0], family, diff)
				}
			}
		})
	}
}

func traceArgs(v server.Variant, family tracer.Family, more ...string) []string {
	return append([]string{
		"trace", v.Name, "--format", "json", "--backend", string(family), "--client-timeout", testTimeout().String(),
	}, more...)
}

func checkRun(t *testing.T, v server.Variant, family tracer.Family, more ...string) *recording {
	t.Helper()
	got := runProgram(t, traceArgs(v, family, more...)...)
	r := parse(t, got.stdout)
	if got.status != exitDone || got.stderr != "" {
		t.Errorf("status %d: %s", got.status, got.stderr)
	}
	claims := r.of("claim")
	if len(claims) != len(v.Claims) {
		t.Errorf("%d claims of %d", len(claims), len(v.Claims))
	}
	for _, c := range claims {
		if c.Answer != "shown" {
			t.Errorf("claim %v: %s: %s", c.ID, c.Answer, c.Why)
		}
	}
	checkMatching(t, r)
	var want, found []string
	for _, e := range v.Expect {
		want = append(want, fmt.Sprintf("%s %d", e.Check, e.Unread))
	}
	for _, f := range r.findings() {
		found = append(found, fmt.Sprintf("%s %d", f.Check, f.Unread))
		if len(f.Evidence) == 0 {
			t.Errorf("%s has no evidence", f.Check)
		}
	}
	slices.Sort(want)
	slices.Sort(found)
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("findings: -want +got:\n%s", diff)
	}
	types := []string{"meta", "event", "line", "claim", "journal", "table", "summary"}
	if len(want) > 0 {
		types = append(types, "finding")
	}
	if !slices.Contains(more, "--quiet") {
		checkSchema(t, got.stdout, types...)
	}
	if t.Failed() {
		t.Log(got.stdout)
	}
	return r
}

func checkMatching(t *testing.T, r *recording) {
	t.Helper()
	journals := r.of("journal")
	if len(journals) != 1 {
		t.Fatalf("%d journals", len(journals))
	}
	if j := journals[0]; j.Entries == 0 || j.Matched != j.Entries || j.Receives != j.Entries || len(j.Unmatched) > 0 || j.Lost > 0 {
		t.Errorf("journal: %+v", j)
	}
	s := r.summary()
	if s.Reads == 0 || s.Matched != s.Receives || len(s.Unmatched) > 0 || s.Lost > 0 || len(s.Unknown) > 0 || len(s.Departures) > 0 || s.Ended != "" {
		t.Errorf("summary: %+v", s)
	}
	var last uint64
	for _, e := range r.events {
		if e.Seq != last+1 {
			t.Errorf("event %d follows event %d", e.Seq, last)
		}
		last = e.Seq
	}
}

// story says what happened to the connection in words that are the same for each run and family. The wakeups of the FIN
// are left out: some ways see one of them and some two.
func story(r *recording) []string {
	var out []string
	for _, e := range r.events {
		if e.FD == event.NoFD {
			continue
		}
		what := fmt.Sprintf("%s fd %d", e.Kind, e.FD)
		switch e.Kind {
		case event.KindWakeup:
			if e.Flags&(event.FIN|event.FINUnread) != 0 {
				continue
			}
			what += fmt.Sprintf(" mask %s unread %d disarmed %t", e.Events, e.Unread, e.Has(event.Disarmed))
		case event.KindDeliver:
			what += " " + e.Events.String()
		case event.KindRecv:
			if e.Ret <= 0 {
				continue // some ways cannot see these
			}
			what += fmt.Sprintf(" %d left %d", e.Ret, e.Unread)
		case event.KindRead, event.KindWrite, event.KindAccept, event.KindClose:
			what += fmt.Sprintf(" → %d", e.Ret)
		case event.KindEpollCtl:
			what += fmt.Sprintf(" %s %s", event.CtlName(e.Op), e.Events)
		case event.KindReset:
			what += fmt.Sprintf(" unread %d", e.Unread)
		default:
			continue
		}
		out = append(out, what)
	}
	return out
}

func TestTraceIPv6(t *testing.T) {
	family := usableFamilies(t)[0]
	v, _ := server.ByName("et-partial")
	r := checkRun(t, v, family, "--address", "::1", "--packets")
	if !slices.ContainsFunc(r.events, func(e event.Event) bool { return e.Kind == event.KindPacket && e.Local.Addr().Is6() }) {
		t.Error("no IPv6 segment was seen")
	}
}

// TestTraceWire wants the whole life of the connection on the wire: handshake, data, FIN and RST.
func TestTraceWire(t *testing.T) {
	family := usableFamilies(t)[0]
	v, _ := server.ByName("oneshot")
	var flags []string
	for _, e := range checkRun(t, v, family).events {
		switch {
		case e.Kind == event.KindPacket:
			flags = append(flags, e.Packet.Flags.String())
		case e.Kind == event.KindExit && e.Ret != int64(syscall.SIGINT):
			t.Errorf("the server ended with status %#x, not by SIGINT", e.Ret)
		}
	}
	if len(flags) < 8 || flags[0] != "S" || flags[1] != "S." || !slices.Contains(flags, "P.") || !slices.Contains(flags, "F.") || !strings.HasPrefix(flags[len(flags)-1], "R") {
		t.Errorf("segments: %v", flags)
	}
	lt, _ := server.ByName("lt")
	for _, e := range checkRun(t, lt, family).events {
		if e.Kind == event.KindPacket {
			t.Fatal("lt shows the wire without being asked")
		}
	}
}

// TestTraceObservesOneEpollInstance: the server's process must have the one of its loop and no other, or the story
// would be about the Go runtime.
func TestTraceObservesOneEpollInstance(t *testing.T) {
	family := usableFamilies(t)[0]
	v, _ := server.ByName("lt")
	seen := map[int32]bool{}
	for _, e := range checkRun(t, v, family).events {
		if e.Kind == event.KindWaitEnter {
			seen[e.EpFD] = true
		}
	}
	if len(seen) != 1 {
		t.Errorf("the server waits on %d epoll instances", len(seen))
	}
}

func TestTraceTables(t *testing.T) {
	family := usableFamilies(t)[0]
	v, _ := server.ByName("oneshot")
	r := checkRun(t, v, family)
	for _, table := range r.of("table") {
		if table.Moment != server.BeforeInterrupt {
			continue
		}
		for _, s := range table.Sockets {
			if s.State == "CLOSE_WAIT" && s.RecvQueue == 8 && s.Unread == 7 && s.FIN && s.PID == r.lines[0].PIDs[0] {
				return
			}
		}
		t.Fatalf("no CLOSE_WAIT with 7 bytes and a FIN: %+v", table)
	}
	t.Fatal("no table before the interrupt")
}

func TestTraceText(t *testing.T) {
	family := usableFamilies(t)[0]
	got := runProgram(t, "trace", "et-partial", "--backend", string(family), "--client-timeout", testTimeout().String())
	if got.status != exitDone || got.stderr != "" {
		t.Fatalf("status %d: %s", got.status, got.stderr)
	}
	for _, want := range []string{
		"20 bytes unread", "epoll_wait → 1", "16 bytes  4 bytes left", "[+] data: 0123456789012345", "RST sent, 8 bytes never read",
		"✓ closing with unread data sent a reset", "2 matched, 0 unmatched, 0 lost", "et-unread: 2 times on 1 connection",
		"1 lost, 1 rescued", "  kernel  wakeup ", "repair: read until EAGAIN",
		"reset-on-close", "4 unread", "nothing lost",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("the text lacks %q", want)
		}
	}
	for _, bad := range []string{"✗", "\x1b", "not reached"} {
		if strings.Contains(got.stdout, bad) {
			t.Errorf("the text has %q", bad)
		}
	}
	for l := range strings.Lines(got.stdout) {
		if n := len([]rune(l)); n > 101 {
			t.Errorf("%d columns: %s", n-1, l)
		}
	}
	if t.Failed() {
		t.Log(got.stdout)
	}
}

func TestTraceFailOnAndCheck(t *testing.T) {
	family := usableFamilies(t)[0]
	run := func(want int, variant string, more ...string) result {
		t.Helper()
		v, _ := server.ByName(variant)
		got := runProgram(t, traceArgs(v, family, more...)...)
		if got.status != want {
			t.Errorf("trace %s %v: status %d, want %d: %s", variant, more, got.status, want, got.stderr)
		}
		return got
	}
	if got := run(exitFinding, "et-partial", "--fail-on", "any"); strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "et-unread") {
		t.Errorf("stderr: %s", got.stderr)
	}
	run(exitFinding, "et-partial", "--fail-on", "close-wait,reset-on-close")
	run(exitDone, "et-partial", "--fail-on", "close-wait")
	run(exitDone, "lt", "--fail-on", "any")
	got := run(exitDone, "et-partial", "--check", "reset-on-close")
	for _, f := range parse(t, got.stdout).findings() {
		if f.Check != "reset-on-close" {
			t.Errorf("--check reset-on-close found %s", f.Check)
		}
	}
}

func TestTraceOutputQuietReady(t *testing.T) {
	family := usableFamilies(t)[0]
	dir := t.TempDir()
	out, ready := dir+"/out.jsonl", dir+"/ready"
	v, _ := server.ByName("lt")
	got := runProgram(t, traceArgs(v, family, "--output", out, "--quiet", "--ready-file", ready)...)
	if got.status != exitDone || got.stdout != "" || got.stderr != "" {
		t.Fatalf("%+v", got)
	}
	if _, err := os.Stat(ready); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if r := parse(t, string(b)); len(r.events) > 0 || len(r.of("claim")) == 0 {
		t.Errorf("quiet, but %d events", len(r.events))
	}
}
