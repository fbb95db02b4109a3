//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cavaliergopher/cpio"

	"github.com/epwatch/epwatch/test/vm/plan"
)

// tree writes an initramfs and makes the folders that its files need. The first error sticks and is returned by close.
type tree struct {
	file    *os.File
	archive *cpio.Writer
	folders map[string]bool
	inodes  int64
	err     error
}

// writeInitramfs packs a guest. The archive is not compressed: unpacking it under emulation would cost more than loading it.
func writeInitramfs(file, label string, k kernel, p payload) error {
	out, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	t := &tree{file: out, archive: cpio.NewWriter(out), folders: map[string]bool{"/": true}}
	t.addFile("/init", p.init, 0o755)
	if p.product != "" {
		t.addFile("/usr/bin/epwatch", p.product, 0o755)
	}
	if k.Config != "" {
		t.addFile("/boot/"+k.Config, k.file(k.Config), 0o644)
	}
	t.add("/etc/passwd", []byte("root:x:0:0:root:/root:/bin/false\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"), 0o644)
	t.add("/etc/group", []byte("root:x:0:\nnogroup:x:65534:\n"), 0o644)
	t.add("/etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost\n"), 0o644)
	t.addFolder("/root")
	agreed := plan.Plan{Env: guestEnv(label)}
	for _, module := range k.Modules {
		to := "/modules/" + module
		t.addFile(to, k.file(module), 0o644)
		agreed.Modules = append(agreed.Modules, plan.Module{Path: to, Compressed: !strings.HasSuffix(module, ".ko")})
	}
	for _, s := range p.suites {
		if s.binary != "" {
			t.addFile(s.program, s.binary, 0o755)
		}
		t.addFolder(s.dir)
		if s.testdata != "" {
			t.addAll(s.dir+"/testdata", s.testdata)
		}
		for name, program := range s.compiled {
			t.addFile(path.Join(s.dir, "testdata", name), program, 0o755)
		}
		agreed.Suites = append(agreed.Suites, plan.Suite{Name: s.name, Program: s.program, Args: s.args, Dir: s.dir, Timeout: s.timeout})
	}
	body, err := json.Marshal(agreed)
	if err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	t.add(plan.Path, body, 0o644)
	if err := t.close(); err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	return nil
}

// guestEnv is the environment of every suite: EPWATCH_VM names the kernel of the matrix, EPWATCH_REQUIRE
// turns skips that the kernel does not explain into failures, EPWATCH_BINARY is the program under test.
func guestEnv(label string) []string {
	return []string{
		"PATH=/usr/bin:/bin", "HOME=/root", "TMPDIR=/tmp", "USER=root", "TERM=dumb", "CI=true",
		"EPWATCH_VM=" + label, "EPWATCH_REQUIRE=vm", "EPWATCH_BINARY=/usr/bin/epwatch",
		"EPWATCH_GALLERY=" + os.Getenv("EPWATCH_GALLERY"), // "all": see TestSelftest
	}
}

func (t *tree) addFolder(name string) {
	if t.folders[name] {
		return
	}
	t.addFolder(path.Dir(name))
	t.folders[name] = true
	t.write(&cpio.Header{Name: strings.TrimPrefix(name, "/"), Mode: cpio.TypeDir | 0o755, Links: 2}, nil)
}

func (t *tree) add(name string, content []byte, perm cpio.FileMode) {
	t.addFolder(path.Dir(name))
	t.write(&cpio.Header{Name: strings.TrimPrefix(name, "/"), Mode: cpio.TypeReg | perm, Links: 1, Size: int64(len(content))}, content)
}

func (t *tree) addFile(name, from string, perm cpio.FileMode) {
	content, err := os.ReadFile(from)
	t.err = errors.Join(t.err, err)
	t.add(name, content, perm)
}

// addAll adds the regular files under from.
func (t *tree) addAll(name, from string) {
	err := filepath.WalkDir(from, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		inside, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		t.addFile(path.Join(name, filepath.ToSlash(inside)), file, 0o644)
		return nil
	})
	t.err = errors.Join(t.err, err)
}

func (t *tree) write(header *cpio.Header, content []byte) {
	if t.err != nil {
		return
	}
	// Files that share an inode number are hard links of each other to the kernel.
	t.inodes++
	header.Inode = t.inodes
	if t.err = t.archive.WriteHeader(header); t.err != nil {
		return
	}
	_, t.err = t.archive.Write(content)
}

func (t *tree) close() error {
	return errors.Join(t.err, t.archive.Close(), t.file.Close())
}
