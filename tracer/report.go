package tracer

import (
	"errors"
	"os"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
)

// Report is what this kernel and these privileges allow, for people.
type Report struct {
	Release      string // uname -r
	BTF          Fact
	RingBuffer   Fact
	Lockdown     Fact // Yes: not locked down, or only to integrity
	PIDNamespace Fact // Yes: the initial one, whose numbers the kernel gives
	Capabilities []Privilege
	Families     []FamilyRow
	Rows         []Row
	// Attached says that the answers come from loading and attaching for real, not from what the kernel lists.
	Attached bool
}

// Fact is one answer about the machine.
type Fact struct {
	Answer Answer
	Detail string // what was seen, or why the answer is no
	Remedy string // exact, or empty
}

// Privilege is a capability, whether it is held, and what for.
type Privilege struct {
	Name   string
	Held   Answer
	Why    string
	Needed bool // nothing works without it
}

// FamilyRow says whether a family is allowed at all.
type FamilyRow struct {
	Family Family
	Fact
}

// Row says whether one event can be had by one family here.
type Row struct {
	Event    string
	Required bool
	Family   Family
	Programs []string // what would be hooked
	Misses   string   // what it cannot see even so
	Fact
}

// Probe finds out what this kernel allows. With privileges it loads and attaches every program once, silently, and
// removes it again; without, it says what can be told from outside. It returns an error only when nothing at all
// can be said.
func Probe() (Report, error) {
	r := Report{
		Release: kernelRelease(), Lockdown: lockdown(), PIDNamespace: pidNamespace(), RingBuffer: ringBuffer(),
		Capabilities: privileges(),
	}
	k, err := inspectKernel()
	if errors.Is(err, ErrNoBTF) {
		r.BTF = Fact{No, "the kernel does not describe its types", "a kernel with CONFIG_DEBUG_INFO_BTF"}
		return r, nil
	}
	if err != nil {
		r.BTF = Fact{Unknown, firstLine(err), ""}
		return r, nil
	}
	r.BTF = Fact{Answer: Yes, Detail: "/sys/kernel/btf/vmlinux"}
	for _, f := range Families() {
		v := k.families[f]
		r.Families = append(r.Families, FamilyRow{f, Fact{v.answer, v.reason, v.remedy}})
	}
	refused := make(map[string]string)
	if len(missingCapabilities()) == 0 {
		r.Attached = k.tryAll(refused) == nil
	}
	for _, h := range hookTable() {
		for _, f := range Families() {
			r.Rows = append(r.Rows, k.row(h, f, refused))
		}
	}
	return r, nil
}

// row judges one event by one family: the best of the family's ways.
func (k *kernel) row(h hook, f Family, refused map[string]string) Row {
	row := Row{Event: h.event, Required: h.required, Family: f, Fact: Fact{Answer: No, Detail: "this family has no hook for it"}}
	for _, w := range h.ways {
		if w.family != f && !h.everywhere {
			continue
		}
		v := k.can(w)
		if reason := refusal(w.programs, refused); v.answer == Yes && reason != "" {
			v = verdict{No, reason, ""}
		}
		row.Fact = Fact{v.answer, v.reason, v.remedy}
		row.Misses = w.misses
		row.Programs = nil
		for _, p := range append(append([]program{}, w.programs...), k.allowed(w.extra, refused)...) {
			if p.again == "" {
				row.Programs = append(row.Programs, p.target)
			}
		}
		if v.answer == Yes {
			return row
		}
	}
	return row
}

// tryAll loads and attaches each program that the kernel seems to have, one after the other, and notes those that
// it refuses.
func (k *kernel) tryAll(refused map[string]string) error {
	spec, err := loadEpwatch()
	if err != nil {
		return err
	}
	for _, h := range hookTable() {
		for _, w := range h.ways {
			if k.families[w.family].answer != Yes {
				continue
			}
			for _, p := range k.allowed(append(append([]program{}, w.programs...), w.extra...), nil) {
				if err := k.try(spec, h, w, p); err != nil {
					refused[p.name] = firstLine(err)
				}
			}
		}
	}
	return nil
}

// try loads and attaches one program and removes it. The ready flag stays 0, so it does nothing meanwhile.
func (k *kernel) try(spec *ebpf.CollectionSpec, h hook, w way, p program) error {
	only, err := k.configure(spec, Options{Buffer: os.Getpagesize(), SlowTurn: time.Second, Stacks: noNames}, []choice{{hook: h, way: w}}, []program{p})
	if err != nil {
		return err
	}
	for _, m := range only.Maps {
		m.MaxEntries = min(m.MaxEntries, uint32(max(os.Getpagesize(), 4096)))
	}
	coll, err := k.load(only)
	if err != nil {
		return err
	}
	defer coll.Close()
	l, err := attach(coll.Programs[p.name], p)
	if err != nil {
		return err
	}
	return l.Close()
}

func privileges() []Privilege {
	var all []Privilege
	for _, c := range neededCapabilities() {
		all = append(all, Privilege{c.name, holds(c), c.why, true})
	}
	for _, c := range usefulCapabilities() {
		all = append(all, Privilege{c.name, holds(c), c.why, false})
	}
	return all
}

func ringBuffer() Fact {
	err := features.HaveMapType(ebpf.RingBuf)
	switch {
	case err == nil:
		return Fact{Answer: Yes}
	case errors.Is(err, ebpf.ErrNotSupported):
		return Fact{No, "this kernel has no BPF ring buffer", "a kernel since 5.8"}
	default:
		return Fact{Unknown, firstLine(err), ""}
	}
}

// lockdown reads the kernel's lockdown mode; confidentiality forbids reading kernel memory from programs.
func lockdown() Fact {
	text, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return Fact{Answer: Unknown, Detail: "/sys/kernel/security/lockdown does not exist (no lockdown module, or securityfs is not mounted)"}
		}
		return Fact{Answer: Unknown, Detail: firstLine(err)}
	}
	_, mode, _ := strings.Cut(string(text), "[")
	mode, _, _ = strings.Cut(mode, "]")
	if mode == "confidentiality" {
		return Fact{No, "the kernel is locked down to confidentiality", "boot without lockdown=confidentiality"}
	}
	return Fact{Answer: Yes, Detail: mode}
}

// initialPIDNamespace is its fixed inode number (include/linux/proc_ns.h, PROC_PID_INIT_INO).
const initialPIDNamespace = "pid:[4026531836]"

func pidNamespace() Fact {
	name, err := os.Readlink("/proc/self/ns/pid")
	switch {
	case err != nil:
		return Fact{Answer: Unknown, Detail: firstLine(err)}
	case name != initialPIDNamespace:
		return Fact{No, "epwatch runs in a PID namespace of its own, where the kernel's numbers mean other processes", "run it in the initial PID namespace"}
	default:
		return Fact{Answer: Yes, Detail: "the initial one"}
	}
}
