//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// payload is what goes into every guest.
type payload struct {
	init    string // path of the init on the host
	product string // path of the epwatch binary on the host; empty if there is none
	suites  []testSuite
}

// testSuite is one test binary, or one command.
type testSuite struct {
	name       string // the package's folder in the module
	importPath string // empty for a command
	binary     string // on the host; empty if it is in the guest anyway
	program    string // in the guest
	args       []string
	dir        string            // working folder in the guest
	testdata   string            // on the host; empty if the package has none
	compiled   map[string]string // what its C files become: from the path below testdata to the path on the host
	timeout    time.Duration
	mayBeEmpty bool // a filter may leave no test
}

// build compiles everything that the guests run, statically: they have no libraries.
func build(ctx context.Context, root, dir string, o options) (payload, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return payload{}, fmt.Errorf("building: %w", err)
	}
	var p payload
	p.init = filepath.Join(dir, "init")
	if err := goBuild(ctx, root, "build", p.init, "./test/vm/init"); err != nil {
		return p, err
	}
	if exists(filepath.Join(root, "cmd", "epwatch", "main.go")) {
		p.product = filepath.Join(dir, "epwatch")
		if err := goBuild(ctx, root, "build", p.product, "./cmd/epwatch"); err != nil {
			return p, err
		}
	}
	// The guest has to boot and to power off within the machine's time, too.
	limit := o.timeout - 45*time.Second
	if len(o.command) > 0 {
		p.suites = []testSuite{{name: "command", program: "/usr/bin/" + o.command[0], args: o.command[1:], dir: "/", timeout: limit}}
		return p, nil
	}
	for _, pkg := range o.packages {
		suite, err := buildSuite(ctx, root, dir, pkg, o)
		if err != nil {
			return p, err
		}
		if suite.binary != "" {
			suite.timeout = limit
			p.suites = append(p.suites, suite)
		}
	}
	if len(p.suites) == 0 {
		return p, fmt.Errorf("building: none of %s has tests", strings.Join(o.packages, ", "))
	}
	return p, nil
}

// kernelTests are the tests of cmd/epwatch that say something of the kernel. What the commands make of flags, signals and outputs
// is tested on the machine's own, where it takes a tenth of the time.
const kernelTests = "^Test(Attach$|InspectStuck|Static|Selftest|Trace(Variants|Wire|Tables|IPv6|Observes|Killed|ServerKilled))"

// buildSuite compiles the tests of one package; the suite has no binary if there are none.
func buildSuite(ctx context.Context, root, dir, pkg string, o options) (testSuite, error) {
	folder := filepath.Join(root, filepath.FromSlash(pkg))
	tests, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		return testSuite{}, fmt.Errorf("building the tests of %s: %w", pkg, err)
	}
	if len(tests) == 0 {
		return testSuite{}, nil
	}
	importPath, err := goCommand(ctx, root, "list", pkg)
	if err != nil {
		return testSuite{}, err
	}
	name := strings.TrimPrefix(filepath.ToSlash(filepath.Clean(pkg)), "./")
	file := strings.ReplaceAll(name, "/", "-") + ".test"
	s := testSuite{
		name:       name,
		importPath: strings.TrimSpace(importPath),
		binary:     filepath.Join(dir, file),
		program:    "/tests/" + file,
		dir:        "/src/" + name,
		// The test binary's own time-out comes first, because it says where it hung.
		args: []string{"-test.v=test2json", "-test.paniconexit0", fmt.Sprintf("-test.timeout=%v", o.timeout-75*time.Second), fmt.Sprintf("-test.count=%d", o.count)},
	}
	switch {
	case o.run != "":
		s.args = append(s.args, "-test.run="+o.run)
		s.mayBeEmpty = true
	case name == "cmd/epwatch":
		s.args = append(s.args, "-test.run="+kernelTests)
	}
	if testdata := filepath.Join(folder, "testdata"); exists(testdata) {
		s.testdata = testdata
		if s.compiled, err = compile(ctx, testdata, dir); err != nil {
			return s, err
		}
	}
	return s, goBuild(ctx, root, "test", s.binary, pkg)
}

// compile makes a static program of every C file in a package's testdata.
func compile(ctx context.Context, testdata, dir string) (map[string]string, error) {
	programs := map[string]string{}
	err := filepath.WalkDir(testdata, func(file string, _ fs.DirEntry, err error) error {
		below, isC := strings.CutSuffix(file, ".c")
		if err != nil || !isC {
			return err
		}
		if below, err = filepath.Rel(testdata, below); err != nil {
			return err
		}
		to := filepath.Join(dir, strings.ReplaceAll(below, string(filepath.Separator), "-"))
		programs[filepath.ToSlash(below)] = to
		out, err := exec.CommandContext(ctx, "gcc", "-O2", "-Wall", "-Werror", "-static", "-pthread", "-o", to, file).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", file, err, strings.TrimSpace(string(out)))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("compiling a test's programs: %w", err)
	}
	return programs, nil
}

// goBuild runs go build, or go test -c, for a guest.
func goBuild(ctx context.Context, root, verb, output, pkg string) error {
	args := []string{verb}
	if verb == "test" {
		args = append(args, "-c")
	}
	_, err := goCommand(ctx, root, append(args, "-ldflags=-s -w", "-o", output, pkg)...)
	return err
}

func goCommand(ctx context.Context, root string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("running go %s %s: %w\n%s", args[0], args[len(args)-1], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// moduleRoot returns the folder of the module that this is run in.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := goCommand(ctx, "", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return "", err
	}
	root := strings.TrimSpace(out)
	if !exists(filepath.Join(root, "test", "vm", "init")) {
		return "", errors.New("looking for the module: this is not epwatch's (run it inside the repository)")
	}
	return root, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
