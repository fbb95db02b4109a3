package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const folder = "../../docs/checks"

// TestPagesSayWhatTheChecksSay: a check that changes, comes or goes takes its page along.
func TestPagesSayWhatTheChecksSay(t *testing.T) {
	wanted := pages()
	for name, want := range wanted {
		have, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Errorf("%v (run: make docs)", err)
			continue
		}
		if diff := cmp.Diff(string(want), string(have)); diff != "" {
			t.Errorf("%s is not what the check says (run: make docs): -want +have:\n%s", name, diff)
		}
	}
	there, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range there {
		if wanted[filepath.Base(path)] == nil {
			t.Errorf("%s is no check's page (run: make docs)", path)
		}
	}
}

// TestWriteRemovesWhatIsNoPage: the page of a check that is gone goes with the next writing.
func TestWriteRemovesWhatIsNoPage(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, "no-check.md")
	if err := os.WriteFile(left, []byte("words\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("it is still there")
	}
	if got, _ := filepath.Glob(filepath.Join(dir, "*.md")); len(got) != len(pages()) {
		t.Errorf("%d files, want %d", len(got), len(pages()))
	}
}
