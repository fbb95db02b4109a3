package event_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/event"
)

func TestParseJSONRefuses(t *testing.T) {
	for field, line := range map[string]string{
		"":          `{"kind":`,
		"type":      `{"type":"finding","kind":"read"}`,
		"kind":      `{"kind":"none"}`,
		"call":      `{"kind":"read","call":"reed"}`,
		"op":        `{"kind":"epoll-ctl","op":"MODIFY"}`,
		"events":    `{"kind":"wakeup","events":"IN|OTU"}`,
		"key":       `{"kind":"wakeup","key":"|"}`,
		"data":      `{"kind":"deliver","data":"5"}`,
		"old":       `{"kind":"state","old":"ESTAB"}`,
		"reason":    `{"kind":"reset","reason":"why not"}`,
		"local":     `{"kind":"state","local":"localhost:80"}`,
		"peer":      `{"kind":"state","peer":"[fe80::1%eth0]:80"}`,
		"flags":     `{"kind":"wakeup","flags":["coalesed"]}`,
		"doing":     `{"kind":"sched","doing":"sleeping"}`,
		"tcp_flags": `{"kind":"packet","tcp_flags":"X"}`,
		"cpu":       `{"kind":"read","cpu":-1}`,
	} {
		_, err := event.ParseJSON([]byte(line))
		if err == nil || !strings.HasPrefix(err.Error(), "parsing an event: ") || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: the error is %v, want one that names %q", line, err, field)
		}
	}
}

func TestParseJSONPassesOverWhatIsNew(t *testing.T) {
	e, err := event.ParseJSON([]byte(`{"type":"event","kind":"read","comm":"redis","fd":0,"unread":0}`))
	if err != nil || e.FD != 0 || e.EpFD != event.NoFD || !e.Has(event.HasUnread) {
		t.Errorf("got %+v, %v", e, err)
	}
}

// FuzzParseJSON: what was read once can be written and read again as the same.
func FuzzParseJSON(f *testing.F) {
	e := full()
	f.Add(event.AppendJSON(nil, &e))
	e.Kind = event.KindPacket
	f.Add(event.AppendJSON(nil, &e))
	f.Add([]byte(`{"kind":"shutdown","op":"RDWR","fd":0,"flags":["dead","dead"]}`))
	f.Add([]byte(`{"kind":"state","old":"state 77","state":"TIME_WAIT","local":"[::ffff:1.2.3.4]:0"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		first, err := event.ParseJSON(line)
		if err != nil {
			return
		}
		written := event.AppendJSON(nil, &first)
		second, err := event.ParseJSON(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if diff := cmp.Diff(first, second, compareAddr); diff != "" {
			t.Errorf("%s (-first +second):\n%s", written, diff)
		}
	})
}
