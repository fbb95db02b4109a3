//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// metaPackage always depends on the current cloud kernel of its suite.
const metaPackage = "linux-image-cloud-amd64"

// fresh is how long a look-up is trusted without asking the mirror again.
const fresh = 12 * time.Hour

// wantedModules are loaded into every guest, in this order, where they are not built in.
func wantedModules() []string { return []string{"inet_diag", "tcp_diag", "udp_diag", "unix_diag"} }

// kernel is an unpacked kernel in the cache. Paths are relative to its folder.
type kernel struct {
	Version string   `json:"version"` // of the Debian package
	Release string   `json:"release"` // as uname -r says it
	Image   string   `json:"image"`
	Config  string   `json:"config,omitempty"`
	Modules []string `json:"modules"` // in the order of wantedModules
	folder  string
}

// file returns the path of one of the kernel's files.
func (k kernel) file(name string) string { return filepath.Join(k.folder, name) }

// current is the cache's memory of the last look-up.
type current struct {
	Folder string    `json:"folder"`
	Asked  time.Time `json:"asked"`
}

// fetchKernel returns the release's newest kernel, from the cache where it is there. If the mirror
// cannot be asked, the last kernel that it gave has to do.
func fetchKernel(ctx context.Context, rel release, dir string, m mirrors, report *report) (kernel, error) {
	last, have := lastKernel(dir)
	if have && time.Since(last.asked) < fresh {
		return last.kernel, nil
	}
	k, err := askMirror(ctx, rel, dir, m)
	if err != nil && have && ctx.Err() == nil {
		report.note(rel.label, fmt.Sprintf("using the cached kernel: %v", err))
		return last.kernel, nil
	}
	return k, err
}

// cached is a kernel and when the mirror said that it was the newest.
type cached struct {
	kernel
	asked time.Time
}

func lastKernel(dir string) (cached, bool) {
	var c current
	if err := readJSON(filepath.Join(dir, "current.json"), &c); err != nil {
		return cached{}, false
	}
	k, err := openKernel(filepath.Join(dir, c.Folder))
	return cached{k, c.Asked}, err == nil
}

// askMirror looks the newest kernel up and fetches it unless it is in the cache.
func askMirror(ctx context.Context, rel release, dir string, m mirrors) (kernel, error) {
	m, err := systemMirrors("/etc/apt", m)
	if err != nil {
		return kernel{}, err
	}
	a, err := newApt(filepath.Join(dir, "apt"), rel.suites, m)
	if err != nil {
		return kernel{}, err
	}
	if err := a.update(ctx); err != nil {
		return kernel{}, err
	}
	version, names, err := resolve(ctx, a)
	if err != nil {
		return kernel{}, err
	}
	c := current{Folder: "kernel-" + version, Asked: time.Now()}
	folder := filepath.Join(dir, c.Folder)
	k, err := openKernel(folder)
	if err != nil {
		if k, err = installKernel(ctx, a, folder, version, names); err != nil {
			return kernel{}, err
		}
	}
	return k, writeJSON(filepath.Join(dir, "current.json"), c)
}

// resolve follows the dependencies of the meta package to the packages that hold image and modules. Up to trixie
// that is one; later releases split it into linux-binary and linux-modules.
func resolve(ctx context.Context, a apt) (version string, names []string, err error) {
	part := regexp.MustCompile(`^linux-(image|binary|modules)-[0-9].*-cloud-amd64$`)
	seen := map[string]bool{}
	var follow func(name string) error
	follow = func(name string) error {
		found, depends, err := a.candidate(ctx, name)
		if err != nil {
			return err
		}
		version = firstOf(version, found)
		for _, dep := range depends {
			if !part.MatchString(dep) || seen[dep] {
				continue
			}
			seen[dep] = true
			names = append(names, dep)
			if err := follow(dep); err != nil {
				return err
			}
		}
		return nil
	}
	if err := follow(metaPackage); err != nil {
		return "", nil, err
	}
	if len(names) == 0 {
		return "", nil, fmt.Errorf("looking up %s: it depends on no kernel", metaPackage)
	}
	return version, names, nil
}

// installKernel downloads the packages and takes from them what a guest needs. The folder appears only when it is complete.
func installKernel(ctx context.Context, a apt, folder, version string, names []string) (kernel, error) {
	work, err := os.MkdirTemp(filepath.Dir(folder), "unpack-")
	if err != nil {
		return kernel{}, fmt.Errorf("unpacking a kernel: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	packages := filepath.Join(work, "packages")
	if err := os.Mkdir(packages, 0o755); err != nil {
		return kernel{}, fmt.Errorf("unpacking a kernel: %w", err)
	}
	if err := a.download(ctx, packages, names); err != nil {
		return kernel{}, err
	}
	debs, err := filepath.Glob(filepath.Join(packages, "*.deb"))
	if err != nil {
		return kernel{}, fmt.Errorf("unpacking a kernel: %w", err)
	}
	k, err := unpack(ctx, debs, work, wantedModules())
	if err != nil {
		return kernel{}, err
	}
	k.Version = version
	if err := os.RemoveAll(packages); err != nil {
		return kernel{}, fmt.Errorf("unpacking a kernel: %w", err)
	}
	if err := writeJSON(filepath.Join(work, "kernel.json"), k); err != nil {
		return kernel{}, err
	}
	if err := os.RemoveAll(folder); err != nil {
		return kernel{}, fmt.Errorf("unpacking a kernel: %w", err)
	}
	if err := os.Rename(work, folder); err != nil {
		return kernel{}, fmt.Errorf("unpacking a kernel: %w", err)
	}
	k.folder = folder
	return k, nil
}

// openKernel returns the kernel that installKernel left in folder.
func openKernel(folder string) (kernel, error) {
	k := kernel{folder: folder}
	err := readJSON(filepath.Join(folder, "kernel.json"), &k)
	return k, err
}

func readJSON(path string, into any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the cache: %w", err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, from any) error {
	raw, err := json.MarshalIndent(from, "", "\t")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		return fmt.Errorf("writing the cache: %w", err)
	}
	return nil
}
