package render

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/event"
)

func jsonOf(t *testing.T, show func(Printer)) (raw [][]byte, parsed []map[string]any) {
	t.Helper()
	out := play(t, Options{Format: FormatJSON}, show)
	if !bytes.HasSuffix(out, []byte("\n")) {
		t.Fatal("the last line has no end")
	}
	raw = bytes.Split(bytes.TrimSuffix(out, []byte("\n")), []byte("\n"))
	for i, line := range raw {
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("line %d does not parse: %v\n%s", i+1, err, line)
		}
		if v["type"] == nil || v["type"] == "" {
			t.Errorf("line %d has no type: %s", i+1, line)
		}
		parsed = append(parsed, v)
	}
	return raw, parsed
}

func TestJSONObservation(t *testing.T) {
	golden(t, "observation.jsonl", play(t, Options{Format: FormatJSON}, observation))
	_, lines := jsonOf(t, observation)
	if first := lines[0]; first["type"] != "meta" || first["schema"] != float64(Schema) {
		t.Errorf("the first line is %v", first)
	}
	if last := lines[len(lines)-1]; last["type"] != "summary" {
		t.Errorf("the last line is %v", last)
	}
}

func TestJSONSeveralProcesses(t *testing.T) {
	golden(t, "several.jsonl", play(t, Options{Format: FormatJSON}, several))
	_, lines := jsonOf(t, several)
	for _, l := range lines {
		if l["type"] == "event" && l["comm"] == nil {
			t.Errorf("an event does not name its process: %v", l)
		}
	}
}

// Nothing is allocated for an event: under load there are hundreds of thousands a second.
func TestEventsAllocateNothing(t *testing.T) {
	events := partial()
	for _, o := range []Options{{Format: FormatJSON}, {Format: FormatJSON, Quiet: true}, {Format: FormatText, Quiet: true}} {
		p, err := New(io.Discard, o)
		if err != nil {
			t.Fatal(err)
		}
		m := testMeta()
		m.Processes = append(m.Processes, Process{PID: 4800, Comm: "other"})
		p.Meta(m)
		if n := testing.AllocsPerRun(100, func() {
			for i := range events {
				p.Event(&events[i])
			}
		}); n > 0 {
			t.Errorf("%+v: %v allocations for %d events", o, n, len(events))
		}
	}
}

func TestJSONEventsRoundTrip(t *testing.T) {
	var want, got []event.Event
	want = append(partial(), everyKind()...)
	raw, lines := jsonOf(t, func(p Printer) {
		for i := range want {
			p.Event(&want[i])
		}
	})
	for i, line := range raw {
		ev, err := event.ParseJSON(line)
		if lines[i]["kind"] == "unknown" {
			continue
		}
		if err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		got = append(got, ev)
	}
	want = want[:len(want)-1] // the kind that does not exist
	zeroAddresses := func(es []event.Event) {
		for i := range es {
			es[i].FileAddr, es[i].NewFileAddr, es[i].SockAddr, es[i].EpollAddr = 0, 0, 0, 0
			es[i].Flags &^= event.HasUnread
		}
	}
	zeroAddresses(want)
	zeroAddresses(got)
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b event.Event) bool { return a == b })); diff != "" {
		t.Errorf("events changed on the way (-want +got):\n%s", diff)
	}
}

// Every word of the text's conclusion and findings has to be in the JSON somewhere.
func TestJSONCarriesWhatTheTextShows(t *testing.T) {
	text := string(play(t, Options{Quiet: true}, observation))
	js := string(play(t, Options{Format: FormatJSON, Quiet: true}, observation))
	for _, c := range testConclusion().Claims {
		if !strings.Contains(js, c.Text) || !strings.Contains(js, string(c.Answer)) || !strings.Contains(text, c.Text) {
			t.Errorf("claim %q is missing", c.Text)
		}
	}
	for _, want := range []string{
		`"recv_queue":8`, `"unread":7`, `"fin":true`, `"state":"CLOSE_WAIT"`, `"moment":"after the interrupt"`, `"sockets":[]`,
		`"evidence":[13,15,16,19]`, `"fix":"read until EAGAIN before the next epoll_wait"`, `"outcome":"rescued"`, `"root":"oneshot-disarmed"`,
		`"entries":7`, `"lost":312`, `"et-unread":1`, `"ended":"interrupted"`, `"departures":["expected`,
		`"unknown":[{"check":"reset-on-close","reason":"312 records were lost"}]`, `"programs":["ep_poll_callback"]`, `"events":{"read":7,"wakeup":5}`,
	} {
		if !strings.Contains(js, want) {
			t.Errorf("JSON lacks %s:\n%s", want, js)
		}
	}
	if strings.Contains(js, "null") {
		t.Errorf("JSON has a null:\n%s", js)
	}
}

func TestJSONFindingAgainOnlyWhenChanged(t *testing.T) {
	_, lines := jsonOf(t, observation)
	var ids []any
	var outcomes []any
	for _, l := range lines {
		if l["type"] == "finding" && l["check"] == "et-unread" {
			ids, outcomes = append(ids, l["id"]), append(outcomes, l["outcome"])
		}
	}
	// The conclusion has nothing new to say of it.
	if diff := cmp.Diff([]any{1.0, 1.0}, ids); diff != "" {
		t.Errorf("ids:\n%s", diff)
	}
	if diff := cmp.Diff([]any{"ongoing", "rescued"}, outcomes); diff != "" {
		t.Errorf("outcomes:\n%s", diff)
	}
}
