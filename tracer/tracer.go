// Package tracer records what the kernel and the observed processes do, with BPF programs, and hands it out as
// events. It chooses the hooks that this kernel allows, loads and attaches them silently, opens them together, and
// counts what could not be recorded. It does not order, join or judge events, and it never records payload.
package tracer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// Options say whom to observe and how.
type Options struct {
	PIDs    []uint32 // processes, in the initial PID namespace
	Backend Family   // forces one family; empty takes the best per event
	Buffer  int      // ring buffer size in bytes, rounded up to a power of two; 0 takes DefaultBuffer
	Packets bool     // record TCP headers of traced connections too
	Follow  bool     // observe children as well
	// Existing takes in what the processes had before: files, interest lists, threads asleep in epoll_wait. It
	// comes as snapshot events, and as the wait-enter of each thread that sleeps.
	Existing bool
	// Comm makes targets of the programs that are executed under this name, from their first instruction.
	Comm string
	// Kinds narrows what is recorded, in the kernel; nil records all.
	Kinds []event.Kind
	// Port narrows to sockets with this local or peer port; 0 takes all.
	Port uint16
	// FDs narrows to these descriptors, MaxFDs at most; nil takes all.
	FDs []int32
	// SlowTurn has threads followed from the return of a wait to the next wait, and tells what became of the time when that
	// took as long; 0 follows none.
	SlowTurn time.Duration
	// Stacks has the stacks of slow turns taken as well, and names their addresses; nil takes none. It is called by Read, with
	// the innermost address first, while the thread may go on or end, and what it returns is kept.
	Stacks func(pid uint32, user, kernel []uint64) *event.Stack
}

// MaxFDs is how many descriptors Options.FDs holds at most (bpf/emit.h, only_fds).
const MaxFDs = 8

const (
	// DefaultBuffer is the ring buffer's size in bytes.
	DefaultBuffer = 8 << 20
	// MaxBuffer is the largest that can be asked for.
	MaxBuffer = 1 << 30
	// readWait bounds how long a record may lie in a quiet buffer.
	readWait = 50 * time.Millisecond
	// leastRest and mostRest bound how long records gather after the buffer was found empty. A reader that came for each of them
	// would do little else than come and go; one that comes late finds them out of the cache, and is long in the way.
	leastRest = time.Millisecond
	mostRest  = 10 * time.Millisecond
	// batch is how many records one Read takes at most, and a rest should bring: few enough to stay in a processor's cache.
	batch = 64
	// stamping is how long a record may lie reserved before it gets its time, where the processor was taken away from it.
	stamping = 20 * time.Millisecond
	// skew is how far the kernel's quick clock, which gives records their times, may be from the one that is read here.
	skew = time.Millisecond
)

// Tracer is an observation under way. Read must be called by one goroutine; all else may be called by any.
type Tracer struct {
	hooks   []Hook
	coll    *ebpf.Collection
	links   []io.Closer
	reader  *ringbuf.Reader
	record  ringbuf.Record
	decoder decoder
	// found is what the snapshot saw and Read has yet to hand out.
	found     []event.Event
	instances instances
	// asked are the threads that Look was called for.
	asked     []thread
	stopped   atomic.Bool
	drained   bool
	witnessed map[string]bool // programs that have a second witness
	// empty: the last Read left nothing in the buffer.
	empty   bool
	rest    time.Duration // the next one, see takeRest
	taken   int           // records since the last one
	horizon event.Time
}

// Open chooses hooks, loads and attaches them, and then lets all begin at the same moment. The caller owns the
// Tracer and must Close it.
func Open(o Options) (*Tracer, error) {
	if len(o.FDs) > MaxFDs {
		return nil, fmt.Errorf("choosing descriptors: %d are too many (%d at most)", len(o.FDs), MaxFDs)
	}
	if o.Backend != "" && !slices.Contains(Families(), o.Backend) {
		return nil, fmt.Errorf("choosing hooks: no family is called %q (fentry, kprobe or tracepoint)", o.Backend)
	}
	if missing := missingCapabilities(); len(missing) > 0 {
		return nil, fmt.Errorf("loading programs: %w (needs %s, or root)", unix.EPERM, strings.Join(missing, " and "))
	}
	k, err := inspectKernel()
	if err != nil {
		return nil, fmt.Errorf("loading programs: %w", err)
	}
	return k.open(o)
}

