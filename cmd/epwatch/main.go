// Command epwatch shows what epoll servers and the kernel do to each other, and says what goes wrong between them.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/epwatch/epwatch/internal/render"
)

// The exit statuses are a contract.
const (
	exitDone    = 0
	exitFailed  = 1 // could not run, or did not show what it must
	exitUsage   = 2
	exitFinding = 3 // a finding named by --fail-on
)

func main() { os.Exit(run(os.Args[1:])) }

// run runs one command line and returns its exit status.
func run(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	called, err := root.ExecuteC()
	if err == nil {
		return exitDone
	}
	var usage *usageError
	var status *statusError
	switch {
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "epwatch: reading the command line: %v (see %s --help)\n", err, called.CommandPath())
		return exitUsage
	case errors.As(err, &status):
		if status.cause != nil {
			fmt.Fprintf(os.Stderr, "epwatch: %v\n", status.cause)
		}
		return status.status
	default:
		fmt.Fprintf(os.Stderr, "epwatch: %v\n", err)
		return exitFailed
	}
}

// usageError is a mistake on the command line.
type usageError struct{ cause error }

func (e *usageError) Error() string { return e.cause.Error() }
func (e *usageError) Unwrap() error { return e.cause }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// statusError ends the program with a status of its own, silently when it has no cause.
type statusError struct {
	status int
	cause  error
}

func (e *statusError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.cause.Error()
}

func (e *statusError) Unwrap() error { return e.cause }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "epwatch",
		Short: "See what an epoll server and the kernel do to each other",
		Long: prose(`epwatch watches a program's epoll calls and what the kernel does behind them: wakeups, bytes left
unread, connection states, resets. It joins both sides on one timeline and says what goes wrong between
them.`),
		Example: `  sudo epwatch trace et-partial    watch a documented epoll server make its mistake
  sudo epwatch attach 4711         observe a running process
  epwatch doctor                   see what this kernel allows
  epwatch explain et-unread        learn what a finding means`,
		Args:          noArguments,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.SetHelpCommand(newHelp())
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages ", fmt.Sprintf(".FlagUsagesWrapped %d ", render.Columns)))
	root.AddCommand(
		newTrace(), newSelftest(), newAttach(), newRun(), newLaunch(), newInspect(), newServe(), newClient(), newList(), newDoctor(), newExplain(),
		newVersion(),
	)
	return root
}

// noArguments refuses words that no flag takes. On the root they are commands that do not exist.
func noArguments(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.HasParent():
		return usagef("unexpected argument %q", args[0])
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usagef("unknown command %q, did you mean %s?", args[0], near[0])
	}
	return usagef("unknown command %q", args[0])
}

// newHelp stands in for cobra's own, which answers any word with status 0.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, left, err := cmd.Root().Find(args)
			if err != nil || len(left) > 0 {
				return usagef("unknown command %q", args[len(args)-1])
			}
			about.InitDefaultHelpFlag() // cobra does so only on the way to running a command
			return about.Help()
		},
	}
}

// prose fills paragraphs, which an empty line parts, to the width of all output.
func prose(text string) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		paragraphs[i] = strings.Join(render.Wrap(strings.Join(strings.Fields(p), " "), render.Columns), "\n")
	}
	return strings.Join(paragraphs, "\n\n")
}
