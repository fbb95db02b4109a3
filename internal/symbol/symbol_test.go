package symbol

import (
	"debug/gosym"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFunctionsAt(t *testing.T) {
	f := sorted([]function{
		{start: 0x300, size: 0x10, name: "third"}, {start: 0x100, size: 0, name: "alias"}, {start: 0x100, size: 0x20, name: "first"},
		{start: 0x200, name: "second"},
	})
	for address, want := range map[uint64]string{
		0: "", 0xff: "", 0x100: "first", 0x11f: "first", 0x120: "", 0x200: "second", 0x2ff: "second", 0x300: "third", 0x30f: "third", 0x310: "",
		1 << 63: "",
	} {
		if got := f.at(address); got != want {
			t.Errorf("0x%x is in %q, want %q", address, got, want)
		}
	}
	if got := functions(nil).at(5); got != "" {
		t.Errorf("no functions, and yet %q", got)
	}
}

const kallsyms = `ffffffff81000000 T _stext
ffffffff81000100 t schedule
ffffffff81000200 T __schedule
ffffffff81000300 D some_data
ffffffff81000400 T __traceiter_sched_switch
ffffffff81000500 t bpf_trace_run4
ffffffffc0000000 t in_a_module	[module]
not a line
`

func kernelOf(t *testing.T, text string) *Resolver {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kallsyms")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Resolver{kernel: readKernel(path), images: map[file]*image{}}
}

func TestKernelNames(t *testing.T) {
	r := kernelOf(t, kallsyms)
	// The tracing on top is left out, and what has no name is not shown as an address.
	s := r.Stack(0, nil, []uint64{0xffffffffa0000000, 0xffffffff81000510, 0xffffffff81000410, 0xffffffff81000210, 0xffffffff81000110, 0xffffffffc0000005, 5})
	if diff := cmp.Diff([]string{"__schedule", "schedule", "in_a_module", "?"}, s.Kernel); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	hidden := kernelOf(t, regexp.MustCompile("(?m)^[0-9a-f]{16}").ReplaceAllString(kallsyms, "0000000000000000"))
	if names := hidden.Stack(0, nil, []uint64{0xffffffff81000110}).Kernel; len(names) != 0 {
		t.Errorf("with hidden addresses: %q", names)
	}
}

func TestReadable(t *testing.T) {
	for name, want := range map[string]string{
		"handle_request":                                 "handle_request",
		"_ZN6server6handleERKSs":                         "server::handle",
		"_ZN4core3fmt9Formatter3pad17h0123456789abcdefE": "core::fmt::Formatter::pad",
		"_RNvCskwGfYPst2Cb_3foo16example_function":       "foo::example_function",
		"": "",
	} {
		if got := readable(name); got != want {
			t.Errorf("%q is shown as %q, want %q", name, got, want)
		}
	}
	for _, long := range []string{strings.Repeat("x", 5000), strings.Repeat("ü", 150), "_Z" + strings.Repeat("1a", 1000)} {
		if got := readable(long); len(got) > maxName+3 {
			t.Errorf("a name of %d bytes becomes one of %d", len(long), len(got))
		}
	}
}

// A file may be broken or made to break whoever reads it.
func TestBrokenGoTables(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	sound := 0
	for range 2000 {
		data := make([]byte, 64+rng.IntN(256))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		// The magic number and header of Go 1.20, so that some get further.
		copy(data, []byte{0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8})
		// Few functions, or as many as the random bytes say.
		if rng.IntN(2) == 0 {
			copy(data[8:], []byte{byte(rng.IntN(9)), 0, 0, 0, 0, 0, 0, 0, byte(rng.IntN(9)), 0, 0, 0, 0, 0, 0, 0})
		}
		if !soundGoTable(data) {
			continue
		}
		sound++
		img := &image{segments: []segment{{0, 1 << 40, 0}}, lines: newGoTable(data, 0x400000)}
		img.name(0x400010)
		img.line(rng.Uint64N(1 << 40))
	}
	if sound < 100 {
		t.Errorf("only %d tables got as far as being read", sound)
	}
	img := &image{segments: []segment{{0, 1 << 40, 0}}, lines: &gosym.Table{}}
	if name := img.name(5); name != "" {
		t.Errorf("an empty table knows %q", name)
	}
}

func TestWhatIsNoProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, content := range []string{"", "#!/bin/sh\n", "\x7fELF\x02\x01\x01" + strings.Repeat("\xff", 200)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if img := readImage(path); img != nil {
			t.Errorf("%q has symbols: %v", content, img)
		}
	}
}
