package tracer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// Answer is what a probe of the kernel can say.
type Answer uint8

// The answers. Unknown is the zero value: nobody asked, or the asking itself failed.
const (
	Unknown Answer = iota
	Yes
	No
)

// String returns the answer in words.
func (a Answer) String() string {
	switch a {
	case Yes:
		return "yes"
	case No:
		return "no"
	default:
		return "could not tell"
	}
}

// verdict is an answer with its reason and, where the evidence supports one, a remedy.
type verdict struct {
	answer Answer
	reason string
	remedy string
}

// kernel is what this kernel was found to have. It is filled by inspectKernel and not changed afterwards.
type kernel struct {
	types *btf.Spec
	// cache keeps decoded types between loads; decoding them is most of a load's time.
	cache *btf.Cache

	// symbols holds those of the functions that the table names, with their addresses; 0 when they are hidden.
	symbols map[string]uint64
	// symbolsKnown is false when /proc/kallsyms could not be read.
	symbolsKnown bool

	families map[Family]verdict
	version  uint32 // as in KERNEL_VERSION; 0 where it could not be read
}

// ErrNoBTF means that the kernel does not describe its own types, without which no program can be fitted to it.
var ErrNoBTF = errors.New("this kernel has no BTF (needs CONFIG_DEBUG_INFO_BTF)")

func inspectKernel() (*kernel, error) {
	raiseLockedMemory()
	cache := btf.NewCache()
	types, err := cache.Kernel()
	if err != nil {
		if _, statErr := os.Stat("/sys/kernel/btf/vmlinux"); errors.Is(statErr, os.ErrNotExist) {
			return nil, ErrNoBTF
		}
		return nil, fmt.Errorf("reading the kernel's types: %w", err)
	}
	k := &kernel{types: types, cache: cache, families: make(map[Family]verdict)}
	k.version, _ = features.LinuxVersionCode()
	k.readSymbols()
	k.families[Fentry] = k.tryFentry()
	k.families[Kprobe] = tryKprobe()
	k.families[Tracepoint] = k.tryTracepoint()
	return k, nil
}

// raiseLockedMemory lifts the limit that kernels before 5.11 charge maps to. Later kernels do not look at it, so it is
// no error where it cannot be raised. (The library's own function probes the kernel as soon as it is linked, in every
// command, and brings up the runtime's poller: an epoll instance that would stand in every trace of our own servers.)
func raiseLockedMemory() {
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
}

// readSymbols looks up the functions of the hook table in /proc/kallsyms.
func (k *kernel) readSymbols() {
	wanted := make(map[string]bool)
	for _, h := range hookTable() {
		for _, w := range h.ways {
			for _, p := range append(append([]program{}, w.programs...), w.extra...) {
				switch p.attach {
				case attachFentry, attachFexit, attachKprobe:
					wanted[p.target] = true
				case attachTracepoint, attachPerf, attachClock:
				}
			}
		}
	}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return
	}
	defer f.Close()
	k.symbols = make(map[string]uint64, len(wanted))
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for lines.Scan() {
		line := lines.Bytes()
		// address, a space, a type letter, a space, the name; a module's name may follow after a tab.
		at := bytes.IndexByte(line, ' ')
		if at < 0 || len(line) < at+4 || (line[at+1] != 't' && line[at+1] != 'T') {
			continue
		}
		name := line[at+3:]
		if !wanted[string(name)] {
			continue
		}
		address, err := strconv.ParseUint(string(line[:at]), 16, 64)
		if err == nil {
			k.symbols[string(name)] = address
		}
	}
	k.symbolsKnown = lines.Err() == nil
}

// load loads a collection with the kernel's types as already decoded.
func (k *kernel) load(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	return ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: k.cache})
}

// tryFentry loads a program that does nothing; where trampolines are refused, it is here that they are.
func (k *kernel) tryFentry() verdict {
	return k.tryLoad(&ebpf.ProgramSpec{
		Name: "epwatch_try", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: "tcp_close",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}, License: "Dual BSD/GPL",
	}, "fentry programs")
}

func (k *kernel) tryTracepoint() verdict {
	return k.tryLoad(&ebpf.ProgramSpec{
		Name: "epwatch_try", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "sys_enter",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}, License: "Dual BSD/GPL",
	}, "tracepoint programs")
}

func (k *kernel) tryLoad(spec *ebpf.ProgramSpec, what string) verdict {
	coll, err := k.load(&ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{spec.Name: spec}})
	if err == nil {
		coll.Close()
		return verdict{answer: Yes}
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		if missing := missingCapabilities(); len(missing) > 0 {
			return verdict{Unknown, "not allowed to load " + what, "needs " + strings.Join(missing, " and ") + ", or root"}
		}
		return verdict{No, "this kernel refuses to load " + what + " (EPERM with all privileges held)", ""}
	}
	return verdict{No, firstLine(err), ""}
}

