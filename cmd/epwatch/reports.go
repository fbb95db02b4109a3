package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/render"
)

// reportFlags are for those who run epwatch without looking on: reports for other programs, and what is known already.
type reportFlags struct {
	reports  []report
	baseline string
	write    bool
}

func (f *reportFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.Var(reportsFlag{&f.reports}, "report", "also write a report, "+strings.Join(reportFormats(), " or ")+"; may be given again")
	fl.StringVar(&f.baseline, "baseline", "", "accept the findings whose fingerprints this `FILE` lists")
	fl.BoolVar(&f.write, "write-baseline", false, "add what is found to the file of --baseline, and accept it")
}

func (f *reportFlags) check() error {
	if f.write && f.baseline == "" {
		return usagef("--write-baseline needs --baseline FILE")
	}
	return nil
}

// report is one report to be written.
type report struct {
	format render.ReportFormat
	path   string
}

// reportsFlag is a list of reports, each as FORMAT=FILE.
type reportsFlag struct{ reports *[]report }

func (f reportsFlag) String() string {
	if f.reports == nil {
		return ""
	}
	var words []string
	for _, r := range *f.reports {
		words = append(words, string(r.format)+"="+r.path)
	}
	return strings.Join(words, ",")
}

func (f reportsFlag) Set(s string) error {
	format, path, ok := strings.Cut(s, "=")
	switch {
	case !ok || path == "":
		return fmt.Errorf("not a format and a file, such as junit=report.xml")
	case !slices.Contains(reportFormats(), format):
		return fmt.Errorf("no report is called %q, only %s", format, strings.Join(reportFormats(), ", "))
	case slices.ContainsFunc(*f.reports, func(r report) bool { return r.path == path }):
		return fmt.Errorf("two reports in one file")
	}
	*f.reports = append(*f.reports, report{render.ReportFormat(format), path})
	return nil
}

func (f reportsFlag) Type() string { return "FORMAT=FILE" }

func reportFormats() []string {
	var words []string
	for _, f := range render.ReportFormats() {
		words = append(words, string(f))
	}
	return words
}

// reporting are the files of the flags, opened before anything is observed: what cannot be written is told then, and later the privileges
// for it may be gone.
type reporting struct {
	reports  []openReport
	known    *diagnose.Baseline // nil without --baseline
	baseline *os.File           // to be written anew; nil when it is not
}

type openReport struct {
	format render.ReportFormat
	file   *os.File
}

func (f *reportFlags) open() (*reporting, error) {
	r := &reporting{}
	if err := r.openBaseline(f); err != nil {
		return nil, err
	}
	for _, p := range f.reports {
		file, err := os.Create(p.path)
		if err != nil {
			r.close()
			return nil, fmt.Errorf("opening the report: %s: %w", p.path, cause(err))
		}
		r.reports = append(r.reports, openReport{p.format, file})
	}
	return r, nil
}

func (r *reporting) openBaseline(f *reportFlags) error {
	if f.baseline == "" {
		return nil
	}
	how := os.O_RDONLY
	if f.write {
		how = os.O_RDWR | os.O_CREATE
	}
	file, err := os.OpenFile(f.baseline, how, 0o644)
	if err != nil {
		return fmt.Errorf("reading the baseline: %s: %w", f.baseline, cause(err))
	}
	text, err := io.ReadAll(file)
	if err == nil && (len(text) > 0 || !f.write) {
		r.known, err = diagnose.ReadBaseline(bytes.NewReader(text))
	}
	if err != nil {
		file.Close()
		return fmt.Errorf("reading the baseline: %s: %w", f.baseline, cause(err))
	}
	if !f.write {
		return file.Close()
	}
	r.baseline = file
	return nil
}

// write writes everything, and returns the first error.
func (r *reporting) write(m *render.Meta, c *render.Conclusion) error {
	var first error
	for _, p := range r.reports {
		err := render.Report(p.file, p.format, m, c)
		if closed := p.file.Close(); err == nil {
			err = closed
		}
		if err != nil && first == nil {
			first = fmt.Errorf("writing the report: %s: %w", p.file.Name(), cause(err))
		}
	}
	r.reports = nil
	if r.baseline == nil {
		return first
	}
	if err := r.writeBaseline(c.Groups); err != nil && first == nil {
		first = fmt.Errorf("writing the baseline: %s: %w", r.baseline.Name(), cause(err))
	}
	return first
}

// writeBaseline replaces the file's text in place: the file may have been given to a user who may not make another.
func (r *reporting) writeBaseline(found []*diagnose.Group) error {
	var text bytes.Buffer
	if err := r.known.With(found).Write(&text); err != nil {
		return err
	}
	if err := r.baseline.Truncate(0); err != nil {
		return err
	}
	_, err := r.baseline.WriteAt(text.Bytes(), 0)
	if closed := r.baseline.Close(); err == nil {
		err = closed
	}
	r.baseline = nil
	return err
}

// close gives up what was not written. An empty report would be taken for one.
func (r *reporting) close() {
	if r == nil {
		return
	}
	for _, p := range r.reports {
		if s, err := p.file.Stat(); err == nil && s.Mode().IsRegular() {
			_ = os.Remove(p.file.Name())
		}
		p.file.Close()
	}
	r.reports = nil
	if r.baseline != nil {
		if s, err := r.baseline.Stat(); err == nil && s.Mode().IsRegular() && s.Size() == 0 {
			_ = os.Remove(r.baseline.Name())
		}
		r.baseline.Close()
		r.baseline = nil
	}
}
