package tracer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// playPrivileges is a tracer with the stated capabilities only: it opens, drops what is not needed any more, and
// still stops, counts and closes.
func playPrivileges() error {
	stated := uint64(1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_SYSLOG | 1<<unix.CAP_SYS_RESOURCE)
	held, err := effectiveCapabilities()
	if err != nil {
		return err
	}
	if err := limitCapabilities(stated & held); err != nil {
		if errors.Is(err, unix.ENOTSUP) {
			fmt.Println("built with cgo")
			return nil
		}
		return err
	}
	tr, err := Open(Options{PIDs: []uint32{uint32(os.Getpid())}})
	if err != nil {
		return err
	}
	defer tr.Close()
	if err := DropPrivileges(); err != nil {
		return err
	}
	after, err := effectiveCapabilities()
	if err != nil {
		return err
	}
	if after&^(1<<unix.CAP_BPF) != 0 {
		return fmt.Errorf("capabilities %x are still held", after)
	}
	if _, err := Open(Options{PIDs: []uint32{uint32(os.Getpid())}}); err == nil || !strings.Contains(err.Error(), "CAP_PERFMON") {
		return fmt.Errorf("opening another without privileges: %w", err)
	}
	tr.Stop()
	if s := tr.Stats(); len(s.Lost) != 0 {
		return fmt.Errorf("lost %v", s.Lost)
	}
	for err == nil {
		_, err = tr.Read(nil)
	}
	fmt.Println("opened, dropped, read to the end")
	return nil
}

// TestOnlyStatedCapabilities runs playPrivileges in a process of its own, because capabilities do not come back.
func TestOnlyStatedCapabilities(t *testing.T) {
	needPrivileges(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), workloadVariable+"=privileges")
	cmd.Stdin = strings.NewReader("\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	switch text := strings.TrimSpace(string(out)); text {
	case "opened, dropped, read to the end":
	case "built with cgo":
		skip(t, "this test binary links C code, in which Go cannot change the capabilities of all threads (build it with CGO_ENABLED=0)")
	default:
		t.Errorf("the tracer said %q", text)
	}
}