// open tries plans until one is accepted. Each round that fails names at least one more program that the kernel
// refuses, so it ends.
func (k *kernel) open(o Options) (*Tracer, error) {
	spec, err := loadEpwatch()
	if err != nil {
		return nil, fmt.Errorf("reading the embedded programs: %w", err)
	}
	ops, err := k.learnFileOperations(spec)
	if err != nil {
		return nil, fmt.Errorf("learning what files are: %w", err)
	}
	failed := make(map[string]string)
	for {
		chosen, missing := k.plan(o, failed)
		for _, m := range missing {
			if requiredHook(m.Event) {
				return nil, noHookError(o.Backend, m)
			}
		}
		before := len(failed)
		t, err := k.attachPlan(spec, o, ops, chosen, failed)
		if err == nil {
			t.hooks = describe(chosen, missing)
			return t, nil
		}
		if len(failed) == before {
			return nil, err
		}
	}
}

func requiredHook(event string) bool {
	for _, h := range hookTable() {
		if h.event == event {
			return h.required
		}
	}
	return false
}

func noHookError(forced Family, m Hook) error {
	hint := "run epwatch doctor to see what this kernel allows"
	if forced != "" {
		hint = "leave out --backend to let epwatch choose"
	}
	return fmt.Errorf("choosing hooks: no way to see %s events: %s (%s)", m.Event, m.Reason, hint)
}

