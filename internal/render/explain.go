package render

import (
	"fmt"
	"strings"

	"github.com/epwatch/epwatch/internal/diagnose"
)

// chapter is a part of a check's explanation.
type chapter struct {
	title string
	text  string
	code  bool
	list  [][2]string // a term, if it has one, and what is said of it
}

// chapters are the parts of an explanation in their order, without those that have nothing to say.
func chapters(c *diagnose.Check) []chapter {
	d := &c.Doc
	var advice, references [][2]string
	for _, a := range d.Runtimes {
		advice = append(advice, [2]string{a.Runtime, a.Words})
	}
	for _, r := range d.References {
		references = append(references, [2]string{"", r})
	}
	all := []chapter{
		{title: "What is seen", text: d.Symptom},
		{title: "What happens", text: d.Mechanism},
		{title: "What proves it", text: d.Proof},
		{title: "What it cannot see", text: d.Blind},
		{title: "Repair", text: d.Repair},
		{title: "In C", text: strings.Trim(d.RepairC, "\n"), code: true},
		{title: "With libraries and runtimes", list: advice},
		{title: "Often follows from", text: strings.Join(d.DependsOn, ", ")},
		{title: "References", list: references},
	}
	kept := all[:0]
	for _, ch := range all {
		if ch.text != "" || len(ch.list) > 0 {
			kept = append(kept, ch)
		}
	}
	return kept
}

// Explanation writes what a check means for a terminal.
func Explanation(c *diagnose.Check) []byte {
	var b strings.Builder
	b.WriteString(strings.Join(Wrap(c.Code+": "+c.Title, Columns), "\n") + "\n")
	for _, ch := range chapters(c) {
		fmt.Fprintf(&b, "\n%s\n", ch.title)
		switch {
		case ch.code:
			for line := range strings.Lines(ch.text + "\n") {
				b.WriteString(strings.TrimRight("    "+strings.ReplaceAll(line, "\t", "    "), " \n") + "\n")
			}
		case ch.list != nil:
			b.WriteString(itemised(ch.list))
		default:
			for paragraph := range strings.SplitSeq(ch.text, "\n") {
				b.WriteString("  " + strings.Join(Wrap(strings.TrimSpace(paragraph), Columns-2), "\n  ") + "\n")
			}
		}
	}
	return []byte(b.String())
}

// itemised writes terms in a column and what is said of them beside it.
func itemised(items [][2]string) string {
	term := 0
	for _, it := range items {
		term = max(term, width(it[0]))
	}
	if term > 0 {
		term += 2
	}
	var b strings.Builder
	for _, it := range items {
		for i, line := range Wrap(it[1], Columns-2-term) {
			head := ""
			if i == 0 {
				head = it[0]
			}
			b.WriteString("  " + padRight(head, term) + line + "\n")
		}
	}
	return b.String()
}

// Page writes what a check means in Markdown.
func Page(c *diagnose.Check) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s.\n", c.Code, sentence(c.Title))
	for _, ch := range chapters(c) {
		fmt.Fprintf(&b, "\n## %s\n\n", ch.title)
		switch {
		case ch.title == "Often follows from":
			var links []string
			for _, code := range c.Doc.DependsOn {
				links = append(links, "["+code+"]("+code+".md)")
			}
			b.WriteString(strings.Join(links, ", ") + "\n")
		case ch.code:
			b.WriteString("```c\n" + ch.text + "\n```\n")
		case ch.list != nil:
			for _, it := range ch.list {
				lead := "- "
				if it[0] != "" {
					lead += "**" + it[0] + "**: "
				}
				b.WriteString(strings.Join(Wrap(lead+marked(it[1]), pageColumns), "\n  ") + "\n")
			}
		default:
			b.WriteString(strings.Join(Wrap(marked(ch.text), pageColumns), "\n") + "\n")
		}
	}
	return []byte(b.String())
}

// pageColumns is the width of the pages' text.
const pageColumns = 120

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// marked keeps Markdown from reading names such as ep_poll_callback or EPOLL_CTL_MOD as emphasis.
func marked(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		if !strings.ContainsAny(w, "_*<>") {
			continue
		}
		core := strings.Trim(w, `.,;:"`)
		core = strings.TrimPrefix(core, "(")
		if !strings.Contains(core, "(") {
			core = strings.TrimSuffix(core, ")")
		}
		if core != "" && !strings.Contains(w, "`") {
			words[i] = strings.Replace(w, core, "`"+core+"`", 1)
		}
	}
	return strings.Join(words, " ")
}

// Index writes the list of all pages in Markdown.
func Index(checks []diagnose.Check) []byte {
	var b strings.Builder
	b.WriteString("# The checks\n\nWhat each finding means, what proves it, what it cannot see, how to repair it. These pages say what\n" +
		"`epwatch explain` says, and are made from the same words (`make docs`).\n\n| check | found when |\n| --- | --- |\n")
	for i := range checks {
		fmt.Fprintf(&b, "| [%s](%s.md) | %s |\n", checks[i].Code, checks[i].Code, marked(checks[i].Title))
	}
	return []byte(b.String())
}
