//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// tarOf returns a package's file tree; what is in a file is its name.
func tarOf(t *testing.T, files map[string]string) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestPicker(t *testing.T) {
	for _, tc := range []struct {
		name     string
		packages []map[string]string
		release  string
		modules  []string
		fails    bool
	}{
		{
			name: "one package",
			packages: []map[string]string{{
				"./boot/vmlinuz-6.1.0-9-cloud-amd64":                                        "image",
				"./boot/config-6.1.0-9-cloud-amd64":                                         "config",
				"./lib/modules/6.1.0-9-cloud-amd64/kernel/net/ipv4/tcp_diag.ko":             "tcp",
				"./lib/modules/6.1.0-9-cloud-amd64/kernel/net/ipv4/inet_diag.ko":            "inet",
				"./lib/modules/6.1.0-9-cloud-amd64/kernel/drivers/net/inet_diag_not.ko":     "other",
				"./lib/modules/6.1.0-9-cloud-amd64/modules.builtin":                         "kernel/fs/ext4.ko\n",
				"./lib/modules/6.1.0-9-cloud-amd64/kernel/net/netfilter/nft_not_wanted.ko":  "other",
				"./usr/share/doc/linux-image-6.1.0-9-cloud-amd64/changelog.Debian.gz":       "doc",
				"./lib/modules/6.1.0-9-cloud-amd64/kernel/net/ipv4/tcp_diag_unrelated.ko.x": "other",
			}},
			release: "6.1.0-9-cloud-amd64", modules: []string{"inet_diag.ko", "tcp_diag.ko"},
		},
		{
			name: "split packages, one module built in",
			packages: []map[string]string{
				{"./usr/lib/modules/7.3.4+deb13-cloud-amd64/vmlinuz": "image"},
				{"./usr/lib/modules/7.3.4+deb13-cloud-amd64/kernel/net/ipv4/tcp_diag.ko.xz": "tcp",
					"./usr/lib/modules/7.3.4+deb13-cloud-amd64/modules.builtin": "kernel/net/ipv4/inet_diag.ko\n"},
			},
			release: "7.3.4+deb13-cloud-amd64", modules: []string{"tcp_diag.ko.xz"},
		},
		{
			name:     "module missing",
			packages: []map[string]string{{"./boot/vmlinuz-1": "image", "./lib/modules/1/kernel/inet_diag.ko": "inet"}},
			fails:    true,
		},
		{name: "no image", packages: []map[string]string{{"./a/inet_diag.ko": "", "./a/tcp_diag.ko": ""}}, fails: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := picker{dir: t.TempDir(), wanted: []string{"inet_diag", "tcp_diag"}, modules: map[string]string{}}
			for _, files := range tc.packages {
				if err := p.readTar(tarOf(t, files)); err != nil {
					t.Fatal(err)
				}
			}
			k, err := p.finish()
			if (err != nil) != tc.fails {
				t.Fatalf("finish() error = %v, want one: %v", err, tc.fails)
			}
			if tc.fails {
				return
			}
			if k.Release != tc.release || !slices.Equal(k.Modules, tc.modules) {
				t.Errorf("got release %q, modules %q; want %q, %q", k.Release, k.Modules, tc.release, tc.modules)
			}
			if image, err := os.ReadFile(filepath.Join(p.dir, k.Image)); err != nil || string(image) != "image" {
				t.Errorf("the image holds %q, %v", image, err)
			}
		})
	}
}

func TestParseRecord(t *testing.T) {
	version, depends := parseRecord([]byte("Package: linux-image-x\nVersion: 7.3.4-1~bpo13+1\nDepends: dracut | initramfs-tools (>= 0.120), linux-binary-x (= 7.3.4-1~bpo13+1)\nDescription: a\n b: c\n"))
	if version != "7.3.4-1~bpo13+1" || !slices.Equal(depends, []string{"dracut", "linux-binary-x"}) {
		t.Errorf("parseRecord() = %q, %q", version, depends)
	}
}
