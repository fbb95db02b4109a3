package proc

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseLink(t *testing.T) {
	tests := map[string]Descriptor{
		"socket:[2183377]":        {Kind: KindSocket, Inode: 2183377},
		"pipe:[7]":                {Kind: KindPipe, Inode: 7},
		"socket:[x]":              {},
		"anon_inode:[eventpoll]":  {Kind: KindEpoll},
		"anon_inode:[eventfd]":    {Kind: KindEventfd},
		"anon_inode:[timerfd]":    {Kind: KindTimerfd},
		"anon_inode:[signalfd]":   {Kind: KindSignalfd},
		"anon_inode:inotify":      {Kind: KindInotify},
		"anon_inode:[fanotify]":   {Kind: KindFanotify},
		"anon_inode:[pidfd]":      {Kind: KindPidfd},
		"pidfd:[12345]":           {Kind: KindPidfd},
		"anon_inode:[io_uring]":   {Kind: KindIOUring},
		"anon_inode:[perf_event]": {},
		"/dev/null":               {Kind: KindFile},
		"/tmp/socket:[1]":         {Kind: KindFile},
		"net:[4026531840]":        {},
		"":                        {},
	}
	for link, want := range tests {
		want.Name, want.FD = link, 3
		if diff := cmp.Diff(want, parseLink(3, link)); diff != "" {
			t.Errorf("%q: -want +got:\n%s", link, diff)
		}
	}
	for k := range numKinds {
		if k.String() == "" || k.String() == "unknown" {
			t.Errorf("kind %d has no name", k)
		}
	}
}

// The numbers are sorted as numbers, and what is none is passed over.
func TestDescriptorsOfFolder(t *testing.T) {
	dir := t.TempDir()
	for fd, link := range map[string]string{"10": "socket:[5]", "9": "/x", "100": "pipe:[6]", "no": "/y"} {
		if err := os.Symlink(link, filepath.Join(dir, fd)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := descriptors(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []Descriptor{
		{FD: 9, Kind: KindFile, Name: "/x"}, {FD: 10, Kind: KindSocket, Name: "socket:[5]", Inode: 5},
		{FD: 100, Kind: KindPipe, Name: "pipe:[6]", Inode: 6},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
