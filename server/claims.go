package server

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/epwatch/epwatch/internal/event"
)

// Claim is one thing that a run of a variant must show, checked against what was recorded.
type Claim struct {
	ID   string // unique within its variant
	Text string // one line of plain English
	// Check reports whether the claim holds, the sequence numbers of the events that show it (in either case), and why
	// not when it does not.
	Check func(*Facts) (ok bool, seqs []uint64, why string)
}

// Result is a claim's answer for one run.
type Result struct {
	ID, Text string
	OK       bool
	Evidence []uint64 // event sequence numbers, ascending
	Why      string   // why not, empty when OK
}

// Evaluate checks all claims of v. Where records were lost no claim holds: what is missing could have said otherwise.
func Evaluate(v Variant, f *Facts) []Result {
	rs := make([]Result, 0, len(v.Claims))
	for _, c := range v.Claims {
		r := Result{ID: c.ID, Text: c.Text}
		if n := f.lost(); n > 0 {
			r.Why = fmt.Sprintf("%d records were lost, so this run cannot tell", n)
		} else {
			r.OK, r.Evidence, r.Why = c.Check(f)
		}
		slices.Sort(r.Evidence)
		r.Evidence = slices.Compact(r.Evidence)
		rs = append(rs, r)
	}
	return rs
}

// about makes a claim about the connection's story.
func about(id, text string, check func(*story) (bool, []uint64, string)) Claim {
	return Claim{ID: id, Text: text, Check: func(f *Facts) (bool, []uint64, string) {
		s, ok := tell(f)
		if !ok {
			return false, nil, "the server accepted no connection"
		}
		return check(s)
	}}
}

// yes and no shorten a check's answers.
func yes(seqs []uint64) (bool, []uint64, string) { return true, seqs, "" }

func no(seqs []uint64, format string, args ...any) (bool, []uint64, string) {
	return false, seqs, fmt.Sprintf(format, args...)
}

// wakeups: the arrivals before the FIN, each with so many bytes unread.
func wakeups(id, text string, unread ...uint32) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		got := s.arrivals()
		if len(got) != len(unread) {
			return no(seqs(got), "%d wakeups by input instead of %d", len(got), len(unread))
		}
		for i, e := range got {
			if !e.Has(event.HasUnread) || e.Unread != unread[i] {
				return no(seqs(got), "wakeup %d found %d bytes unread instead of %d", i+1, e.Unread, unread[i])
			}
		}
		return yes(seqs(got))
	})
}

// turnWant is one expected delivery and what its reads return.
type turnWant struct {
	mask  event.Mask
	reads []int64
}

// turnsRead: the deliveries before the hang-up are these and no others, and no read happened outside them.
func turnsRead(id, text string, want ...turnWant) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		turns := s.inputTurns()
		var ev []uint64
		for _, t := range turns {
			ev = append(append(ev, t.deliver.Seq), seqs(t.reads)...)
		}
		if len(s.stray) > 0 {
			return no(append(ev, seqs(s.stray)...), "a read followed no delivery")
		}
		if len(turns) != len(want) {
			return no(ev, "%d deliveries instead of %d", len(turns), len(want))
		}
		for i, t := range turns {
			if t.deliver.Events != want[i].mask {
				return no(ev, "delivery %d was %v instead of %v", i+1, t.deliver.Events, want[i].mask)
			}
			if !slices.Equal(t.results(), want[i].reads) {
				return no(ev, "the reads of delivery %d returned %v instead of %v", i+1, t.results(), want[i].reads)
			}
		}
		return yes(ev)
	})
}

// echoed: exactly this came back.
func echoed(id, text, want string) Claim {
	return about(id, text, func(s *story) (bool, []uint64, string) {
		ev := seqs(s.all(event.KindWrite, nil))
		if got := s.Client.Echo(); got != want {
			return no(ev, "it got %d bytes instead of %d: %q", len(got), len(want), got)
		}
		return yes(ev)
	})
}

// printed: the documented lines, no more and no fewer.
func printed(lines []string) Claim {
	return Claim{
		ID: "lines", Text: "the server printed the documented lines",
		Check: func(f *Facts) (bool, []uint64, string) {
			want := fillIn(lines, f.Client)
			for i := range max(len(want), len(f.ServerLines)) {
				switch {
				case i >= len(want):
					return no(nil, "it also printed %q", f.ServerLines[i])
				case i >= len(f.ServerLines):
					return no(nil, "it did not print %q", want[i])
				case f.ServerLines[i] != want[i]:
					return no(nil, "it printed %q instead of %q", f.ServerLines[i], want[i])
				}
			}
			return yes(nil)
		},
	}
}

// Where a documented line names the run's port and client.
const (
	PortMark   = "{port}"
	ClientMark = "{client}"
)

// fillIn puts a run's port and client into documented lines.
func fillIn(lines []string, c ClientResult) []string {
	r := strings.NewReplacer(PortMark, strconv.Itoa(int(c.Remote.Port())), ClientMark, c.Local.String())
	filled := make([]string, len(lines))
	for i, l := range lines {
		filled[i] = r.Replace(l)
	}
	return filled
}
