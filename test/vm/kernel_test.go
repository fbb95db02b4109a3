//go:build linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cachedKernel leaves a kernel in a cache as installKernel does.
func cachedKernel(t *testing.T, asked time.Time) string {
	t.Helper()
	dir := t.TempDir()
	folder := filepath.Join(dir, "kernel-1-1")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeJSON(filepath.Join(folder, "kernel.json"), kernel{Version: "1-1", Release: "1-cloud", Image: "vmlinuz"}); err != nil {
		t.Fatal(err)
	}
	if err := writeJSON(filepath.Join(dir, "current.json"), current{Folder: "kernel-1-1", Asked: asked}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFetchKernelWithoutAMirror(t *testing.T) {
	// A file mirror that does not exist fails at once and without a network.
	gone := mirrors{main: "file:/nonexistent", security: "file:/nonexistent"}
	rel := release{"x", []suite{{"trixie", false}}}
	for _, tc := range []struct {
		name  string
		asked time.Time
		note  string
	}{
		{"fresh", time.Now(), ""},
		{"stale", time.Now().Add(-48 * time.Hour), "using the cached kernel"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := cachedKernel(t, tc.asked)
			var out strings.Builder
			k, err := fetchKernel(context.Background(), rel, dir, gone, newReport(&out, false))
			if err != nil {
				t.Fatal(err)
			}
			if k.Version != "1-1" || k.file(k.Image) != filepath.Join(dir, "kernel-1-1", "vmlinuz") {
				t.Errorf("got %+v", k)
			}
			wantText(t, "the note", out.String(), tc.note)
		})
	}
	t.Run("empty cache", func(t *testing.T) {
		if k, err := fetchKernel(context.Background(), rel, t.TempDir(), gone, newReport(&strings.Builder{}, false)); err == nil {
			t.Errorf("got %+v without a mirror and without a cache", k)
		}
	})
}

func TestSelectReleases(t *testing.T) {
	got, err := selectReleases([]string{"newest", "5.10"})
	if err != nil || len(got) != 2 || got[0].label != "5.10" || got[1].label != "newest" {
		t.Errorf("selectReleases() = %v, %v", got, err)
	}
	if _, err := selectReleases([]string{"4.19"}); err == nil || !strings.Contains(err.Error(), "6.12") {
		t.Errorf("selectReleases(4.19) = %v, want an error that names the kernels there are", err)
	}
}
