//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// slowPort takes nothing before it is released.
type slowPort struct {
	release chan struct{}
	got     bytes.Buffer
}

func (p *slowPort) Write(b []byte) (int, error) {
	<-p.release
	return p.got.Write(b)
}

func TestSpoolDoesNotWaitForThePort(t *testing.T) {
	port := &slowPort{release: make(chan struct{})}
	s := newSpool(port)
	var want bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&want, "line %d\n", i)
		fmt.Fprintf(s, "line %d\n", i) // would hang here if it waited
	}
	close(port.release)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(port.got.Bytes(), want.Bytes()) {
		t.Errorf("the port got %d bytes, want %d in order", port.got.Len(), want.Len())
	}
}

type deadPort struct{}

func (deadPort) Write([]byte) (int, error) { return 0, errors.New("port is gone") }

func TestSpoolReportsADeadPort(t *testing.T) {
	s := newSpool(deadPort{})
	if _, err := s.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err == nil {
		t.Error("Close() = nil after the port refused the output")
	}
}
