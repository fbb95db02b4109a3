package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/epwatch/epwatch/server"
)

func newServe() *cobra.Command {
	var f experimentFlags
	var journal, gate int
	var pace time.Duration
	cmd := &cobra.Command{
		Use:   "serve VARIANT",
		Short: "Run a documented server alone",
		Long: prose(`Run one of the documented epoll servers in this terminal and the client of the same name in another one.
The server prints what it does; end it with Ctrl-C. No privileges are needed.`),
		Example: `  epwatch serve et-partial
  epwatch serve oneshot --port 9000 --address ::1`,
		Args:              oneVariant,
		ValidArgsFunction: completeVariant,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd, 0); err != nil {
				return err
			}
			v, _ := variantByName(args[0])
			err := server.Serve(server.Options{
				Variant: v, Address: f.address, Port: f.port, Journal: journal, Gate: gate, Pace: pace,
			})
			if err != nil {
				return fmt.Errorf("running %s: %w", v.Name, err)
			}
			return nil
		},
	}
	f.addEndpoint(cmd, documentedPort, "`PORT` to listen on, 0 for a free one")
	// What trace hands to its child.
	cmd.Flags().IntVar(&journal, "journal-fd", 0, "descriptor for the journal")
	cmd.Flags().IntVar(&gate, "gate-fd", 0, "descriptor to wait on")
	cmd.Flags().DurationVar(&pace, "pace", server.DefaultTimeout, "the client's time-out")
	for _, name := range []string{"journal-fd", "gate-fd", "pace"} {
		_ = cmd.Flags().MarkHidden(name)
	}
	return cmd
}
