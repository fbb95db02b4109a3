package render

import (
	"strings"
	"testing"

	"github.com/epwatch/epwatch/internal/event"
)

// The names come out of files that anybody may have made.
func TestStackIsShownAndEscaped(t *testing.T) {
	f := testFinding()
	f.Stack = &event.Stack{User: []string{"main.handle (server.go:41)", "evil\x1b[2Jname"}, Kernel: []string{"do_nanosleep"}}
	conclude := func(p Printer) {
		p.Meta(testMeta())
		p.Finding(ms(600), f)
		c := testConclusion()
		c.Findings[0], c.Groups[0].Worst[0] = f, f
		p.Conclude(c)
	}
	text := string(play(t, Options{}, conclude))
	for _, want := range []string{"     in the kernel:\n       do_nanosleep\n     in the program:\n       main.handle (server.go:41)\n       evil\\x1b[2Jname\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks\n%s\n%s", want, text)
		}
	}
	lines := string(play(t, Options{Format: FormatJSON}, conclude))
	if want := `"stack":{"user":["main.handle (server.go:41)","evil\u001b[2Jname"],"kernel":["do_nanosleep"]}`; !strings.Contains(lines, want) {
		t.Errorf("the JSON lacks\n%s\n%s", want, lines)
	}
	if strings.Contains(text+lines, "\x1b") {
		t.Error("a terminal's command came through")
	}
	f.Stack = &event.Stack{User: []string{"main"}}
	if lines := string(play(t, Options{Format: FormatJSON}, conclude)); !strings.Contains(lines, `"stack":{"user":["main"],"kernel":[]}`) {
		t.Errorf("an empty part of a stack is not an empty list\n%s", lines)
	}
	if text := string(play(t, Options{}, conclude)); strings.Contains(text, "in the kernel") {
		t.Errorf("an empty part of a stack has a title\n%s", text)
	}
}
