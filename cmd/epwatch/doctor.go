package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/tracer"
)

func newDoctor() *cobra.Command {
	format := formatText
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this kernel and these privileges allow",
		Long: prose(`Say for every event and every family of hooks whether it can be had here, why not, and what would change
that; and which checks can be answered in full, in part, or not at all. With privileges every hook is
loaded and attached once, silently, and removed again; without, the answers come from what the kernel lists.`),
		Example: `  sudo epwatch doctor
  epwatch doctor --format json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := tracer.Probe()
			if err != nil {
				return fmt.Errorf("probing the kernel: %w", err)
			}
			if format == formatJSON {
				return doctorJSON(cmd.OutOrStdout(), &r)
			}
			return doctorText(cmd.OutOrStdout(), &r)
		},
	}
	addFormat(cmd, &format)
	return cmd
}

// facts are the report's facts with their names.
func facts(r *tracer.Report) []namedFact {
	out := []namedFact{
		{"BTF", r.BTF}, {"ring buffer", r.RingBuffer}, {"lockdown", r.Lockdown}, {"PID namespace", r.PIDNamespace},
	}
	for _, f := range r.Families {
		out = append(out, namedFact{string(f.Family), f.Fact})
	}
	return out
}

type namedFact struct {
	name string
	fact tracer.Fact
}

// mark shows an answer as a sign.
func mark(a tracer.Answer) string {
	switch a {
	case tracer.Yes:
		return "✓"
	case tracer.No:
		return "✗"
	default:
		return "?"
	}
}

func doctorText(out io.Writer, r *tracer.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "epwatch %s on kernel %s\n", version(), r.Release)
	title(&b, "Kernel")
	for _, f := range facts(r) {
		entry(&b, mark(f.fact.Answer), f.name, hinted(f.fact))
	}
	title(&b, "Privileges")
	for _, p := range r.Capabilities {
		words := "held"
		if p.Held != tracer.Yes {
			words = "missing"
			if p.Held == tracer.Unknown {
				words = "could not tell"
			}
		}
		words += ", for " + p.Why
		if p.Needed {
			words += " (nothing works without it)"
		}
		entry(&b, mark(p.Held), p.Name, words)
	}
	doctorEvents(&b, r)
	title(&b, "Checks")
	for _, c := range availability(r) {
		words := c.Answer
		if c.Reason != "" {
			words += ": " + c.Reason
		}
		entry(&b, c.mark, c.Check, words)
	}
	if !r.Attached {
		paragraph(&b, "\n", "", "Nothing was tried for real: with the privileges above every hook is loaded and attached once.")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// doctorEvents writes one row an event and one column a family. What there is to say about a cell stands below, once.
func doctorEvents(b *strings.Builder, r *tracer.Report) {
	if len(r.Rows) == 0 {
		return
	}
	title(b, "Events")
	var notes []string
	cells := [][]string{{"event"}}
	for _, f := range tracer.Families() {
		cells[0] = append(cells[0], string(f))
	}
	required := false
	for _, row := range r.Rows {
		last := len(cells) - 1
		name := row.Event
		if row.Required {
			name, required = name+" *", true
		}
		if cells[last][0] != name {
			cells = append(cells, []string{name})
			last++
		}
		cells[last] = append(cells[last], row.Answer.String()+footnote(&notes, row))
	}
	for _, line := range render.Align(cells) {
		fmt.Fprintf(b, "  %s\n", line)
	}
	if required {
		b.WriteString("  * nothing works without it\n")
	}
	for i, n := range notes {
		paragraph(b, fmt.Sprintf("  %2d  ", i+1), "      ", n)
	}
}

// footnote returns the number of what is to be said about a row, in the notes or added to them.
func footnote(notes *[]string, row tracer.Row) string {
	note := hinted(row.Fact)
	if row.Answer == tracer.Yes {
		note = ""
		if row.Misses != "" {
			note = "does not see " + row.Misses
		}
	}
	if note == "" {
		return ""
	}
	for i, n := range *notes {
		if n == note {
			return " " + strconv.Itoa(i+1)
		}
	}
	*notes = append(*notes, note)
	return " " + strconv.Itoa(len(*notes))
}

func hinted(f tracer.Fact) string {
	switch {
	case f.Remedy == "":
		return f.Detail
	case f.Detail == "":
		return f.Remedy
	default:
		return f.Detail + " (" + f.Remedy + ")"
	}
}

func title(b *strings.Builder, words string) { b.WriteString("\n" + words + "\n") }

const doctorNameWidth = 21

func entry(b *strings.Builder, mark, name, words string) {
	head := fmt.Sprintf("  %s %-*s", mark, doctorNameWidth, name)
	if words == "" {
		b.WriteString(strings.TrimRight(head, " ") + "\n")
		return
	}
	paragraph(b, head, strings.Repeat(" ", 4+doctorNameWidth), words)
}

func paragraph(b *strings.Builder, first, next, words string) {
	for i, line := range render.Wrap(words, render.Columns-len(next)) {
		if i == 0 {
			b.WriteString(first + line + "\n")
		} else {
			b.WriteString(next + line + "\n")
		}
	}
}

func doctorJSON(out io.Writer, r *tracer.Report) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	lines := []any{struct {
		Type     string `json:"type"`
		Schema   int    `json:"schema"`
		Version  string `json:"version"`
		Kernel   string `json:"kernel"`
		Attached bool   `json:"attached"`
	}{"doctor", render.Schema, version(), r.Release, r.Attached}}
	for _, f := range facts(r) {
		lines = append(lines, struct {
			Type   string `json:"type"`
			Name   string `json:"name"`
			Answer string `json:"answer"`
			Detail string `json:"detail,omitempty"`
			Remedy string `json:"remedy,omitempty"`
		}{"fact", f.name, f.fact.Answer.String(), f.fact.Detail, f.fact.Remedy})
	}
	for _, p := range r.Capabilities {
		lines = append(lines, struct {
			Type   string `json:"type"`
			Name   string `json:"name"`
			Held   string `json:"held"`
			Why    string `json:"why"`
			Needed bool   `json:"needed"`
		}{"privilege", p.Name, p.Held.String(), p.Why, p.Needed})
	}
	for _, row := range r.Rows {
		lines = append(lines, struct {
			Type     string   `json:"type"`
			Event    string   `json:"event"`
			Family   string   `json:"family"`
			Answer   string   `json:"answer"`
			Required bool     `json:"required"`
			Programs []string `json:"programs"`
			Misses   string   `json:"misses,omitempty"`
			Detail   string   `json:"detail,omitempty"`
			Remedy   string   `json:"remedy,omitempty"`
		}{"hook", row.Event, string(row.Family), row.Answer.String(), row.Required, list(row.Programs), row.Misses, row.Detail, row.Remedy})
	}
	for _, c := range availability(r) {
		lines = append(lines, c)
	}
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return nil
}
