package server

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestGalleryIsComplete(t *testing.T) {
	kebab := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	taken, guilty := map[string]bool{}, map[string]int{}
	for _, v := range Variants() {
		taken[v.Name] = true
	}
	for _, v := range Gallery() {
		if taken[v.Name] || !kebab.MatchString(v.Name) {
			t.Errorf("%q is no name, or is there twice", v.Name)
		}
		taken[v.Name] = true
		if v.Title == "" || v.Teaches == "" || len(v.Claims) == 0 || len(v.Script) == 0 || v.serve == nil || v.Timeout == 0 || v.Check == "" {
			t.Errorf("%s is incomplete", v.Name)
		}
		ids := map[string]bool{}
		for _, c := range v.Claims {
			if ids[c.ID] || c.Text == "" {
				t.Errorf("%s: claim %q is there twice or says nothing", v.Name, c.ID)
			}
			ids[c.ID] = true
		}
		if len(v.Expect) > 0 {
			guilty[v.Check]++
			if !slices.ContainsFunc(v.Expect, func(e ExpectedFinding) bool { return e.Check == v.Check }) {
				t.Errorf("%s gives no %s", v.Name, v.Check)
			}
		}
		partner, ok := ByName(v.Partner)
		switch {
		case v.Partner == "" && len(v.Expect) > 0:
			t.Errorf("%s has no twin", v.Name)
		case v.Partner != "" && (!ok || partner.Partner != v.Name || partner.Check != v.Check):
			t.Errorf("%s is not the other half of %s", v.Name, v.Partner)
		case v.Partner != "" && (len(v.Expect) > 0) == (len(partner.Expect) > 0):
			t.Errorf("of %s and %s one must be guilty", v.Name, v.Partner)
		}
	}
	for _, check := range []string{
		"et-unread", "oneshot-disarmed", "close-wait", "reset-on-close", "accept-backlog", "accept-error", "busy-loop",
		"spurious-wakeup", "thundering-herd", "ghost-event", "concurrent-delivery", "loop-stall",
	} {
		if guilty[check] == 0 {
			t.Errorf("nobody is guilty of %s", check)
		}
	}
}

// TestOneLineIsMarked: in the source of each guilty server exactly one line is marked as its mistake, and it stands under a condition
// that only the guilty server meets.
func TestOneLineIsMarked(t *testing.T) {
	files, err := filepath.Glob("gallery_*.go")
	if err != nil {
		t.Fatal(err)
	}
	mark := regexp.MustCompile(`// BUG ([a-z-]+): .+`)
	found := map[string]int{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		for i, line := range lines {
			m := mark.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			found[m[1]]++
			near := strings.Join(lines[max(i-1, 0):i+2], "\n")
			if !strings.Contains(near, "s.faulty") {
				t.Errorf("%s:%d: nothing keeps the twin from this line", name, i+1)
			}
		}
	}
	for _, v := range Gallery() {
		want := 0
		if len(v.Expect) > 0 {
			want = 1
		}
		if found[v.Name] != want {
			t.Errorf("%s: %d lines are marked, not %d", v.Name, found[v.Name], want)
		}
		delete(found, v.Name)
	}
	for name := range found {
		t.Errorf("a line is marked for %s, which is nobody", name)
	}
}

// TestGalleryPlays runs every piece without observation: the client gets through its script, the server writes its journal, and dies
// of the signal and not before.
func TestGalleryPlays(t *testing.T) {
	for _, v := range Gallery() {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			s := start(t, v.Name, "")
			_, err := Client(context.Background(), ClientOptions{
				Variant: v, Port: s.port, Timeout: shortTimeout, OnStep: func(m Moment) {
					if m.Name == Connected {
						s.awaitLine(t, "[+] accept client", 1)
					}
				},
			})
			if err != nil {
				t.Fatalf("%v; the server printed %q and %q", err, s.lines, &s.stderr)
			}
			if st := s.end(t, syscall.SIGINT); !st.Signaled() || st.Signal() != syscall.SIGINT || s.stderr.Len() > 0 {
				t.Errorf("the server ended with status %#x, stderr %q", st, &s.stderr)
			}
			for i, r := range s.records {
				if (r.Kind == Listening) != (i == 0) {
					t.Errorf("entry %d of the journal is %+v", i, r)
				}
			}
		})
	}
}

// TestAtEnd: what a script leaves open is open until the client's owner has looked.
func TestAtEnd(t *testing.T) {
	v, _ := ByName("short-read-fixed")
	s := start(t, v.Name, "")
	ended := false
	_, err := Client(context.Background(), ClientOptions{Variant: v, Port: s.port, Timeout: shortTimeout, AtEnd: func() {
		ended = true
		s.mu.Lock()
		defer s.mu.Unlock()
		if slices.Contains(s.lines, "[+] connection closed") {
			t.Error("the connection is closed before the end")
		}
	}})
	if err != nil || !ended {
		t.Errorf("ended %v, %v", ended, err)
	}
	s.awaitLine(t, "[+] connection closed", 1)
}

// TestPerformFails: a gallery server that cannot go on says why.
func TestPerformFails(t *testing.T) {
	taken, port, err := listen("", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(taken)
	v, _ := ByName("short-read")
	if err := perform(Options{Variant: v, Port: port}); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
	v.serve = func(s *stage) { s.watch(-1, s.listener, 0) }
	if err := perform(Options{Variant: v}); err == nil || err.Error() != "changing the interest list: bad file descriptor" {
		t.Errorf("got %v", err)
	}
}
