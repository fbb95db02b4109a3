package server

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestBugsPage holds the page of real bugs against the gallery and the histories: each is there, and gives what the page says.
func TestBugsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/bugs.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| (\\S+#\\d+) \\| .* \\| (gallery|history) `([a-z0-9-]+)` \\| (?:`([a-z-]+)`|nothing) \\|$")
	rows := row.FindAllStringSubmatch(string(page), -1)
	if len(rows) != strings.Count(string(page), "\n| ")-2 || len(rows) < 15 {
		t.Fatalf("%d rows of the table can be read", len(rows))
	}
	for _, r := range rows {
		bug, where, name, check := r[1], r[2], r[3], r[4]
		var found []string
		if where == "gallery" {
			found = expected(name)
		} else {
			found = inHistory(t, name)
		}
		if check == "" && len(found) > 0 || check != "" && !slices.Contains(found, check) {
			t.Errorf("%s: %s %s gives %q, and the page says %q", bug, where, name, found, check)
		}
	}
}

func expected(name string) []string {
	var checks []string
	for _, v := range Gallery() {
		if v.Name == name {
			for _, e := range v.Expect {
				checks = append(checks, e.Check)
			}
		}
	}
	return checks
}

// inHistory returns the checks whose findings stand at the end of a history.
func inHistory(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../internal/diagnose/testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	_, findings, _ := strings.Cut(string(text), "-- findings --\n")
	var checks []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+) `).FindAllStringSubmatch(findings, -1) {
		checks = append(checks, m[1])
	}
	return checks
}
