package main

import (
	"bufio"
	"bytes"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/epwatch/epwatch/server"
)

// TestServeAndClient runs both halves alone, as in two terminals, without privileges.
func TestServeAndClient(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		for _, v := range server.Variants() {
			t.Run(v.Name+"/"+address, func(t *testing.T) {
				t.Parallel()
				serve := program("serve", v.Name, "--port", "0", "--address", address)
				out, err := serve.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				var errOut bytes.Buffer
				serve.Stderr = &errOut
				if err := serve.Start(); err != nil {
					t.Fatal(err)
				}
				watchdog := time.AfterFunc(deadline, func() { _ = serve.Process.Kill() })
				defer watchdog.Stop()
				lines := bufio.NewScanner(out)
				if !lines.Scan() {
					t.Fatalf("the server said nothing: %s", errOut.String())
				}
				port, ok := strings.CutPrefix(lines.Text(), "listen on port ")
				if !ok {
					t.Fatalf("first line: %q", lines.Text())
				}
				got := runProgram(t, "client", v.Name, "--port", port, "--address", address, "--client-timeout", testTimeout().String())
				if got.status != exitDone || got.stderr != "" {
					t.Errorf("client: status %d: %s", got.status, got.stderr)
				}
				for _, want := range []string{"connected to", "sent 20 bytes: " + server.Message, "received ", "closed"} {
					if !strings.Contains(got.stdout, want) {
						t.Errorf("the client did not say %q:\n%s", want, got.stdout)
					}
				}
				said := []string{lines.Text()}
				for len(said) < len(v.Lines) && lines.Scan() {
					said = append(said, lines.Text())
				}
				if len(said) != len(v.Lines) {
					t.Fatalf("the server said %q, want %q", said, v.Lines)
				}
				for i, want := range v.Lines[2:] {
					if said[i+2] != want {
						t.Errorf("line %d is %q, want %q", i+3, said[i+2], want)
					}
				}
				if err := serve.Process.Signal(syscall.SIGINT); err != nil {
					t.Fatal(err)
				}
				_ = serve.Wait()
				if ws := serve.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGINT || errOut.Len() > 0 {
					t.Errorf("server: %v, %s", serve.ProcessState, errOut.String())
				}
			})
		}
	}
}
