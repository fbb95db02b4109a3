package tracer

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// workloadVariable makes this test binary play the observed program instead of running tests.
const workloadVariable = "EPWATCH_TEST_WORKLOAD"

func TestMain(m *testing.M) {
	if name := os.Getenv(workloadVariable); name != "" {
		if err := runWorkload(name); err != nil {
			fmt.Fprintln(os.Stderr, "workload:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// needPrivileges skips where programs cannot be loaded, unless EPWATCH_REQUIRE says that this machine must.
func needPrivileges(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("observes the kernel for real")
	}
	missing := missingCapabilities()
	if len(missing) == 0 {
		return
	}
	skip(t, "needs "+strings.Join(missing, " and "))
}

// skip skips, unless EPWATCH_REQUIRE says that this machine must do what is missing.
func skip(t testing.TB, reason string) {
	t.Helper()
	if strings.Contains(os.Getenv("EPWATCH_REQUIRE"), "host") || os.Getenv("EPWATCH_VM") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// sharedKernel is what all tests of a run use: decoding the kernel's types takes seconds under emulation.
var sharedKernel = sync.OnceValues(inspectKernel)

// open is Open with the shared kernel.
func open(t testing.TB, o Options) *Tracer {
	t.Helper()
	k, err := sharedKernel()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := k.open(o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// usableFamilies returns the families that this kernel allows in full, and fails when there is none. A family
// counts when every required event has a way in it.
func usableFamilies(t testing.TB) []Family {
	t.Helper()
	k, err := sharedKernel()
	if err != nil {
		t.Fatal(err)
	}
	var usable []Family
	for _, f := range Families() {
		if k.families[f].answer != Yes {
			t.Logf("no %s here: %s", f, k.families[f].reason)
			continue
		}
		_, missing := k.plan(Options{Backend: f}, nil)
		ok := true
		for _, m := range missing {
			if requiredHook(m.Event) {
				t.Logf("no %s here: no %s events: %s", f, m.Event, m.Reason)
				ok = false
			}
		}
		if ok {
			usable = append(usable, f)
		}
	}
	if len(usable) == 0 {
		t.Fatal("this kernel allows no family")
	}
	return usable
}
