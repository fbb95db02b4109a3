package server

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestJournalRoundTrip(t *testing.T) {
	want := []Record{
		{Time: 1 << 40, Kind: Listening, FD: 4, Result: 65535, TID: 1 << 30},
		{Time: 1<<40 + 1, Kind: ReadDone, FD: 7, Result: -11, TID: 2},
	}
	var b []byte
	for _, r := range want {
		b = r.append(b)
	}
	if len(b) != len(want)*RecordSize {
		t.Fatalf("%d bytes", len(b))
	}
	var got []Record
	for r, err := range ReadJournal(iotest.OneByteReader(bytes.NewReader(b))) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestJournalErrors(t *testing.T) {
	whole := Record{Kind: ReadDone}.append(nil)
	tests := []struct {
		name string
		in   io.Reader
		want string
	}{
		{"cut short", bytes.NewReader(whole[:23]), "reading the journal: unexpected EOF"},
		{"not a journal", strings.NewReader(strings.Repeat("x", RecordSize)), "reading the journal: unknown record kind 2021161080"},
		{"broken", iotest.ErrReader(io.ErrClosedPipe), "reading the journal: io: read/write on closed pipe"},
	}
	for _, test := range tests {
		var last error
		for _, err := range ReadJournal(test.in) {
			last = err
		}
		if last == nil || last.Error() != test.want {
			t.Errorf("%s: got %v, want %s", test.name, last, test.want)
		}
	}
}

func FuzzReadJournal(f *testing.F) {
	f.Add(Record{Kind: Listening, Result: 8080}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		for r, err := range ReadJournal(bytes.NewReader(b)) {
			if err != nil {
				break
			}
			again = r.append(again)
		}
		if !bytes.HasPrefix(b, again) {
			t.Errorf("read %x from %x", again, b)
		}
	})
}
