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
	text := render.Explanation(c)
	if n, ok := needs()[c.Code]; ok {
		words := "Needs hooks for " + strings.Join(n.required, ", ")
		if len(n.helpful) > 0 {
			words += "; says more with " + strings.Join(n.helpful, ", ")
		}
		text = append(text, "\n"+strings.Join(render.Wrap(words+" (epwatch doctor).", render.Columns), "\n")+"\n"...)
	}
	_, err := out.Write(text)
	return err
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
			RepairC    string   `json:"repair_c,omitempty"`
			Runtimes   []advice `json:"runtimes"`
			References []string `json:"references"`
			DependsOn  []string `json:"depends_on"`
			Required   []string `json:"required"`
			Helpful    []string `json:"helpful"`
		}{
			"check", c.Code, c.Title, c.Doc.Symptom, c.Doc.Mechanism, c.Doc.Proof, c.Doc.Blind, c.Doc.Repair,
			strings.Trim(c.Doc.RepairC, "\n"), advices(c.Doc.Runtimes), list(c.Doc.References), list(c.Doc.DependsOn), list(n.required), list(n.helpful),
		}
		if err := enc.Encode(line); err != nil {
			return fmt.Errorf("explaining %s: %w", c.Code, err)
		}
	}
	return nil
}

// advice is what users of a runtime have to know.
type advice struct {
	Runtime string `json:"runtime"`
	Words   string `json:"words"`
}

func advices(all []diagnose.Advice) []advice {
	out := []advice{}
	for _, a := range all {
		out = append(out, advice(a))
	}
	return out
}

// list makes an empty list of a missing one, so that readers of JSON never find null.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
