package render

import (
	"bufio"
	"encoding/json"
	"io"
	"net/netip"
	"time"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/event"
)

// jsonLines writes one object a line. All times are nanoseconds: points are on CLOCK_MONOTONIC, and meta.clock ties
// them to the wall clock. A field that is not there is not known.
type jsonLines struct {
	out *bufio.Writer
	enc *json.Encoder
	buf []byte
	err error

	last  map[int]string    // what was written of each finding
	comms map[uint32]string // names for events, once there is more than one process
}

func newJSON(w io.Writer) *jsonLines {
	out := bufio.NewWriterSize(w, bufferSize)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return &jsonLines{out: out, enc: enc, last: map[int]string{}, comms: map[uint32]string{}}
}

func (j *jsonLines) put(v any) {
	if err := j.enc.Encode(v); err != nil && j.err == nil {
		j.err = err
	}
}

type jsonMeta struct {
	Type      string            `json:"type"`
	Schema    int               `json:"schema"`
	Version   string            `json:"version"`
	Kernel    string            `json:"kernel"`
	Command   string            `json:"command"`
	Processes []Process         `json:"processes"`
	PIDs      []uint32          `json:"pids"`
	Hooks     []Hook            `json:"hooks"`
	Missing   map[string]string `json:"missing,omitempty"`
	Clock     jsonClock         `json:"clock"`
}

// jsonClock is one moment on both clocks.
type jsonClock struct {
	Monotonic int64 `json:"monotonic"`
	Realtime  int64 `json:"realtime"`
}

func (j *jsonLines) Meta(m *Meta) {
	pids := []uint32{}
	for _, p := range m.Processes {
		pids = append(pids, p.PID)
		j.learn(p)
	}
	j.put(jsonMeta{
		Type: "meta", Schema: Schema, Version: m.Version, Kernel: m.Kernel, Command: m.Command,
		Processes: list(m.Processes), PIDs: pids, Hooks: list(m.Hooks), Missing: m.Missing,
		Clock: jsonClock{Monotonic: int64(m.Start), Realtime: wallNanoseconds(m.Wall)},
	})
}

func wallNanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// list makes an empty list of a missing one, so that readers find "[]" and never "null".
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

type jsonProcess struct {
	Type string `json:"type"`
	Time int64  `json:"ts"`
	Process
}

func (j *jsonLines) Process(at event.Time, p Process) {
	j.learn(p)
	j.put(jsonProcess{Type: "process", Time: int64(at), Process: p})
}

// learn keeps a name in the form in which events carry it.
func (j *jsonLines) learn(p Process) {
	if len(j.comms) >= maxRemembered {
		clear(j.comms)
	}
	quoted, err := json.Marshal(p.Comm)
	if p.Comm == "" || err != nil {
		quoted = nil
	}
	j.comms[p.PID] = string(quoted)
}

type jsonNote struct {
	Type string `json:"type"`
	Time int64  `json:"ts"`
	PID  uint32 `json:"pid,omitempty"`
	Text string `json:"text"`
}

func (j *jsonLines) Note(n *Note) {
	j.put(jsonNote{Type: "note", Time: int64(n.Time), PID: n.PID, Text: n.Text})
}

func (j *jsonLines) Event(ev *event.Event) {
	j.buf = event.AppendJSON(j.buf[:0], ev)
	if comm := j.comms[ev.PID]; comm != "" && len(j.comms) > 1 {
		j.buf = append(append(j.buf[:len(j.buf)-1], `,"comm":`...), comm...)
		j.buf = append(j.buf, '}')
	}
	j.buf = append(j.buf, '\n')
	if _, err := j.out.Write(j.buf); err != nil && j.err == nil {
		j.err = err
	}
}

type jsonLine struct {
	Type   string `json:"type"`
	Time   int64  `json:"ts"`
	Source string `json:"source"`
	PID    uint32 `json:"pid,omitempty"`
	Text   string `json:"text"`
}

func (j *jsonLines) Line(l *Line) {
	j.put(jsonLine{Type: "line", Time: int64(l.Time), Source: l.Source, PID: l.PID, Text: l.Text})
}

// jsonFinding has an id because a finding is written again when it has changed: the last one with an id holds.
type jsonFinding struct {
	Type     string   `json:"type"`
	ID       int      `json:"id"`
	Time     int64    `json:"ts,omitempty"`
	Check    string   `json:"check"`
	Severity string   `json:"severity"`
	Outcome  string   `json:"outcome,omitempty"`
	PID      uint32   `json:"pid,omitempty"`
	TID      uint32   `json:"tid,omitempty"`
	Comm     string   `json:"comm,omitempty"`
	FD       *int32   `json:"fd,omitempty"`
	EpFD     *int32   `json:"epfd,omitempty"`
	File     uint32   `json:"file,omitempty"`
	Epoll    uint32   `json:"epoll,omitempty"`
	Local    string   `json:"local,omitempty"`
	Peer     string   `json:"peer,omitempty"`
	Start    int64    `json:"start,omitempty"`
	End      int64    `json:"end,omitempty"`
	Unread   uint32   `json:"unread"`
	Message  string   `json:"message"`
	Evidence []uint64 `json:"evidence"`
	Fix      string   `json:"fix,omitempty"`
	Root     string   `json:"root,omitempty"`
	Snapshot bool     `json:"snapshot,omitempty"`
	Print    string   `json:"fingerprint,omitempty"`
	Accepted string   `json:"accepted,omitempty"`

	Stack *jsonStack `json:"stack,omitempty"`
}

