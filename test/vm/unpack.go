//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// picker takes from package after package the files that a guest needs.
type picker struct {
	dir     string
	wanted  []string
	kernel  kernel
	modules map[string]string // wanted module → its file
	builtin []string
}

// unpack extracts image, configuration and the wanted modules of the packages into dir. A wanted module that is neither
// a file nor built in is an error: the tests count on it.
func unpack(ctx context.Context, debs []string, dir string, wanted []string) (kernel, error) {
	p := picker{dir: dir, wanted: wanted, modules: map[string]string{}}
	for _, deb := range debs {
		if err := p.readPackage(ctx, deb); err != nil {
			return kernel{}, err
		}
	}
	return p.finish()
}

func (p *picker) readPackage(ctx context.Context, deb string) error {
	// dpkg-deb knows every compression that Debian uses; the tar inside is then plain.
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", filepath.Base(deb), err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("unpacking %s: %w", filepath.Base(deb), err)
	}
	readErr := p.readTar(stdout)
	_, drainErr := io.Copy(io.Discard, stdout) // else dpkg-deb ends by a broken pipe
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("unpacking %s: %w: %s", filepath.Base(deb), err, lastLine(stderr.Bytes()))
	}
	if err := errors.Join(readErr, drainErr); err != nil {
		return fmt.Errorf("unpacking %s: %w", filepath.Base(deb), err)
	}
	return nil
}

func (p *picker) readTar(r io.Reader) error {
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := p.pick(path.Clean(header.Name), archive); err != nil {
			return err
		}
	}
}

// pick keeps the file if it is wanted.
func (p *picker) pick(name string, content io.Reader) error {
	base := path.Base(name)
	module, _, _ := strings.Cut(base, ".ko")
	switch {
	case strings.HasPrefix(base, "vmlinuz"):
		p.kernel.Image = "vmlinuz"
		p.setRelease(name)
		return save(filepath.Join(p.dir, "vmlinuz"), content)
	case strings.HasPrefix(base, "config-"):
		p.kernel.Config = base
		return save(filepath.Join(p.dir, base), content)
	case base == "modules.builtin":
		list, err := io.ReadAll(content)
		p.builtin = strings.Fields(string(list))
		return err
	case module != base && slices.Contains(p.wanted, module):
		p.modules[module] = base
		return save(filepath.Join(p.dir, base), content)
	}
	return nil
}

// setRelease reads the release from the image's name (boot/vmlinuz-RELEASE) or folder (…/modules/RELEASE/vmlinuz).
func (p *picker) setRelease(name string) {
	if m := regexp.MustCompile(`(?:vmlinuz-|modules/)([^/]+)(?:/vmlinuz)?$`).FindStringSubmatch(name); m != nil {
		p.kernel.Release = m[1]
	}
}

func (p *picker) finish() (kernel, error) {
	if p.kernel.Image == "" || p.kernel.Release == "" {
		return kernel{}, errors.New("unpacking a kernel: the packages hold no image")
	}
	for _, name := range p.wanted {
		file, isFile := p.modules[name]
		isBuiltin := slices.ContainsFunc(p.builtin, func(built string) bool { return path.Base(built) == name+".ko" })
		switch {
		case isFile:
			p.kernel.Modules = append(p.kernel.Modules, file)
		case !isBuiltin:
			return kernel{}, fmt.Errorf("unpacking kernel %s: no module %s", p.kernel.Release, name)
		}
	}
	return p.kernel, nil
}

func save(path string, content io.Reader) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
