package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/epwatch/epwatch/internal/event"
)

// kindsFlag is a list of event kinds.
type kindsFlag struct{ kinds *[]event.Kind }

func (f kindsFlag) String() string {
	if f.kinds == nil {
		return ""
	}
	var names []string
	for _, k := range *f.kinds {
		names = append(names, k.String())
	}
	return strings.Join(names, ",")
}

func (f kindsFlag) Set(s string) error {
	for name := range strings.SplitSeq(s, ",") {
		k, ok := event.KindByName(name)
		if !ok {
			return fmt.Errorf("no kind of event is called %q, only %s", name, strings.Join(kindNames(), ", "))
		}
		*f.kinds = append(*f.kinds, k)
	}
	return nil
}

func (f kindsFlag) Type() string { return "LIST" }

func kindNames() []string {
	var names []string
	for _, k := range event.Kinds() {
		names = append(names, k.String())
	}
	return names
}

// vital kinds are recorded whatever --events says: they are rare, and without them nobody knows who is observed and what
// is missing.
func vital() []event.Kind {
	return []event.Kind{
		event.KindFork, event.KindExec, event.KindExit, event.KindSnapshot, event.KindLost, event.KindUnseen,
	}
}

// recorded returns what the kernel's side is to record for a list of --events; nil is everything.
func recorded(asked []event.Kind) []event.Kind {
	if len(asked) == 0 {
		return nil
	}
	kinds := slices.Concat(asked, vital())
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// kindsOf returns the kinds behind the words of the hook table that checks need.
func kindsOf() map[string][]event.Kind {
	return map[string][]event.Kind{
		"calls": {
			event.KindEpollCtl, event.KindWaitEnter, event.KindWaitReturn, event.KindDeliver, event.KindRead, event.KindWrite,
			event.KindAccept, event.KindClose, event.KindDup, event.KindShutdown,
		},
		"wakeup":  {event.KindWakeup},
		"recv":    {event.KindRecv},
		"state":   {event.KindState},
		"reset":   {event.KindReset},
		"process": {event.KindExit, event.KindSignal},
		"sched":   {event.KindSched},
	}
}

// leftOut adds to what each check is missing the kinds that --events leaves out.
func leftOut(missing map[string]string, asked []event.Kind, only []string) {
	kinds := recorded(asked)
	if kinds == nil {
		return
	}
	for check, n := range needs() {
		if missing[check] != "" || len(only) > 0 && !slices.Contains(only, check) {
			continue
		}
		var lack []string
		for _, hook := range n.required {
			for _, k := range kindsOf()[hook] {
				if !slices.Contains(kinds, k) {
					lack = append(lack, k.String())
				}
			}
		}
		if len(lack) > 0 {
			missing[check] = "--events leaves out " + strings.Join(lack, ", ")
		}
	}
}
