//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mirrors are the places that kernels come from.
type mirrors struct {
	main, security string
	keyring        string // empty means the keys that apt trusts anyway
}

// source is one entry of apt's configuration, in whichever of its two formats it was written.
type source struct {
	uris, suites, components []string
	signedBy                 string
}

// systemMirrors completes m from the sources under etc, an /etc/apt. The kernels thus come from wherever this machine
// gets its packages.
func systemMirrors(etc string, m mirrors) (mirrors, error) {
	if m.main != "" && m.security != "" {
		return m, nil
	}
	sources, err := readSources(etc)
	if err != nil {
		return m, err
	}
	for _, s := range sources {
		if len(s.uris) == 0 || !slices.Contains(s.components, "main") {
			continue
		}
		for _, name := range s.suites {
			switch {
			case strings.HasSuffix(name, "-security") || strings.HasSuffix(name, "/updates"):
				m.security = firstOf(m.security, s.uris[0])
			case isDebianSuite(name):
				m.main = firstOf(m.main, s.uris[0])
				m.keyring = firstOf(m.keyring, s.signedBy)
			}
		}
	}
	if m.main == "" {
		return m, fmt.Errorf("looking for a Debian mirror in %s: no source with Debian's main component (name one by -mirror and -security-mirror)", etc)
	}
	if m.security == "" {
		return m, fmt.Errorf("looking for a Debian security mirror in %s: no source of a -security suite (name one by -security-mirror)", etc)
	}
	return m, nil
}

// isDebianSuite keeps out third parties, who like to call their only suite "stable main", by asking for a release's own name.
func isDebianSuite(name string) bool {
	base, _, _ := strings.Cut(name, "-")
	return slices.Contains([]string{"bullseye", "bookworm", "trixie", "forky", "duke", "sid"}, base)
}

func firstOf(have, otherwise string) string {
	if have != "" {
		return have
	}
	return otherwise
}

func readSources(etc string) ([]source, error) {
	files := []string{filepath.Join(etc, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		more, err := filepath.Glob(filepath.Join(etc, "sources.list.d", pattern))
		if err != nil {
			return nil, fmt.Errorf("looking for apt sources: %w", err)
		}
		files = append(files, more...)
	}
	var all []source
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading apt sources: %w", err)
		}
		if strings.HasSuffix(file, ".sources") {
			all = append(all, parseStanzas(raw)...)
		} else {
			all = append(all, parseLines(raw)...)
		}
	}
	return all, nil
}

// parseStanzas reads the deb822 format.
func parseStanzas(raw []byte) []source {
	var all []source
	for stanza := range bytes.SplitSeq(bytes.ReplaceAll(raw, []byte("\r"), nil), []byte("\n\n")) {
		fields := map[string]string{}
		var last string
		for line := range strings.Lines(string(stanza)) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
				fields[last] += line
				continue
			}
			name, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(name))
			fields[last] = value
		}
		if !slices.Contains(strings.Fields(fields["types"]), "deb") || strings.TrimSpace(fields["enabled"]) == "no" {
			continue
		}
		all = append(all, source{
			uris: strings.Fields(fields["uris"]), suites: strings.Fields(fields["suites"]),
			components: strings.Fields(fields["components"]), signedBy: keyringPath(fields["signed-by"]),
		})
	}
	return all
}

// parseLines reads the one-line format: deb [options] URI suite component...
func parseLines(raw []byte) []source {
	var all []source
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		line, found := strings.CutPrefix(strings.TrimSpace(lines.Text()), "deb ")
		if !found {
			continue
		}
		var s source
		line = strings.TrimSpace(line)
		if options, rest, ok := strings.Cut(line, "]"); ok && strings.HasPrefix(line, "[") {
			for option := range strings.FieldsSeq(options[1:]) {
				if path, ok := strings.CutPrefix(option, "signed-by="); ok {
					s.signedBy = keyringPath(path)
				}
			}
			line = rest
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		s.uris, s.suites, s.components = fields[:1], fields[1:2], fields[2:]
		all = append(all, s)
	}
	return all
}

// keyringPath drops what is not a path: a Signed-By field may also hold the key itself.
func keyringPath(field string) string {
	field = strings.TrimSpace(field)
	if !strings.HasPrefix(field, "/") || strings.ContainsAny(field, " \n") {
		return ""
	}
	return field
}
