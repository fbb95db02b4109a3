package render

import (
	"strconv"
	"strings"

	"github.com/epwatch/epwatch/internal/event"
)

func (t *text) tables(tables []Table) {
	if len(tables) == 0 {
		return
	}
	t.title("Sockets")
	for _, table := range tables {
		t.paragraph(table.Moment+" ("+t.at(table.Time)+" ms)", "  ", "  ", plain)
		if len(table.Sockets) == 0 {
			t.paragraph("none", "    ", "    ", dim)
			continue
		}
		cells := [][]string{{"state", "local", "peer", "recv-q", "send-q", "owner"}}
		for i := range table.Sockets {
			cells = append(cells, socketCells(&table.Sockets[i]))
		}
		for i, line := range Align(cells) {
			s := plain
			if i == 0 {
				s = dim
			}
			t.paragraph(line, "    ", "      ", s)
		}
	}
}

func socketCells(s *Socket) []string {
	peer := "-"
	if s.Peer.IsValid() && s.Peer.Port() != 0 {
		peer = s.Peer.String()
	}
	return []string{s.State.String(), s.Local.String(), peer, queue(s), strconv.FormatUint(uint64(s.SendQueue), 10), owner(s)}
}

// queue splits the receive queue into what can be read and the FIN, which netstat counts as one more byte.
func queue(s *Socket) string {
	q := strconv.FormatUint(uint64(s.RecvQueue), 10)
	switch {
	case s.State == event.Listen && s.RecvQueue > 0:
		return q + " to accept"
	case s.FIN && s.Unread > 0:
		return q + " = " + strconv.FormatUint(uint64(s.Unread), 10) + " unread + FIN"
	case s.FIN:
		return q + " = FIN"
	case s.Unread > 0:
		return q + " unread"
	default:
		return q
	}
}

func owner(s *Socket) string {
	if s.PID == 0 {
		return "nobody"
	}
	words := Escape(s.Comm) + "/" + strconv.FormatUint(uint64(s.PID), 10)
	if s.FD != event.NoFD {
		words += " " + descriptor(s.FD)
	}
	return words
}

// Align pads the cells of each column to one width, two spaces apart.
func Align(rows [][]string) []string {
	var widths []int
	for _, cells := range rows {
		for i, c := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(c))
		}
	}
	lines := make([]string, 0, len(rows))
	for _, cells := range rows {
		var b strings.Builder
		for i, c := range cells {
			b.WriteString(padRight(c, widths[i]+2))
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return lines
}
