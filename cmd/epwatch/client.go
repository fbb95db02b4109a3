package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/epwatch/epwatch/server"
)

func newClient() *cobra.Command {
	var f experimentFlags
	cmd := &cobra.Command{
		Use:   "client VARIANT",
		Short: "Run a documented client alone",
		Long: prose(`Run the client of a documented experiment against a server that listens already: the one of "epwatch
serve", or any other that echoes. It prints what it sends and what comes back. No privileges are needed.`),
		Example: `  epwatch client et-partial
  epwatch client oneshot --port 9000 --address ::1 --documented`,
		Args:              oneVariant,
		ValidArgsFunction: completeVariant,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd, 1); err != nil {
				return err
			}
			v, _ := variantByName(args[0])
			_, err := server.Client(cmd.Context(), server.ClientOptions{
				Variant: v, Address: f.address, Port: f.port, Timeout: f.clientTimeout(v), Out: cmd.OutOrStdout(),
			})
			if err != nil {
				return fmt.Errorf("running the client of %s: %w", v.Name, err)
			}
			return nil
		},
	}
	f.addEndpoint(cmd, documentedPort, "`PORT` that the server listens on")
	f.addTimeout(cmd)
	return cmd
}
