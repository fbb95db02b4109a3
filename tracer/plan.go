package tracer

import (
	"fmt"
	"slices"
	"strings"
)

// Hook is what was chosen for one event, or why nothing was.
type Hook struct {
	Event    string   // the table's name of the event: calls, wakeup, woken, recv, reset, state, queued, release, process, sched, samples, packet
	Family   Family   // empty when there is no hook
	Programs []string // what is attached: functions and tracepoints
	Misses   string   // what this hook cannot see
	Reason   string   // why not a better family, or why none
}

// choice is a way chosen for a hook.
type choice struct {
	hook hook
	way  way
	why  string
}

// plan chooses a way for each event. failed holds programs that the kernel refused although it seemed to have them,
// with the reason. An event that has no way is returned in missing.
func (k *kernel) plan(o Options, failed map[string]string) (chosen []choice, missing []Hook) {
	for _, h := range hookTable() {
		if h.packets && !o.Packets || h.turns && o.SlowTurn <= 0 || h.stacks && (o.SlowTurn <= 0 || o.Stacks == nil) {
			continue
		}
		c, reasons := k.choose(h, o.Backend, failed)
		if c == nil {
			missing = append(missing, Hook{Event: h.event, Reason: strings.Join(reasons, "; ")})
			continue
		}
		c.why = strings.Join(reasons, "; ")
		chosen = append(chosen, *c)
	}
	return chosen, missing
}

// choose takes the first way that the kernel allows, and says why not an earlier one.
func (k *kernel) choose(h hook, forced Family, failed map[string]string) (*choice, []string) {
	var reasons []string
	for _, w := range h.ways {
		if forced != "" && w.family != forced && !h.everywhere {
			continue
		}
		if v := k.can(w); v.answer != Yes {
			reasons = append(reasons, fmt.Sprintf("no %s: %s", w.family, v.reason))
			continue
		}
		if reason := refusal(w.programs, failed); reason != "" {
			reasons = append(reasons, fmt.Sprintf("no %s: %s", w.family, reason))
			continue
		}
		w.extra = k.allowed(w.extra, failed)
		return &choice{hook: h, way: w}, reasons
	}
	if len(reasons) == 0 {
		reasons = append(reasons, fmt.Sprintf("no %s hook for it", forced))
	}
	return nil, reasons
}

func refusal(programs []program, failed map[string]string) string {
	for _, p := range programs {
		if reason, ok := failed[p.name]; ok {
			return reason
		}
	}
	return ""
}

// allowed keeps the programs that the kernel has and did not refuse.
func (k *kernel) allowed(programs []program, failed map[string]string) []program {
	var kept []program
	for _, p := range programs {
		if slices.ContainsFunc(kept, func(other program) bool { return other.name == p.unless }) {
			continue
		}
		if _, bad := failed[p.name]; !bad && k.has(p).answer == Yes {
			kept = append(kept, p)
		}
	}
	return kept
}

// programs returns every program of a plan once, in the plan's order.
func planned(chosen []choice) []program {
	var all []program
	seen := make(map[string]bool)
	for _, c := range chosen {
		for _, p := range append(append([]program{}, c.way.programs...), c.way.extra...) {
			if !seen[p.name] {
				seen[p.name] = true
				all = append(all, p)
			}
		}
	}
	return all
}

func describe(chosen []choice, missing []Hook) []Hook {
	var hooks []Hook
	for _, c := range chosen {
		h := Hook{Event: c.hook.event, Family: c.way.family, Misses: c.way.misses, Reason: c.why}
		for _, p := range append(append([]program{}, c.way.programs...), c.way.extra...) {
			if p.again == "" {
				h.Programs = append(h.Programs, p.target)
			}
		}
		hooks = append(hooks, h)
	}
	return append(hooks, missing...)
}

// wayOf returns the chosen way of an event, or nil.
func wayOf(chosen []choice, event string) *way {
	for i := range chosen {
		if chosen[i].hook.event == event {
			return &chosen[i].way
		}
	}
	return nil
}
