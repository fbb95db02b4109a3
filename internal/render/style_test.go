package render

import (
	"slices"
	"strings"
	"testing"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain ← text ✓": "plain ← text ✓",
		"a\tb":           `a\tb`,
		`c:\x1b`:         `c:\x1b`,
		"\x7f\x00":       `\x7f\x00`,
		"\xc3\x28":       `\xc3(`,
		"\u202e\u200b":   `\u202e\u200b`,
		"\U000e0001":     `\U000e0001`,
		"\ufffd":         `�`,
		"":               "",
	} {
		if got := Escape(in); got != want {
			t.Errorf("Escape(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want []string
	}{
		{"short", 10, []string{"short"}},
		{"exactly ten", 11, []string{"exactly ten"}},
		{"exactly ten", 10, []string{"exactly", "ten"}},
		{"fd 7  IN|RDHUP  20", 6, []string{"fd 7", "IN|RDHUP", "20"}},
		{"verylongword and more", 5, []string{"verylongword", "and", "more"}},
		{"verylongword", 5, []string{"verylongword"}},
		{"→→→ →→→", 5, []string{"→→→", "→→→"}},
		{"", 5, []string{""}},
	} {
		if got := Wrap(c.in, c.n); !slices.Equal(got, c.want) {
			t.Errorf("Wrap(%q, %d) = %q, want %q", c.in, c.n, got, c.want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a\x1b[2Jb\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := Escape(s)
		if !printable(strings.ReplaceAll(strings.ReplaceAll(got, `\`, ""), "\ufffd", "")) {
			t.Errorf("Escape(%q) = %q is not printable", s, got)
		}
	})
}

func FuzzWrap(f *testing.F) {
	f.Add("some words  to wrap", 7)
	f.Fuzz(func(t *testing.T, s string, n int) {
		if n < 1 || n > 200 {
			return
		}
		for _, line := range Wrap(s, n) {
			if width(line) > n && strings.Contains(strings.TrimLeft(line, " "), " ") {
				t.Errorf("Wrap(%q, %d) has %q", s, n, line)
			}
		}
		if got := strings.Join(strings.Fields(strings.Join(Wrap(s, n), " ")), " "); got != strings.Join(strings.Fields(s), " ") {
			t.Errorf("Wrap(%q, %d) lost words: %q", s, n, got)
		}
	})
}

func TestSpan(t *testing.T) {
	for _, c := range []struct {
		a, b uint64
		want string
	}{
		{7, 8, "7-8"}, {999, 1000, "999-1000"}, {123, 124, "123-124"}, {12345, 12346, "12345-6"}, {0, 0, ""}, {0, 4, "4"},
	} {
		if got := span(c.a, c.b); got != c.want {
			t.Errorf("span(%d, %d) = %q, want %q", c.a, c.b, got, c.want)
		}
	}
}
