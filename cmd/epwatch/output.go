package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/render"
)

// outputFlags say where an observation goes and in which form.
type outputFlags struct {
	format  choice
	file    string
	quiet   bool
	noColor bool
	to      *os.File // where it goes without --output; nil is standard output
}

func (f *outputFlags) add(cmd *cobra.Command) {
	f.format = formatText
	addFormat(cmd, &f.format)
	cmd.Flags().StringVarP(&f.file, "output", "o", "", "write to this `FILE` instead of standard output")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "show findings and the summary only")
	cmd.Flags().BoolVar(&f.noColor, "no-color", false, "no colours, also on a terminal (as with NO_COLOR set)")
}

// output is an open destination.
type output struct {
	printer render.Printer
	spool   *spool // between the two
	to      *os.File
	file    *os.File // to be closed; nil for a standard stream

	reporting *reporting // nil where there is none
	broken    error      // what became of that
}

func (f *outputFlags) open() (*output, error) {
	o := &output{to: os.Stdout}
	if f.to != nil {
		o.to = f.to
	}
	if f.file != "" {
		file, err := os.Create(f.file)
		if err != nil {
			return nil, fmt.Errorf("opening the output: %s: %w", f.file, cause(err))
		}
		o.file, o.to = file, file
	}
	o.spool = newSpool(o.to)
	p, err := render.New(o.spool, render.Options{
		Format: render.Format(f.format), Quiet: f.quiet, Color: !f.noColor && wantsColor(o.to),
	})
	o.printer = p
	return o, err
}

func wantsColor(to *os.File) bool {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(to.Fd()), unix.TCGETS)
	return err == nil
}

// known is what the baseline accepts, nil without one.
func (o *output) known() *diagnose.Baseline {
	if o.reporting == nil {
		return nil
	}
	return o.reporting.known
}

// conclude shows what came of an observation, here and in its reports.
func (o *output) conclude(m *render.Meta, c *render.Conclusion) {
	o.printer.Conclude(c)
	if o.reporting != nil {
		o.broken = o.reporting.write(m, c)
	}
}

// flush sends what is held back on its way. It also notices a reader that went away while there is nothing to write, because a quiet
// observation would go on for nobody.
func (o *output) flush() error {
	if err := o.printer.Flush(); err != nil {
		return err
	}
	if err := o.spool.failed(); err != nil {
		return err
	}
	fds := []unix.PollFd{{Fd: int32(o.to.Fd())}}
	if n, err := unix.Poll(fds, 0); err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0 {
		return syscall.EPIPE
	}
	return nil
}

// cause takes the errno out of a path error, whose words would stand there twice.
func cause(err error) error {
	if p := (*os.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// finish writes what is held back and says what became of the output. A reader that went away needs no message:
// whoever closed the pipe knows.
func (o *output) finish() error {
	err := o.flush()
	if drained := o.spool.drain(); err == nil {
		err = drained
	}
	if o.file != nil {
		if closed := o.file.Close(); err == nil {
			err = closed
		}
		o.file = nil
	}
	switch {
	case o.broken != nil:
		return o.broken
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPIPE):
		return &statusError{status: exitFailed}
	default:
		return fmt.Errorf("writing the output: %w", cause(err))
	}
}

func (o *output) close() {
	o.reporting.close()
	if o.file != nil {
		_ = o.file.Close()
	}
}
