package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/render"
)

func newExplain() *cobra.Command {
	format := formatText
	cmd := &cobra.Command{
		Use:   "explain [CHECK]",
		Short: "Explain a check: what it means, what proves it, how to repair it",
		Example: `  epwatch explain
  epwatch explain et-unread`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usagef("unexpected argument %q", args[1])
			case len(args) == 1 && checkByCode(args[0]) == nil:
				return usagef("no check is called %q, only %s", args[0], strings.Join(checkCodes(), ", "))
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return checkCodes(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			switch {
			case format == formatJSON:
				return explainJSON(out, args)
			case len(args) == 0:
				return listChecks(out)
			default:
				return explain(out, checkByCode(args[0]))
			}
		},
	}
	addFormat(cmd, &format)
	return cmd
}

func checkByCode(code string) *diagnose.Check {
	for _, c := range diagnose.Checks() {
		if c.Code == code {
			return &c
		}
	}
	return nil
}

func listChecks(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range diagnose.Checks() {
		fmt.Fprintf(w, "%s\t%s\n", c.Code, c.Title)
	}
	return w.Flush()
}

func explain(out io.Writer, c *diagnose.Check) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", c.Code, c.Title)
	for _, part := range []struct{ title, text string }{
		{"What is seen", c.Doc.Symptom},
		{"What happens", c.Doc.Mechanism},
		{"What proves it", c.Doc.Proof},
		{"What it cannot see", c.Doc.Blind},
		{"Repair", c.Doc.Repair},
	} {
		section(&b, part.title, part.text)
	}
	if len(c.Doc.DependsOn) > 0 {
		section(&b, "Often follows from", strings.Join(c.Doc.DependsOn, ", "))
	}
	if n, ok := needs()[c.Code]; ok {
		words := strings.Join(n.required, ", ")
		if len(n.helpful) > 0 {
			words += "; says more with " + strings.Join(n.helpful, ", ")
		}
		section(&b, "Needs", words)
	}
	if len(c.Doc.References) > 0 {
		section(&b, "References", strings.Join(c.Doc.References, "; "))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func section(b *strings.Builder, title, text string) {
	if text == "" {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for paragraph := range strings.SplitSeq(text, "\n") {
		for _, line := range render.Wrap(strings.TrimSpace(paragraph), render.Columns-2) {
			fmt.Fprintf(b, "  %s\n", line)
		}
	}
}

func explainJSON(out io.Writer, args []string) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for _, c := range diagnose.Checks() {
		if len(args) > 0 && c.Code != args[0] {
			continue
		}
		n := needs()[c.Code]
		line := struct {
			Type       string   `json:"type"`
			Check      string   `json:"check"`
			Title      string   `json:"title"`
			Symptom    string   `json:"symptom"`
			Mechanism  string   `json:"mechanism"`
			Proof      string   `json:"proof"`
			Blind      string   `json:"blind"`
			Repair     string   `json:"repair"`
			References []string `json:"references"`
			DependsOn  []string `json:"depends_on"`
			Required   []string `json:"required"`
			Helpful    []string `json:"helpful"`
		}{
			"check", c.Code, c.Title, c.Doc.Symptom, c.Doc.Mechanism, c.Doc.Proof, c.Doc.Blind, c.Doc.Repair,
			list(c.Doc.References), list(c.Doc.DependsOn), list(n.required), list(n.helpful),
		}
		if err := enc.Encode(line); err != nil {
			return fmt.Errorf("explaining %s: %w", c.Code, err)
		}
	}
	return nil
}

// list makes an empty list of a missing one, so that readers of JSON never find null.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