// jsonStack holds names, the innermost function first.
type jsonStack struct {
	User   []string `json:"user"`
	Kernel []string `json:"kernel"`
}

// Finding writes what is new about a finding and stays silent when nothing is.
func (j *jsonLines) Finding(at event.Time, f *diagnose.Finding) {
	line := jsonFinding{
		Type: "finding", ID: f.ID, Check: f.Check, Severity: string(f.Severity), Outcome: string(f.Outcome),
		PID: f.PID, TID: f.TID, Comm: f.Comm, FD: known(f.FD), EpFD: known(f.EpFD), File: uint32(f.File),
		Epoll: uint32(f.Epoll), Local: address(f.Local), Peer: address(f.Peer), Start: int64(f.Start), End: int64(f.End),
		Unread: f.Unread, Message: f.Message, Evidence: list(f.Evidence), Fix: f.Fix, Root: f.Root,
		Snapshot: f.Snapshot, Print: f.Fingerprint, Accepted: f.Accepted,
	}
	if f.Stack != nil {
		line.Stack = &jsonStack{User: list(f.Stack.User), Kernel: list(f.Stack.Kernel)}
	}
	b, err := json.Marshal(line)
	if err != nil {
		j.err = err
		return
	}
	if j.last[f.ID] == string(b) {
		return
	}
	if len(j.last) >= maxFindings {
		clear(j.last) // what follows may be said twice
	}
	j.last[f.ID] = string(b)
	line.Time = int64(at)
	j.put(line)
}

// Tick: nothing is ever held back.
func (*jsonLines) Tick(event.Time) {}

func known(fd int32) *int32 {
	if fd == event.NoFD {
		return nil
	}
	return &fd
}

func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

type jsonClaim struct {
	Type   string   `json:"type"`
	ID     string   `json:"id"`
	Text   string   `json:"text"`
	Answer Answer   `json:"answer"`
	Events []uint64 `json:"events"`
	Why    string   `json:"why,omitempty"`
}

type jsonTable struct {
	Type    string       `json:"type"`
	Moment  string       `json:"moment"`
	Time    int64        `json:"ts"`
	Sockets []jsonSocket `json:"sockets"`
}

type jsonSocket struct {
	Local     string `json:"local"`
	Peer      string `json:"peer,omitempty"`
	State     string `json:"state"`
	RecvQueue uint32 `json:"recv_queue"`
	Unread    uint32 `json:"unread"`
	FIN       bool   `json:"fin"`
	SendQueue uint32 `json:"send_queue"`
	PID       uint32 `json:"pid,omitempty"`
	FD        *int32 `json:"fd,omitempty"`
	Comm      string `json:"comm,omitempty"`
}

type jsonJournal struct {
	Type      string      `json:"type"`
	Entries   int         `json:"entries"`
	Receives  int         `json:"receives"`
	Matched   int         `json:"matched"`
	Unmatched []Unmatched `json:"unmatched"`
	Lost      uint64      `json:"lost"`
}

// Conclude writes the claims, the journal, the tables and last the summary; the findings were written when they were made.
func (j *jsonLines) Conclude(c *Conclusion) {
	for _, f := range c.Findings {
		j.Finding(0, f)
	}
	for _, cl := range c.Claims {
		j.put(jsonClaim{Type: "claim", ID: cl.ID, Text: cl.Text, Answer: cl.Answer, Events: list(cl.Events), Why: cl.Why})
	}
	if n := c.Journal; n != nil {
		j.put(jsonJournal{Type: "journal", Entries: n.Entries, Receives: n.Receives, Matched: n.Matched,
			Unmatched: list(n.Unmatched), Lost: n.Lost})
	}
	for _, t := range c.Tables {
		j.table(&t)
	}
	j.summary(c)
}

func (j *jsonLines) table(t *Table) {
	out := jsonTable{Type: "table", Moment: t.Moment, Time: int64(t.Time), Sockets: []jsonSocket{}}
	for _, s := range t.Sockets {
		out.Sockets = append(out.Sockets, jsonSocket{
			Local: address(s.Local), Peer: address(s.Peer), State: s.State.String(), RecvQueue: s.RecvQueue, Unread: s.Unread,
			FIN: s.FIN, SendQueue: s.SendQueue, PID: s.PID, FD: known(s.FD), Comm: s.Comm,
		})
	}
	j.put(out)
}

func (j *jsonLines) Flush() error {
	if err := j.out.Flush(); err != nil {
		return err
	}
	return j.err
}