// attachPlan loads and attaches one plan. Programs that the kernel refuses are added to failed.
func (k *kernel) attachPlan(spec *ebpf.CollectionSpec, o Options, ops fileOperations, chosen []choice, failed map[string]string) (*Tracer, error) {
	programs := planned(chosen)
	only, err := k.configure(spec, o, chosen, programs)
	if err != nil {
		return nil, err
	}
	coll, err := k.load(only)
	if err != nil {
		k.blame(only, programs, failed)
		return nil, fmt.Errorf("loading programs: %w", err)
	}
	t := &Tracer{
		coll: coll, decoder: decoder{stacks: o.Stacks},
		instances: instances{owners: coll.Maps[epwatchMapInstances], targets: coll.Maps[epwatchMapTargets]},
		witnessed: make(map[string]bool),
		rest:      mostRest,
	}
	for _, p := range programs {
		t.witnessed[p.again] = true
		l, err := attach(coll.Programs[p.name], p)
		if err != nil {
			failed[p.name] = firstLine(err)
			t.Close()
			return nil, fmt.Errorf("attaching %s: %w", p.target, err)
		}
		t.links = append(t.links, l)
	}
	if err := t.begin(o, ops); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// configure reduces the object to a plan's programs and sets its constants.
func (k *kernel) configure(spec *ebpf.CollectionSpec, o Options, chosen []choice, programs []program) (*ebpf.CollectionSpec, error) {
	only := spec.Copy()
	wanted := make(map[string]bool, len(programs))
	preemptible := false
	for _, p := range programs {
		wanted[p.name] = true
		preemptible = preemptible || k.preempts(p.attach)
	}
	wanted[epwatchProgIterTargetFiles] = true
	for name := range only.Programs {
		if !wanted[name] {
			delete(only.Programs, name)
		}
	}
	size := bufferSize(o.Buffer)
	only.Maps[epwatchMapEvents].MaxEntries = size
	if wayOf(chosen, "sched") == nil {
		// Without the scheduler's word everything would seem to be computing.
		o.SlowTurn = 0
		only.Maps[epwatchMapTurns].MaxEntries = 1
	}
	if o.SlowTurn == 0 || o.Stacks == nil {
		o.Stacks = nil
		only.Maps[epwatchMapStacks].MaxEntries = 1
	}
	constants := map[string]any{
		epwatchVarFollowChildren: o.Follow,
		epwatchVarPreemptible:    preemptible,
		epwatchVarResetReasonArg: k.resetReasonArgument(),
		epwatchVarWakeBytes:      min(size/8, 64<<10),
		epwatchVarSlowTurn:       uint64(o.SlowTurn),
		epwatchVarSwitchHasState: k.switchHasState(),
		epwatchVarWithStacks:     o.Stacks != nil,
	}
	if w := wayOf(chosen, "wakeup"); w != nil && w.walks {
		constants[epwatchVarEpPollCallbackAddr] = k.symbols["ep_poll_callback"]
	}
	if w := wayOf(chosen, "queued"); w != nil {
		constants[epwatchVarQueuedByReady] = w.family == Tracepoint
	}
	o.narrow(constants)
	for name, value := range constants {
		if err := only.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return only, nil
}

// narrow adds the constants by which the programs leave out what is not asked for.
func (o Options) narrow(constants map[string]any) {
	if o.Kinds != nil {
		// The snapshot is asked for by itself, and the end of a process ends its files.
		wanted := uint64(1)<<event.KindSnapshot | 1<<event.KindExit
		for _, kind := range o.Kinds {
			wanted |= 1 << kind
		}
		constants[epwatchVarWantedKinds] = wanted
	}
	if o.Port != 0 {
		constants[epwatchVarOnlyPort] = uint32(o.Port)
	}
	if len(o.FDs) > 0 {
		var fds [MaxFDs]int32
		for i := range fds {
			fds[i] = event.NoFD
		}
		copy(fds[:], o.FDs)
		constants[epwatchVarOnlyFds], constants[epwatchVarNumberOfFds] = fds, uint32(len(o.FDs))
	}
	if o.Comm != "" {
		var comm [16]byte
		copy(comm[:15], o.Comm)
		constants[epwatchVarTargetComm] = comm
	}
}

func bufferSize(asked int) uint32 {
	if asked <= 0 {
		asked = DefaultBuffer
	}
	size := uint32(os.Getpagesize())
	for size < uint32(asked) && size < MaxBuffer {
		size <<= 1
	}
	return size
}

// blame loads each program alone and notes those that are refused: a collection's error names only the first.
func (k *kernel) blame(only *ebpf.CollectionSpec, programs []program, failed map[string]string) {
	for _, p := range programs {
		alone := only.Copy()
		for name := range alone.Programs {
			if name != p.name {
				delete(alone.Programs, name)
			}
		}
		coll, err := k.load(alone)
		if err != nil {
			failed[p.name] = firstLine(err)
			continue
		}
		coll.Close()
	}
}

func attach(p *ebpf.Program, how program) (io.Closer, error) {
	switch how.attach {
	case attachClock:
		return attachClocks(p)
	case attachKprobe:
		return link.Kprobe(how.target, p, nil)
	case attachPerf:
		return link.Tracepoint(path.Dir(how.target), path.Base(how.target), p, nil)
	default:
		return link.AttachTracing(link.TracingOptions{Program: p})
	}
}

// begin names the targets and opens the ready flag; nothing was recorded before.
func (t *Tracer) begin(o Options, ops fileOperations) error {
	vars := t.coll.Variables
	if err := vars[epwatchVarSocketFops].Set(ops.socket); err != nil {
		return fmt.Errorf("configuring programs: %w", err)
	}
	if err := vars[epwatchVarEventpollFops].Set(ops.eventpoll); err != nil {
		return fmt.Errorf("configuring programs: %w", err)
	}
	if err := t.name(o.PIDs); err != nil {
		return err
	}
	reader, err := ringbuf.NewReader(t.coll.Maps[epwatchMapEvents])
	if err != nil {
		return fmt.Errorf("opening the ring buffer: %w", err)
	}
	t.reader = reader
	if err := vars[epwatchVarReady].Set(uint32(1)); err != nil {
		return fmt.Errorf("starting programs: %w", err)
	}
	if o.Existing {
		return t.takeIn(o.PIDs)
	}
	return nil
}

// Add makes more processes targets, with what they have already. It must be called by the goroutine that calls Read.
func (t *Tracer) Add(pids ...uint32) error {
	if err := t.name(pids); err != nil {
		return err
	}
	return t.takeIn(pids)
}

// name makes processes targets.
func (t *Tracer) name(pids []uint32) error {
	for _, pid := range pids {
		maybe := t.coll.Maps[epwatchMapMaybeTargets]
		if err := maybe.Put(pid%maybe.MaxEntries(), uint8(1)); err != nil {
			return fmt.Errorf("naming process %d as a target: %w", pid, err)
		}
		// The value says which kinds of unseen calls were told of: none yet.
		if err := t.coll.Maps[epwatchMapTargets].Put(pid, uint32(0)); err != nil {
			return fmt.Errorf("naming process %d as a target: %w", pid, err)
		}
	}
	return nil
}

// Hooks returns what was chosen for each event.
func (t *Tracer) Hooks() []Hook { return t.hooks }

// Read appends the events that have come to dst, waiting a moment when there are none. They are in the order in
// which the kernel's processors reserved them, which is nearly but not exactly that of their times. It returns io.EOF after
// Stop, when everything has been handed out.
func (t *Tracer) Read(dst []event.Event) ([]event.Event, error) {
	if t.drained {
		return dst, io.EOF
	}
	if len(t.found) > 0 {
		dst = append(dst, t.found...)
		t.found = nil
		return dst, nil
	}
	stopped := t.stopped.Load()
	wait := readWait
	if stopped {
		wait = 0
	}
	if t.empty && !stopped {
		t.takeRest()
	}
	t.empty = true
	begun := Now()
	t.reader.SetDeadline(time.Now().Add(wait))
	for n := 0; n < batch; n++ {
		err := t.reader.ReadInto(&t.record)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			t.completeTo(begun.Add(-stamping))
			if stopped {
				t.drained = true
				return t.appendUnreported(dst), nil
			}
			return t.answer(dst), nil
		case errors.Is(err, ringbuf.ErrClosed):
			return dst, io.EOF
		case err != nil:
			return dst, fmt.Errorf("reading the ring buffer: %w", err)
		}
		t.taken++
		dst, err = t.decoder.decode(dst, t.record.RawSample)
		if err != nil {
			return dst, fmt.Errorf("decoding a record: %w", err)
		}
		t.instances.observe(dst)
		if t.record.Remaining == 0 && !stopped {
			// Nothing is even reserved, and what will be gets its time then.
			t.completeTo(begun.Add(-skew))
			return t.answer(dst), nil
		}
	}
	t.empty = false
	t.completeTo(dst[len(dst)-1].Time.Add(-stamping))
	return dst, nil
}

// takeRest lets records gather, for longer where the last rest has brought few.
func (t *Tracer) takeRest() {
	switch {
	case t.taken > batch:
		t.rest = max(t.rest/2, leastRest)
	case t.taken < batch/2:
		t.rest = min(t.rest*2, mostRest)
	}
	t.taken = 0
	time.Sleep(t.rest)
}

func (t *Tracer) completeTo(until event.Time) { t.horizon = max(t.horizon, until) }

// Horizon returns the time before which nothing is missing any more: what Reads to come hand out is later.
func (t *Tracer) Horizon() event.Time { return t.horizon }

// appendUnreported makes an event of each processor's losses that no later record came to carry.
func (t *Tracer) appendUnreported(dst []event.Event) []event.Event {
	var perCPU []uint64
	if t.coll.Maps[epwatchMapDrops].Lookup(uint32(dropUnreported), &perCPU) != nil {
		return dst
	}
	for cpu, n := range perCPU {
		if n > 0 {
			dst = append(dst, event.Event{
				Time: Now(), Kind: event.KindLost, CPU: uint16(cpu), Lost: uint32(n), FD: event.NoFD, EpFD: event.NoFD,
			})
		}
	}
	return dst
}

// Stop silences the programs; Read then hands out what is left and ends.
func (t *Tracer) Stop() {
	if t.stopped.Load() {
		return
	}
	_ = t.coll.Variables[epwatchVarReady].Set(uint32(0))
	t.stopped.Store(true)
}

// Close detaches and frees everything. The kernel does the same when the process dies, however it dies: nothing is
// pinned.
func (t *Tracer) Close() error {
	var errs []error
	for _, l := range t.links {
		errs = append(errs, l.Close())
	}
	t.links = nil
	if t.reader != nil {
		errs = append(errs, t.reader.Close())
	}
	t.coll.Close()
	return errors.Join(errs...)
}

// Now returns the present on the clock of all events.
func Now() event.Time {
	var ts unix.Timespec
	// CLOCK_MONOTONIC exists on every Linux, so there is no error to report.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return event.Time(ts.Nano())
}
