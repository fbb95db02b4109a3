package server

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/gallery.md anew")

const galleryPage = "../docs/gallery.md"

// TestGalleryPage holds the page against the gallery: the stories are the header comments, the lines are the marked ones.
func TestGalleryPage(t *testing.T) {
	want := writePage(t)
	if *update {
		if err := os.WriteFile(galleryPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(galleryPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("the page is out of step (go test ./server -run Page -update): -want +got:\n%s", diff)
	}
}

func writePage(t *testing.T) string {
	t.Helper()
	stories, lines := sources(t)
	var b strings.Builder
	b.WriteString(`# The gallery

Small servers that each make one mistake, every one beside a twin in which one line is repaired, and innocents that do on purpose what
looks like a mistake. They run as the documented experiments do:

` + "```" + `
sudo epwatch trace lost-eof         # the mistake, with its events, claims and findings
sudo epwatch trace lost-eof-fixed   # the repaired twin: nothing to find
sudo epwatch selftest               # all of them, as a table
epwatch serve lost-eof              # in one terminal, and in another
epwatch client lost-eof             # its client, without privileges
` + "```" + `

A guilty server and its twin run the same code, ` + "[server/gallery_*.go](../server)" + `; the line that is the mistake is marked there, and runs in the guilty one
only. This page is made from that source.
`)
	check := ""
	for _, v := range Gallery() {
		if v.Partner == "" {
			if check != "innocents" {
				check = "innocents"
				b.WriteString("\n## Innocents\n\nThey must give no finding at all, and so must the twins.\n")
			}
			fmt.Fprintf(&b, "\n### %s\n\n%s\n\nCould be taken for: `%s`.\n", v.Name, stories[v.Name], v.Check)
			continue
		}
		if len(v.Expect) == 0 {
			continue // told with its guilty half
		}
		if v.Check != check {
			check = v.Check
			fmt.Fprintf(&b, "\n## %s\n", check)
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n```go\n%s\n```\n\n", v.Name, stories[v.Name], lines[v.Name])
		var finds []string
		for _, e := range v.Expect {
			finds = append(finds, "`"+e.Check+"`")
		}
		fmt.Fprintf(&b, "Gives: %s. Its twin gives nothing.\n", strings.Join(finds, ", "))
	}
	return b.String()
}

// sources reads the stories and the marked lines out of the package.
func sources(t *testing.T) (stories, lines map[string]string) {
	t.Helper()
	stories, lines = map[string]string{}, map[string]string{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	mark := regexp.MustCompile(`^(.*)// BUG ([a-z-]+): (.+)$`)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Doc == nil {
				continue
			}
			if piece, story, ok := strings.Cut(strings.TrimSpace(fn.Doc.Text()), ": "); ok && !strings.Contains(piece, " ") {
				stories[piece] = strings.ToUpper(story[:1]) + story[1:]
			}
		}
		all := strings.Split(string(text), "\n")
		for i, line := range all {
			if m := mark.FindStringSubmatch(line); m != nil {
				code := strings.TrimSpace(m[1])
				if code == "" {
					code = strings.TrimSpace(all[i+1])
				}
				lines[m[2]] = code + " // " + m[3]
			}
		}
	}
	for _, v := range Gallery() {
		told := stories[v.Name] != "" || v.Partner != "" && stories[v.Partner] != ""
		if !told {
			t.Errorf("nobody tells the story of %s", v.Name)
		}
	}
	return stories, lines
}
