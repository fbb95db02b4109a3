package render

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/epwatch/epwatch/internal/diagnose"
)

// TestExplanations: every check is explained, in the columns of all output, with everything that its documentation has.
func TestExplanations(t *testing.T) {
	for _, c := range diagnose.Checks() {
		text, page := string(Explanation(&c)), string(Page(&c))
		for i, line := range strings.Split(text, "\n") {
			if utf8.RuneCountInString(line) > Columns || strings.TrimRight(line, " ") != line {
				t.Errorf("%s, line %d is too long or ends in spaces: %q", c.Code, i+1, line)
			}
		}
		if !strings.HasPrefix(text, c.Code+": "+c.Title+"\n") || !strings.HasPrefix(page, "# "+c.Code+"\n") {
			t.Errorf("%s does not begin with its name", c.Code)
		}
		words := func(s string) string { return strings.Join(strings.Fields(strings.ReplaceAll(s, "`", "")), " ") }
		want := []string{c.Doc.Symptom, c.Doc.Mechanism, c.Doc.Proof, c.Doc.Blind, c.Doc.Repair}
		for _, a := range c.Doc.Runtimes {
			want = append(want, a.Words)
		}
		for _, w := range append(want, c.Doc.References...) {
			if !strings.Contains(words(text), words(w)) || !strings.Contains(words(page), words(w)) {
				t.Errorf("%s does not say: %s", c.Code, w)
			}
		}
		for line := range strings.Lines(strings.Trim(c.Doc.RepairC, "\n")) {
			if !strings.Contains(page, line) {
				t.Errorf("the page of %s lacks the line %s", c.Code, line)
			}
		}
	}
}

func TestMarked(t *testing.T) {
	for words, want := range map[string]string{
		"with EPOLL_CTL_MOD, then":       "with `EPOLL_CTL_MOD`, then",
		"epoll_ctl(2), EPOLLRDHUP":       "`epoll_ctl(2)`, EPOLLRDHUP",
		"a.c: f_g (EP_PRIVATE_BITS)":     "a.c: `f_g` (`EP_PRIVATE_BITS`)",
		"plain words; and \"more\" here": "plain words; and \"more\" here",
		"read until 0 < n < 5":           "read until 0 `<` n `<` 5",
	} {
		if got := marked(words); got != want {
			t.Errorf("marked(%q) = %q, want %q", words, got, want)
		}
	}
}
