package render

import "github.com/epwatch/epwatch/internal/event"

// stack shows where a thread was, one function a line, the innermost first.
func (t *text) stack(s *event.Stack) {
	if s == nil {
		return
	}
	for _, part := range []struct {
		title  string
		frames []string
	}{{"in the kernel", s.Kernel}, {"in the program", s.User}} {
		if len(part.frames) == 0 {
			continue
		}
		t.paragraph(part.title+":", "     ", "     ", plain)
		for _, frame := range part.frames {
			t.paragraph(Escape(frame), "       ", "         ", plain)
		}
	}
}
