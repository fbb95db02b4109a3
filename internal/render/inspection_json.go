package render

import (
	"strconv"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/inspect"
)

// jsonInspection writes a line for each instance, each item and each suspicion. A suspicion keeps its id as long as
// it is about the same file under the same number.
type jsonInspection struct {
	*jsonLines
	quiet bool
	ids   map[suspect]int
	next  int
}

type suspect struct {
	check    string
	epfd, fd int32
	inode    uint64
	data     uint64
}

type jsonInstance struct {
	Type    string    `json:"type"`
	Time    int64     `json:"ts"`
	PID     uint32    `json:"pid"`
	EpFD    int32     `json:"epfd"`
	Also    []int32   `json:"also,omitempty"`
	Items   int       `json:"items"`
	Waiters *[]uint32 `json:"waiters,omitempty"` // absent: not known
	Sharers []uint32  `json:"sharers,omitempty"`
}

type jsonItem struct {
	Type        string   `json:"type"`
	Time        int64    `json:"ts"`
	PID         uint32   `json:"pid"`
	EpFD        int32    `json:"epfd"`
	FD          int32    `json:"fd"`
	Kind        string   `json:"kind,omitempty"`
	Name        string   `json:"name,omitempty"`
	Link        string   `json:"link,omitempty"`
	Events      string   `json:"events"`
	Data        string   `json:"data"`
	Armed       bool     `json:"armed"`
	Standing    bool     `json:"standing"`
	State       string   `json:"state,omitempty"`
	Local       string   `json:"local,omitempty"`
	Peer        string   `json:"peer,omitempty"`
	Unread      *uint32  `json:"unread,omitempty"`
	FIN         *bool    `json:"fin,omitempty"`
	Datagrams   *bool    `json:"datagrams,omitempty"`
	AcceptQueue *uint32  `json:"accept_queue,omitempty"`
	AcceptLimit uint32   `json:"accept_limit,omitempty"`
	SendQueue   *uint32  `json:"send_queue,omitempty"`
	Notes       []string `json:"notes,omitempty"`
}

func (j *jsonInspection) Look(r *inspect.Report) {
	for n := range r.Instances {
		in := &r.Instances[n]
		line := jsonInstance{
			Type: "instance", Time: int64(r.Time), PID: r.Process.PID, EpFD: in.FD, Also: in.Also, Items: len(in.Items), Sharers: in.Sharers,
		}
		if in.HasWaiters {
			waiters := list(in.Waiters)
			line.Waiters = &waiters
		}
		j.put(line)
		for m := range in.Items {
			if it := &in.Items[m]; !j.quiet || len(it.Suspicions) > 0 {
				j.item(r, in, it)
			}
		}
	}
	for n := range r.Instances {
		in := &r.Instances[n]
		for m := range in.Items {
			j.suspicions(r, in, &in.Items[m])
		}
	}
}

func (j *jsonInspection) item(r *inspect.Report, in *inspect.Instance, it *inspect.Item) {
	line := jsonItem{
		Type: "snapshot", Time: int64(r.Time), PID: r.Process.PID, EpFD: in.FD, FD: it.FD, Kind: it.Kind, Name: it.Name,
		Link: it.Link.String(), Events: it.Mask.String(), Data: hex(it.Data), Armed: it.Armed, Standing: it.Standing,
		State: it.State, Notes: it.Notes,
	}
	if s := it.Sock; s != nil {
		j.socket(&line, s)
	}
	j.put(line)
}

// socket fills in what is behind an item. What is absent is not known, or not of its kind.
func (j *jsonInspection) socket(line *jsonItem, s *inspect.Socket) {
	line.Local, line.Peer = ends(s)
	switch {
	case s.State == event.Listen:
		line.AcceptQueue, line.AcceptLimit = &s.Unread, s.Limit
	case s.Datagrams:
		waiting := s.Unread > 0
		line.Datagrams = &waiting
	default:
		line.Unread = &s.Unread
		if s.Local.IsValid() { // UNIX sockets have no FIN
			line.FIN = &s.FIN
		}
	}
	if s.HasSent {
		line.SendQueue = &s.SendQueue
	}
}

// ends returns the addresses that a socket has.
func ends(s *inspect.Socket) (local, peer string) {
	if s.Peer.Port() != 0 {
		peer = address(s.Peer)
	}
	return address(s.Local), peer
}

func (j *jsonInspection) suspicions(r *inspect.Report, in *inspect.Instance, it *inspect.Item) {
	for _, p := range it.Suspicions {
		id := suspect{p.Check, in.FD, it.FD, it.Inode, it.Data}
		if j.ids == nil {
			j.ids = map[suspect]int{}
		}
		if j.ids[id] == 0 {
			if len(j.ids) >= maxRemembered { // a watch can run for days
				clear(j.ids)
			}
			j.next++
			j.ids[id] = j.next
		}
		line := jsonFinding{
			Type: "finding", ID: j.ids[id], Time: int64(r.Time), Check: p.Check, Severity: string(diagnose.SeverityWarning),
			Outcome: string(diagnose.OutcomeOngoing), PID: r.Process.PID, Comm: r.Process.Comm, FD: &it.FD, EpFD: &in.FD,
			Message: "fd " + strconv.Itoa(int(it.FD)) + ": " + p.Message, Evidence: []uint64{}, Fix: p.Fix, Root: p.Root,
		}
		if s := it.Sock; s != nil {
			line.Local, line.Peer = ends(s)
			if s.State != event.Listen && !s.Datagrams {
				line.Unread = s.Unread
			}
		}
		j.put(line)
	}
}

type jsonMissing struct {
	What   string `json:"what"`
	Reason string `json:"reason"`
}

type jsonInspectionSummary struct {
	Type      string         `json:"type"`
	Duration  int64          `json:"duration"`
	Looks     int            `json:"looks"`
	Sample    int64          `json:"sample,omitempty"`
	Instances int            `json:"instances"`
	Items     int            `json:"items"`
	Findings  map[string]int `json:"findings"` // of the last look
	Unknown   []Unknown      `json:"unknown"`
	Missing   []jsonMissing  `json:"missing"` // what the last look could not read
	Ended     string         `json:"ended,omitempty"`
}

func (j *jsonInspection) Conclude(s *InspectionSummary) {
	line := jsonInspectionSummary{
		Type: "summary", Duration: s.Duration.Nanoseconds(), Looks: s.Looks, Findings: map[string]int{}, Unknown: []Unknown{},
		Missing: []jsonMissing{}, Ended: s.Ended,
	}
	if r := s.Last; r != nil {
		line.Sample, line.Instances, line.Items, line.Findings = r.Sample.Nanoseconds(), len(r.Instances), r.Items(), r.Suspicions()
		for _, m := range r.Missing {
			line.Missing = append(line.Missing, jsonMissing{m.What, m.Reason})
			for _, check := range m.Checks {
				line.Unknown = append(line.Unknown, Unknown{check, m.What + " could not be read: " + m.Reason})
			}
		}
	}
	j.put(line)
}
