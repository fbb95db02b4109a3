//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
)

// release is one kernel line of the matrix and where Debian keeps it.
type release struct {
	label  string
	suites []suite // the highest version in any of them is taken
}

// suite is one suite of the archive.
type suite struct {
	name     string
	security bool // it is on the security mirror
}

// releases returns the matrix. The newest kernel is in backports for most of a release's life and in sid for the rest.
func releases() []release {
	return []release{
		{"5.10", []suite{{"bullseye-security", true}}},
		{"6.1", []suite{{"bookworm", false}, {"bookworm-security", true}}},
		{"6.12", []suite{{"trixie", false}, {"trixie-security", true}}},
		{"newest", []suite{{"trixie-backports", false}, {"sid", false}}},
	}
}

// labels returns the names that -kernels takes.
func labels() []string {
	var names []string
	for _, r := range releases() {
		names = append(names, r.label)
	}
	return names
}

// selectReleases returns the releases named, in the order of the matrix.
func selectReleases(names []string) ([]release, error) {
	for _, name := range names {
		if !slices.Contains(labels(), name) {
			return nil, fmt.Errorf("choosing kernels: no kernel %q (there are %s)", name, strings.Join(labels(), ", "))
		}
	}
	var chosen []release
	for _, r := range releases() {
		if slices.Contains(names, r.label) {
			chosen = append(chosen, r)
		}
	}
	return chosen, nil
}
