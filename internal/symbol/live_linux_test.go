package symbol

import (
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/epwatch/epwatch/internal/proc"
)

// TestOwnStack names addresses of this very process.
func TestOwnStack(t *testing.T) {
	r := New()
	r.Warm(uint32(os.Getpid()))
	pcs := make([]uintptr, 8)
	var addresses []uint64
	for _, pc := range pcs[:runtime.Callers(1, pcs)] {
		addresses = append(addresses, uint64(pc))
	}
	// The first is taken as it is, the others as return addresses.
	addresses = append([]uint64{uint64(reflect.ValueOf(TestOwnStack).Pointer())}, addresses...)
	names := r.Stack(uint32(os.Getpid()), addresses, nil).User
	if len(names) != len(addresses) {
		t.Fatalf("%d addresses have %d names", len(addresses), len(names))
	}
	for i, want := range []string{"symbol.TestOwnStack (live_linux_test.go:", "symbol.TestOwnStack (live_linux_test.go:", "testing.tRunner (testing.go:"} {
		if !strings.Contains(names[i], want) {
			t.Errorf("frame %d is %q, want %q", i, names[i], want)
		}
	}
}

func TestAddressesWithoutNames(t *testing.T) {
	r := New()
	pid := uint32(os.Getpid())
	mappings, err := proc.CodeMappings(pid)
	if err != nil {
		t.Fatal(err)
	}
	var vdso uint64
	for _, m := range mappings {
		if m.Path == "[vdso]" {
			vdso = m.Start + 0x10
		}
	}
	names := r.Stack(pid, []uint64{0x10, vdso}, nil).User
	if names[0] != "0x10" || vdso != 0 && !strings.HasPrefix(names[1], "[vdso]+0x") {
		t.Errorf("named %q", names)
	}
	// It has ended, or never was.
	if names := r.Stack(1<<30, []uint64{0x1234}, nil).User; names[0] != "0x1234" {
		t.Errorf("named %q", names)
	}
}
