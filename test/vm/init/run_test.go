//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/epwatch/epwatch/test/vm/plan"
)

// TestMain lets the test binary stand in for the programs that the init runs.
func TestMain(m *testing.M) {
	switch os.Getenv("INIT_TEST_ROLE") {
	case "fail":
		fmt.Println("about to fail")
		os.Exit(3)
	case "hang":
		time.Sleep(20 * time.Second)
	case "orphan":
		if _, err := os.StartProcess(os.Args[0], os.Args, &os.ProcAttr{
			Env: []string{"INIT_TEST_ROLE=hang"}, Files: []*os.File{nil, os.Stdout, os.Stderr},
		}); err != nil {
			os.Exit(4)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestRunSuite(t *testing.T) {
	for _, tc := range []struct {
		role    string
		timeout time.Duration
		code    int
		problem string
	}{
		{"fail", time.Minute, 3, ""},
		{"hang", 200 * time.Millisecond, -1, "killed after"},
		{"orphan", 20 * time.Second, 0, "left a process behind"},
	} {
		t.Run(tc.role, func(t *testing.T) {
			var out bytes.Buffer
			got := runSuite(plan.Suite{Name: "x", Program: os.Args[0], Timeout: tc.timeout}, []string{"INIT_TEST_ROLE=" + tc.role}, &out)
			if got.Step != plan.Exit || got.Suite != "x" || got.Code != tc.code {
				t.Errorf("mark = %+v, want the exit of x with code %d", got, tc.code)
			}
			if (tc.problem == "") != (got.Problem == "") || !strings.Contains(got.Problem, tc.problem) {
				t.Errorf("problem = %q, want %q", got.Problem, tc.problem)
			}
		})
	}
	t.Run("absent", func(t *testing.T) {
		got := runSuite(plan.Suite{Program: "/absent", Timeout: time.Second}, nil, &bytes.Buffer{})
		if got.Code != -1 || got.Problem == "" {
			t.Errorf("mark = %+v, want code -1 and the reason", got)
		}
	})
}
