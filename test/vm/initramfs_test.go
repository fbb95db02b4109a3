//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"

	"github.com/epwatch/epwatch/test/vm/plan"
)

// readArchive returns the files of an archive and checks what the kernel needs of its order.
func readArchive(t *testing.T, file string) map[string][]byte {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	files, folders, inodes := map[string][]byte{}, map[string]bool{".": true}, map[int64]string{}
	for archive := cpio.NewReader(in); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if !folders[path.Dir(header.Name)] {
			t.Errorf("%s comes before its folder", header.Name)
		}
		if other, taken := inodes[header.Inode]; taken {
			t.Errorf("%s would be a hard link of %s", header.Name, other)
		}
		inodes[header.Inode] = header.Name
		if header.Mode.IsDir() {
			folders[header.Name] = true
			continue
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = content
	}
}

func TestWriteInitramfs(t *testing.T) {
	host := t.TempDir()
	for name, content := range map[string]string{
		"init": "init", "epwatch": "product", "a.test": "test binary", "testdata/deep/x.txtar": "history", "tcp_diag.ko.xz": "module", "config-1": "CONFIG_BPF=y",
	} {
		file := filepath.Join(host, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(host, name) }
	archive := at("initramfs")
	err := writeInitramfs(archive, "6.12", kernel{Modules: []string{"tcp_diag.ko.xz"}, Config: "config-1", folder: host}, payload{
		init: at("init"), product: at("epwatch"), suites: []testSuite{
			{name: "internal/a", binary: at("a.test"), program: "/tests/a.test", dir: "/src/internal/a", testdata: at("testdata"), timeout: time.Minute},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	files := readArchive(t, archive)
	for name, want := range map[string]string{
		"init": "init", "usr/bin/epwatch": "product", "tests/a.test": "test binary", "modules/tcp_diag.ko.xz": "module",
		"src/internal/a/testdata/deep/x.txtar": "history", "boot/config-1": "CONFIG_BPF=y",
	} {
		if string(files[name]) != want {
			t.Errorf("%s holds %q, want %q", name, files[name], want)
		}
	}
	var agreed plan.Plan
	if err := json.Unmarshal(files["plan.json"], &agreed); err != nil {
		t.Fatal(err)
	}
	if len(agreed.Modules) != 1 || !agreed.Modules[0].Compressed || agreed.Modules[0].Path != "/modules/tcp_diag.ko.xz" {
		t.Errorf("modules = %+v", agreed.Modules)
	}
	if len(agreed.Suites) != 1 || agreed.Suites[0].Program != "/tests/a.test" || agreed.Suites[0].Timeout != time.Minute {
		t.Errorf("suites = %+v", agreed.Suites)
	}
	t.Run("a file is missing", func(t *testing.T) {
		if err := writeInitramfs(at("other"), "x", kernel{}, payload{init: at("absent")}); err == nil {
			t.Error("an initramfs without an init was written")
		}
	})
}
