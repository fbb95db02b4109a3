//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSystemMirrors(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		given mirrors
		want  mirrors
		err   string
	}{
		{
			name: "stanzas",
			files: map[string]string{
				"sources.list.d/a-vendor.list": "deb http://vendor.example/apt stable main\n",
				"sources.list.d/debian.sources": "Types: deb\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n" +
					"Components: main\nSigned-By: /keys/debian.gpg\n\nTypes: deb\nURIs: http://mirror.example/security\n" +
					"Suites: bookworm-security\nComponents: main\nSigned-By: /keys/debian.gpg\n",
			},
			want: mirrors{"http://mirror.example/debian", "http://mirror.example/security", "/keys/debian.gpg"},
		},
		{
			name: "lines",
			files: map[string]string{"sources.list": "# deb http://old.example bookworm main\n" +
				"deb-src http://src.example bookworm main\n" +
				"deb [arch=amd64 signed-by=/keys/d.gpg] http://mirror.example/debian trixie main contrib\n" +
				"deb http://sec.example/debian-security trixie-security main\n"},
			want: mirrors{"http://mirror.example/debian", "http://sec.example/debian-security", "/keys/d.gpg"},
		},
		{
			name:  "given ones win",
			files: map[string]string{"sources.list": "deb http://a.example bookworm main\ndeb http://b.example bookworm-security main\n"},
			given: mirrors{main: "http://mine.example"},
			want:  mirrors{main: "http://mine.example", security: "http://b.example"},
		},
		{
			name: "disabled",
			files: map[string]string{"sources.list.d/debian.sources": "Types: deb\nEnabled: no\nURIs: http://mirror.example/debian\n" +
				"Suites: bookworm\nComponents: main\n"},
			err: "-mirror",
		},
		{
			name:  "no security mirror",
			files: map[string]string{"sources.list": "deb http://a.example bookworm main\n"},
			err:   "-security-mirror",
		},
		{
			name: "key in the field",
			files: map[string]string{"sources.list.d/debian.sources": "Types: deb\nURIs: http://a.example\nSuites: bookworm bookworm-security\n" +
				"Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n"},
			want: mirrors{main: "http://a.example", security: "http://a.example"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			etc := t.TempDir()
			for name, content := range tc.files {
				path := filepath.Join(etc, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := systemMirrors(etc, tc.given)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("systemMirrors() = %v, want an error with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("systemMirrors() = %+v, want %+v", got, tc.want)
			}
		})
	}
}
