package render

import (
	"math"

	"github.com/epwatch/epwatch/internal/diagnose"
)

// jsonGroup is one fault of one process.
type jsonGroup struct {
	Fingerprint string         `json:"fingerprint"`
	Check       string         `json:"check"`
	Severity    string         `json:"severity"`
	PID         uint32         `json:"pid,omitempty"`
	Comm        string         `json:"comm,omitempty"`
	Count       int            `json:"count"`
	TakenBack   int            `json:"taken_back,omitempty"`
	Outcomes    map[string]int `json:"outcomes"`
	First       int64          `json:"first,omitempty"`
	Last        int64          `json:"last,omitempty"`
	Worst       []int          `json:"worst"`
	Accepted    string         `json:"accepted,omitempty"`
}

func groupLine(g *diagnose.Group) jsonGroup {
	line := jsonGroup{
		Fingerprint: g.Fingerprint, Check: g.Check, Severity: string(g.Severity()), PID: g.PID, Comm: g.Comm, Count: g.Count,
		TakenBack: g.TakenBack, Outcomes: map[string]int{}, First: int64(g.First), Last: int64(g.Last), Worst: []int{}, Accepted: g.Accepted,
	}
	for o, n := range g.Outcomes {
		if o != diagnose.OutcomeUnknown {
			line.Outcomes[string(o)] = n
		}
	}
	for _, f := range g.Worst {
		line.Worst = append(line.Worst, f.ID)
	}
	return line
}

type jsonSummary struct {
	Type       string            `json:"type"`
	Duration   int64             `json:"duration"`
	Events     map[string]uint64 `json:"events"`
	Lost       uint64            `json:"lost"`
	LowerBound bool              `json:"lost_is_lower_bound,omitempty"`
	Missed     uint64            `json:"missed,omitempty"`
	Reads      uint64            `json:"reads"`
	Receives   uint64            `json:"receives"`
	Matched    uint64            `json:"matched"`
	Unmatched  []Unmatched       `json:"unmatched"`
	Unhooked   uint64            `json:"unhooked,omitempty"`
	Findings   map[string]int    `json:"findings"`
	Groups     []jsonGroup       `json:"groups"`
	Accepted   map[string]int    `json:"accepted,omitempty"`
	Stale      []string          `json:"stale,omitempty"`
	Unknown    []Unknown         `json:"unknown"`
	Checks     []Verdict         `json:"checks"`
	Departures []string          `json:"departures,omitempty"`
	Ended      string            `json:"ended,omitempty"`
	Rate       float64           `json:"events_per_second"`
	CPU        int64             `json:"cpu"`
	BPF        int64             `json:"bpf_run_time,omitempty"`
	BPFRuns    uint64            `json:"bpf_runs,omitempty"`
}

func (j *jsonLines) summary(c *Conclusion) {
	s := &c.Summary
	events := map[string]uint64{}
	for k, n := range s.Events {
		events[k.String()] += n
	}
	found := s.Findings
	if found == nil {
		found = map[string]int{}
	}
	groups := []jsonGroup{}
	for _, g := range c.Groups {
		groups = append(groups, groupLine(g))
	}
	j.put(jsonSummary{
		Type: "summary", Duration: s.Duration.Nanoseconds(), Events: events, Lost: s.Lost, LowerBound: s.LowerBound,
		Missed: s.Missed, Reads: s.Reads, Receives: s.Receives, Matched: s.Matched, Unmatched: list(s.Unmatched), Unhooked: s.Unhooked, Findings: found,
		Groups: groups, Accepted: s.Accepted, Stale: s.Stale,
		Unknown: list(s.Unknown), Checks: list(c.Verdicts), Departures: c.Departures, Ended: s.Ended,
		Rate: math.Round(s.rate()*10) / 10, CPU: s.Cost.CPU.Nanoseconds(), BPF: s.Cost.BPF.Nanoseconds(), BPFRuns: s.Cost.BPFRuns,
	})
}
