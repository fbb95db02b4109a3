package main

import (
	"flag"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write the expectations in the scripts anew")

// TestMain makes this test binary epwatch when it is called by that name, which is also how trace starts its server.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"epwatch": main, "helper": helperMain})
}

// TestScripts runs what needs no privileges, as people would.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":  scriptStatus,
			"oneline": scriptOneLine,
		},
	})
}
