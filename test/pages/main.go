// Command pages writes docs/checks: a page for each check, and their list.
//
// The pages say what epwatch explain says. A test holds them against the checks, so that neither changes alone.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/render"
)

func main() {
	folder := flag.String("folder", "docs/checks", "`folder` to write to")
	flag.Parse()
	if err := write(*folder); err != nil {
		fmt.Fprintln(os.Stderr, "pages: writing the pages of the checks:", err)
		os.Exit(1)
	}
}

// pages are the files of the folder by name.
func pages() map[string][]byte {
	checks := diagnose.Checks()
	out := map[string][]byte{"README.md": render.Index(checks)}
	for i := range checks {
		out[checks[i].Code+".md"] = render.Page(&checks[i])
	}
	return out
}

// write writes the pages and removes those of checks that are gone.
func write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	wanted := pages()
	there, err := filepath.Glob(filepath.Join(folder, "*.md"))
	if err != nil {
		return err
	}
	for _, path := range there {
		if wanted[filepath.Base(path)] == nil {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	for name, text := range wanted {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