// tryKprobe looks for the kernel's kprobe event source; it exists exactly where CONFIG_KPROBE_EVENTS is set.
func tryKprobe() verdict {
	if _, err := os.Stat("/sys/bus/event_source/devices/kprobe/type"); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return verdict{No, "kprobes are not compiled into this kernel", "CONFIG_KPROBES and CONFIG_KPROBE_EVENTS"}
		}
		return verdict{Unknown, firstLine(err), ""}
	}
	if missing := missingCapabilities(); len(missing) > 0 {
		return verdict{Unknown, "not allowed to attach kprobes", "needs " + strings.Join(missing, " and ") + ", or root"}
	}
	return verdict{answer: Yes}
}

// tryPerf looks for a tracepoint in tracefs, which says by what number perf_event_open knows it.
func tryPerf(target string) verdict {
	for _, root := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		if _, err := os.Stat(filepath.Join(root, "events", target, "id")); err == nil {
			return verdict{answer: Yes}
		}
	}
	return verdict{No, "tracefs is not mounted, or has no " + target, ""}
}

// has answers whether the kernel can take one program, as far as can be told without attaching it.
func (k *kernel) has(p program) verdict {
	first := p.attach
	if first == attachPerf {
		first = attachTracepoint
	}
	if p.again != "" && !k.preempts(first) {
		return verdict{No, "this kernel does not preempt the first program on " + p.target, ""}
	}
	switch p.attach {
	case attachClock:
		return tryClock()
	case attachPerf:
		return tryPerf(p.target)
	}
	if p.attach == attachTracepoint {
		var typedef *btf.Typedef
		if err := k.types.TypeByName("btf_trace_"+p.target, &typedef); err != nil {
			return verdict{No, "this kernel has no tracepoint " + p.target, ""}
		}
		return verdict{answer: Yes}
	}
	if _, ok := k.symbols[p.target]; !ok {
		if !k.symbolsKnown {
			return verdict{Unknown, "/proc/kallsyms could not be read", ""}
		}
		return verdict{No, "this kernel has no function " + p.target, ""}
	}
	if p.attach == attachKprobe {
		return verdict{answer: Yes}
	}
	var fn *btf.Func
	if err := k.types.TypeByName(p.target, &fn); err != nil {
		return verdict{No, "BTF does not describe " + p.target, ""}
	}
	return verdict{answer: Yes}
}

// preempts reports whether a thread may be preempted inside a program that is attached so, so that another thread's run of
// it is skipped. Tracepoints switched preemption off around programs before 7.0 (commit a46023d5616e). Trampolines
// never did; of the kernels before 6.13 it is taken for granted that they preempt nothing, as Debian's do.
func (k *kernel) preempts(a attachment) bool {
	switch a {
	case attachTracepoint:
		return k.version >= 7<<16
	case attachFentry, attachFexit:
		var ext *btf.Struct
		if k.types.TypeByName("tracepoint_ext", &ext) != nil {
			return false
		}
		return slices.ContainsFunc(ext.Members, func(m btf.Member) bool { return m.Name == "faultable" })
	default:
		return false
	}
}

// can answers whether the kernel allows a way: its family, each of its programs, and what else it needs.
func (k *kernel) can(w way) verdict {
	if v := k.families[w.family]; v.answer != Yes {
		return v
	}
	for _, p := range w.programs {
		if v := k.has(p); v.answer != Yes {
			return v
		}
	}
	if w.walks && k.symbols["ep_poll_callback"] == 0 {
		return verdict{No, "the address of ep_poll_callback is hidden", "needs CAP_SYSLOG, or kernel.kptr_restrict below 2"}
	}
	return verdict{answer: Yes}
}

// resetReasonArgument returns the place of the reset reason among the arguments of tcp_send_active_reset, 0 for none.
func (k *kernel) resetReasonArgument() uint32 {
	var fn *btf.Func
	if k.types.TypeByName("tcp_send_active_reset", &fn) != nil {
		return 0
	}
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok {
		return 0
	}
	for i, param := range proto.Params {
		if enum, ok := btf.UnderlyingType(param.Type).(*btf.Enum); ok && enum.Name == "sk_rst_reason" {
			return uint32(i)
		}
	}
	return 0
}

// switchHasState reports whether sched_switch passes the state of who leaves, behind preempt, prev and next (since 5.18).
func (k *kernel) switchHasState() bool {
	var typedef *btf.Typedef
	if k.types.TypeByName("btf_trace_sched_switch", &typedef) != nil {
		return false
	}
	pointer, ok := typedef.Type.(*btf.Pointer)
	if !ok {
		return false
	}
	proto, ok := pointer.Target.(*btf.FuncProto)
	// The first parameter of the type is the tracepoint's own.
	return ok && len(proto.Params) == 5
}

func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
