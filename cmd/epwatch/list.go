package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/epwatch/epwatch/server"
)

func newList() *cobra.Command {
	format := formatText
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the experiments and the gallery, which trace, serve, client and selftest know",
		Example: `  epwatch list
  epwatch list --format json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format == formatJSON {
				return listJSON(cmd)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, group := range []struct {
				title string
				of    []server.Variant
			}{{"Experiments:", server.Variants()}, {"\nGallery:", gallery()}} {
				fmt.Fprintln(w, group.title)
				for _, v := range group.of {
					fmt.Fprintf(w, "%s\t%s\n", v.Name, v.Teaches)
				}
			}
			return w.Flush()
		},
	}
	addFormat(cmd, &format)
	return cmd
}

func listJSON(cmd *cobra.Command) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	for _, v := range server.Variants() {
		line := struct {
			Type    string `json:"type"`
			Name    string `json:"name"`
			Title   string `json:"title"`
			Teaches string `json:"teaches"`
			Mask    string `json:"mask"`
		}{"variant", v.Name, v.Title, v.Teaches, v.Mask.String()}
		if err := enc.Encode(line); err != nil {
			return fmt.Errorf("listing the variants: %w", err)
		}
	}
	for _, v := range gallery() {
		line := struct {
			Type    string   `json:"type"`
			Name    string   `json:"name"`
			Title   string   `json:"title"`
			Teaches string   `json:"teaches"`
			Check   string   `json:"check"`
			Partner string   `json:"partner,omitempty"`
			Finds   []string `json:"finds"`
		}{"gallery", v.Name, v.Title, v.Teaches, v.Check, v.Partner, findsOf(v)}
		if err := enc.Encode(line); err != nil {
			return fmt.Errorf("listing the gallery: %w", err)
		}
	}
	return nil
}

func findsOf(v server.Variant) []string {
	finds := []string{}
	for _, e := range v.Expect {
		finds = append(finds, e.Check)
	}
	return finds
}
