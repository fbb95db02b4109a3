package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/epwatch/epwatch/server"
	"github.com/epwatch/epwatch/tracer"
)

// selftestTimeout is the client's time-out of a self-test: half of it is every threshold, well above what a wakeup takes on a machine
// that is not emulated.
const selftestTimeout = 200 * time.Millisecond

// selftestFlags are the flags of selftest.
type selftestFlags struct {
	backend choice
	timeout time.Duration
	format  choice
}

func newSelftest() *cobra.Command {
	f := selftestFlags{format: formatText}
	cmd := &cobra.Command{
		Use:   "selftest [NAME...]",
		Short: "Run the experiments and the gallery, and say whether all is as expected",
		Long: prose(`Run every documented experiment and every server of the gallery under observation, one after the other, each
as "epwatch trace NAME" would, and show in a table whether what happened on this kernel is what must happen: the claims of
each, and its findings, no more and no fewer. With names only those run.
Needs root, or CAP_BPF and CAP_PERFMON.

A server whose check cannot be answered here, because the kernel has no hook for it, is shown as unknown with
the reason, and is no failure.

Exit status: 0 everything was as expected, or is unknown; 1 something was not, or it could not run; 2 wrong usage.`),
		Example: `  sudo epwatch selftest
  sudo epwatch selftest --backend tracepoint
  sudo epwatch selftest et-partial lost-eof lost-eof-fixed --format json`,
		Args: func(_ *cobra.Command, args []string) error {
			for _, name := range args {
				if err := knownVariant(name); err != nil {
					return err
				}
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions(variantNames(), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.timeout < minTimeout {
				return usagef("invalid client time-out %v (%v at least)", f.timeout, minTimeout)
			}
			return runSelftest(cmd, chosen(args), &f)
		},
	}
	var families []string
	for _, fam := range tracer.Families() {
		families = append(families, string(fam))
	}
	cmd.Flags().Var(choiceFlag{&f.backend, families}, "backend", "take hooks of this family only")
	complete(cmd, "backend", families)
	cmd.Flags().DurationVar(&f.timeout, "client-timeout", selftestTimeout, "how long the clients wait with nothing coming")
	addFormat(cmd, &f.format)
	return cmd
}

// chosen returns the named variants in the order of the list, all when none is named.
func chosen(names []string) []server.Variant {
	if len(names) == 0 {
		return variants()
	}
	var out []server.Variant
	for _, v := range variants() {
		for _, name := range names {
			if v.Name == name {
				out = append(out, v)
				break
			}
		}
	}
	return out
}

func runSelftest(cmd *cobra.Command, vs []server.Variant, f *selftestFlags) error {
	runtime.LockOSThread() // the children die with their parent's thread
	ctx, stop := endBySignal(cmd.Context())
	defer stop()
	t := newScoreboard(cmd.OutOrStdout(), f.format, vs)
	for _, v := range vs {
		tr, err := tryOut(ctx, v, f)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("running the self-test: %w", context.Cause(ctx))
		case err != nil:
			return fmt.Errorf("running the self-test: %s: %w", v.Name, err)
		}
		if err := t.add(tr); err != nil {
			return fmt.Errorf("writing the output: %w", cause(err))
		}
	}
	if err := t.close(); err != nil {
		return fmt.Errorf("writing the output: %w", cause(err))
	}
	if t.failed > 0 {
		return fmt.Errorf("running the self-test: %d of %d were not as expected", t.failed, len(vs))
	}
	return nil
}

// scoreboard shows the trials as they end, and what came of them all.
type scoreboard struct {
	out             io.Writer
	json            bool
	width           int
	begin           time.Time
	ok, failed, unk int
	kernel          string // known once the first trial is over
}

func newScoreboard(out io.Writer, format choice, vs []server.Variant) *scoreboard {
	t := &scoreboard{out: out, json: format == formatJSON, begin: time.Now()}
	for _, v := range vs {
		t.width = max(t.width, len(v.Name))
	}
	return t
}

func (t *scoreboard) add(tr *trial) error {
	switch tr.Result {
	case trialOK:
		t.ok++
	case trialUnknown:
		t.unk++
	default:
		t.failed++
	}
	if t.json {
		return t.encode(tr)
	}
	var b strings.Builder
	if t.kernel == "" {
		t.kernel = tr.kernel
		fmt.Fprintf(&b, "epwatch %s on kernel %s, hooks: %s\n\n", version(), tr.kernel, tr.hooks)
		fmt.Fprintf(&b, "  %-*s  claims  findings  seconds\n", t.width, "name")
	}
	line := fmt.Sprintf("%s %-*s  %6s  %-8s  %7.1f", trialMarks()[tr.Result], t.width, tr.Name,
		fmt.Sprintf("%d/%d", tr.Shown, tr.Claims), tr.Findings, time.Duration(tr.Duration).Seconds())
	fmt.Fprintln(&b, line)
	if tr.Reason != "" {
		paragraph(&b, "    ", "    ", tr.Reason)
	}
	_, err := io.WriteString(t.out, b.String())
	return err
}

func (t *scoreboard) close() error {
	took := time.Since(t.begin)
	if t.json {
		return t.encode(struct {
			Type     string        `json:"type"`
			Duration time.Duration `json:"duration"`
			OK       int           `json:"ok"`
			Unknown  int           `json:"unknown"`
			Failed   int           `json:"failed"`
		}{"selftest-summary", took, t.ok, t.unk, t.failed})
	}
	_, err := fmt.Fprintf(t.out, "\n%d as expected, %d unknown, %d not as expected, in %.0f s\n", t.ok, t.unk, t.failed, took.Seconds())
	return err
}

func (t *scoreboard) encode(v any) error {
	enc := json.NewEncoder(t.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func trialMarks() map[trialResult]string {
	return map[trialResult]string{trialOK: "✓", trialUnknown: "?", trialFailed: "✗"}
}
