package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/timeline"
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		12 * time.Microsecond:                      "12 µs",
		999_700 * time.Microsecond:                 "1.0 s",
		999_400 * time.Microsecond:                 "999 ms",
		1500 * time.Microsecond:                    "2 ms",
		1000 * time.Millisecond:                    "1.0 s",
		2345 * time.Millisecond:                    "2.3 s",
		9960 * time.Millisecond:                    "10 s",
		61 * time.Second:                           "61 s",
		999_999 * time.Nanosecond:                  "1 ms",
		999_999*time.Nanosecond - time.Microsecond: "1 ms",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestQueueWords(t *testing.T) {
	here := netip.MustParseAddrPort("127.0.0.1:53")
	tcp, listener := &timeline.Sock{TCP: true}, &timeline.Sock{TCP: true, Listening: true}
	for _, tc := range []struct {
		sock   *timeline.Sock
		unread uint32
		fin    bool
		want   string
	}{
		{tcp, 7, true, "7 bytes and the FIN"}, {tcp, 1, false, "1 byte"}, {tcp, 0, true, "the FIN"},
		{tcp, 0, false, "input or a hang-up"}, {nil, 0, false, "input or a hang-up"}, {listener, 2, false, "2 connections"},
		{&timeline.Sock{Local: here}, 3, false, "3 datagrams"}, {&timeline.Sock{}, 1, false, "1 message"},
	} {
		if got := queue(tc.sock, tc.unread, tc.fin); got != tc.want {
			t.Errorf("%d unread, FIN %v is %q, want %q", tc.unread, tc.fin, got, tc.want)
		}
	}
	if was(1) != "was" || was(2) != "were" {
		t.Error("one byte were, two bytes was")
	}
}

func TestSignalName(t *testing.T) {
	if signalName(15) != "SIGTERM" || signalName(35) != "signal 35" {
		t.Errorf("15 is %s, 35 is %s", signalName(15), signalName(35))
	}
}

func TestTidyKeepsBeginningAndEnd(t *testing.T) {
	got := tidy([]uint64{0, 5, 3, 5, 0, 1, 2, 4, 6, 7, 8, 9, 10, 11, 12})
	if diff := cmp.Diff([]uint64{1, 2, 3, 4, 5, 8, 9, 10, 11, 12}, got); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
	if got := tidy([]uint64{0}); len(got) != 0 {
		t.Errorf("no event at all is %v", got)
	}
}
