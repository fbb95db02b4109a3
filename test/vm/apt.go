//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// apt is an apt with lists, state and cache of its own under dir. It can only download: nothing is ever installed by it.
type apt struct {
	dir string
}

// newApt writes the configuration for the suites given.
func newApt(dir string, suites []suite, m mirrors) (apt, error) {
	a := apt{dir: dir}
	var sources strings.Builder
	for _, s := range suites {
		signed, uri := "", m.main
		if m.keyring != "" {
			signed = "signed-by=" + m.keyring + " "
		}
		if s.security {
			uri = m.security
		}
		fmt.Fprintf(&sources, "deb [arch=amd64 %starget=Packages] %s %s main\n", signed, uri, s.name)
	}
	for _, sub := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return a, fmt.Errorf("preparing apt: %w", err)
		}
	}
	for name, content := range map[string]string{
		"sources.list": sources.String(),
		// Backports hold themselves back; here the highest version shall win wherever it is.
		"preferences": "Package: *\nPin: release *\nPin-Priority: 500\n",
		"status":      "",
		"apt.conf":    fmt.Sprintf(aptConf, dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return a, fmt.Errorf("preparing apt: %w", err)
		}
	}
	return a, nil
}

// aptConf is read after the system's own configuration, of which it keeps what a machine may need to reach the mirror (proxies) and
// drops the hooks, since those work on the system's caches. The sandbox user may not be able to enter this folder.
const aptConf = `Dir::State "%[1]s";
Dir::State::lists "%[1]s/lists";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s";
Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "%[1]s/preferences";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
Acquire::Retries "2";
APT::Architecture "amd64";
APT::Sandbox::User "root";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
`

// update fetches the package lists.
func (a apt) update(ctx context.Context) error {
	// Without the error mode a mirror that cannot be reached is only a warning.
	_, err := a.command(ctx, a.dir, "apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update")
	return err
}

// candidate returns the version of the package that would be taken and its dependencies' names.
func (a apt) candidate(ctx context.Context, name string) (version string, depends []string, err error) {
	out, err := a.command(ctx, a.dir, "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		return "", nil, err
	}
	version, depends = parseRecord(out)
	if version == "" {
		return "", nil, fmt.Errorf("looking up %s: apt shows no version of it", name)
	}
	return version, depends, nil
}

// download puts the packages into dir as .deb files.
func (a apt) download(ctx context.Context, dir string, names []string) error {
	_, err := a.command(ctx, dir, "apt-get", append([]string{"-q", "download"}, names...)...)
	return err
}

func (a apt) command(ctx context.Context, dir, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, append([]string{"-c", filepath.Join(a.dir, "apt.conf")}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("fetching kernels: %w (the test kernels come from Debian packages)", err)
		}
		return nil, fmt.Errorf("running %s %s: %w: %s", program, args[len(args)-1], err, lastLine(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// parseRecord reads version and dependencies from a package record.
func parseRecord(record []byte) (version string, depends []string) {
	for line := range strings.Lines(string(record)) {
		field, value, _ := strings.Cut(line, ":")
		switch field {
		case "Version":
			version = strings.TrimSpace(value)
		case "Depends":
			for clause := range strings.SplitSeq(value, ",") {
				depends = append(depends, strings.Fields(clause)[0])
			}
		}
	}
	return version, depends
}

func lastLine(text []byte) string {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(lines[len(lines)-1])
}
