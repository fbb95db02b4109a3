//go:build linux

// Package real holds epwatch against servers that others wrote, under load, on this machine's own kernel: what it counts
// must be what strace counts, what is healthy must not be accused, and what is observed must not notice.
package real

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// deadline bounds every wait of these tests for something that must come.
const deadline = 30 * time.Second

// binary is the program under test.
type binary struct {
	dir  string
	path func() (string, error)
}

// TestMain also makes this test binary play the servers and the client that are our own: nothing has to be compiled where
// there is no compiler.
func TestMain(m *testing.M) {
	if name := os.Getenv(roleVariable); name != "" {
		if err := play(name); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

var built = func() *binary {
	b := &binary{}
	b.path = sync.OnceValues(b.find)
	return b
}()

// find returns the given program, or builds one.
func (b *binary) find() (string, error) {
	if path := os.Getenv("EPWATCH_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	dir, err := os.MkdirTemp("", "epwatch-real-")
	if err != nil {
		return "", err
	}
	b.dir = dir
	path := filepath.Join(dir, "epwatch")
	build := exec.Command("go", "build", "-o", path, "./cmd/epwatch")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building epwatch: %w (EPWATCH_BINARY names a built one)\n%s", err, out)
	}
	return path, nil
}

// required says that this machine has to run these tests, so that what is missing is a failure.
func required() bool {
	return slices.Contains(strings.Split(os.Getenv("EPWATCH_REQUIRE"), ","), "host")
}

// need skips where these tests cannot run, unless this machine must run them.
func need(t *testing.T, programs ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs real servers under load")
	}
	refuse := t.Skipf
	if required() {
		refuse = t.Fatalf
	}
	if os.Geteuid() != 0 {
		refuse("needs root")
	}
	for _, name := range programs {
		if _, err := find(name); err != nil {
			refuse("needs %s: %v", name, err)
		}
	}
}

// find also looks where a user's PATH does not.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", err
}

// seconds is how long each server is observed under load.
func seconds(t *testing.T) time.Duration {
	return time.Duration(setting(t, "EPWATCH_REAL_SECONDS", 4)) * time.Second
}

func setting(t *testing.T, name string, value int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return value
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, which is no number from 1 on", name, text)
	}
	return n
}

var errTimeout = errors.New("it took too long")

// until asks again and again.
func until(limit time.Duration, done func() bool) error {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if done() {
			return nil
		}
	}
	return errTimeout
}
