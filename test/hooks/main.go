// Command hooks writes docs/hooks.md: which hook was seen to fire on which kernel.
//
// It reads the lines that TestEveryProgramFires logs in the virtual machines, so a hook stands there as supported only
// because it fired. With -check it compares instead of writing.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// kernels are the labels of the VM harness, in the order of the table's columns.
var kernels = []string{"5.10", "6.1", "6.12", "newest"}

// row is one hook: an event seen by a family through a function or tracepoint.
type row struct{ event, family, target string }

// sightings says what happened to each row on each kernel.
type sightings struct {
	order    []row
	seen     map[row]map[string]string
	releases map[string]string
}

func main() {
	logs := flag.String("logs", ".cache/vm", "`folder` that the VM harness wrote")
	page := flag.String("page", "docs/hooks.md", "`file` to write or to check")
	check := flag.Bool("check", false, "compare with the page instead of writing it")
	flag.Parse()
	if err := run(*logs, *page, *check); err != nil {
		fmt.Fprintln(os.Stderr, "hooks:", err)
		os.Exit(1)
	}
}

func run(logs, page string, check bool) error {
	s := sightings{seen: make(map[row]map[string]string), releases: make(map[string]string)}
	for _, kernel := range kernels {
		if err := s.read(kernel, filepath.Join(logs, kernel, "logs", "tracer.json")); err != nil {
			return fmt.Errorf("reading what fired on %s: %w (run: make test-vm)", kernel, err)
		}
	}
	table := s.table()
	if check {
		have, err := os.ReadFile(page)
		if err != nil {
			return fmt.Errorf("reading the page: %w", err)
		}
		if !bytes.Contains(have, []byte(table)) {
			return fmt.Errorf("comparing %s: it does not say what was seen to fire (run: make docs)", page)
		}
		fmt.Printf("%s says what was seen to fire: %d hooks on %d kernels\n", page, len(s.order), len(kernels))
		return nil
	}
	return os.WriteFile(page, []byte(head+table+s.foot()), 0o644)
}

const head = `# Hooks

What epwatch hooks for each event, by family, and on which kernels each hook was seen to fire. This page is made from
the logs of the VM tests (` + "`make docs`" + `): a function that exists, can be probed and attaches may still never be called, so
only firing counts.

`

// read takes one kernel's test log.
func (s *sightings) read(kernel, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	found := false
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Output string }
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue
		}
		_, text, ok := strings.Cut(line.Output, ": hook ")
		if !ok {
			continue
		}
		fields := strings.SplitN(strings.TrimSpace(text), " ", 5)
		if len(fields) != 5 {
			return fmt.Errorf("a line without its five fields: %q", text)
		}
		found = true
		s.releases[kernel] = fields[0]
		if fields[3] != "none" {
			s.add(row{event: fields[2], family: fields[1], target: fields[3]}, kernel, fields[4])
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if !found {
		return errors.New("the log tells of no hook")
	}
	return nil
}

func (s *sightings) add(r row, kernel, what string) {
	if s.seen[r] == nil {
		s.seen[r] = make(map[string]string)
		s.order = append(s.order, r)
	}
	s.seen[r][kernel] = what
}

func (s *sightings) table() string {
	families := []string{"fentry", "kprobe", "tracepoint"}
	events := []string{"calls", "wakeup", "woken", "recv", "reset", "state", "queued", "release", "process", "sched", "samples", "packet"}
	slices.SortStableFunc(s.order, func(a, b row) int {
		if a.event != b.event {
			return slices.Index(events, a.event) - slices.Index(events, b.event)
		}
		return slices.Index(families, a.family) - slices.Index(families, b.family)
	})
	var out strings.Builder
	fmt.Fprintf(&out, "| event | with | function or tracepoint | %s |\n", strings.Join(kernels, " | "))
	fmt.Fprintf(&out, "| --- | --- | --- |%s\n", strings.Repeat(" --- |", len(kernels)))
	for _, r := range s.order {
		fmt.Fprintf(&out, "| %s | `--backend %s` | `%s` |", r.event, r.family, r.target)
		for _, k := range kernels {
			what := s.seen[r][k]
			if what == "" {
				what = "–"
			}
			fmt.Fprintf(&out, " %s |", what)
		}
		out.WriteString("\n")
	}
	return out.String()
}

func (s *sightings) foot() string {
	var out strings.Builder
	out.WriteString("\n“–”: not there, or not needed, on that kernel; `epwatch doctor` says why on yours. The kernels of the last run:\n")
	for _, k := range kernels {
		fmt.Fprintf(&out, "%s is %s", k, s.releases[k])
		if k != kernels[len(kernels)-1] {
			out.WriteString(", ")
		}
	}
	out.WriteString(".\n")
	return out.String()
}
