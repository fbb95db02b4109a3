//go:build linux

package main

import (
	"fmt"
	"io"
	"sync"
)

// spool takes output at memory speed and hands it to a slow port behind the writer's back: a test that had to wait
// for an emulated serial line would not be measuring the kernel any more.
type spool struct {
	mu      sync.Mutex
	change  *sync.Cond
	pending []byte
	closed  bool
	err     error
	done    chan struct{}
}

// newSpool starts the copying to port.
func newSpool(port io.Writer) *spool {
	s := &spool{done: make(chan struct{})}
	s.change = sync.NewCond(&s.mu)
	go s.copy(port)
	return s
}

// Write never waits for the port and keeps nothing of p.
func (s *spool) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.pending = append(s.pending, p...)
	s.change.Signal()
	return len(p), nil
}

// Close waits until the port has taken everything.
func (s *spool) Close() error {
	s.mu.Lock()
	s.closed = true
	s.change.Signal()
	s.mu.Unlock()
	<-s.done
	return s.err
}

func (s *spool) copy(port io.Writer) {
	defer close(s.done)
	for {
		s.mu.Lock()
		for len(s.pending) == 0 && !s.closed {
			s.change.Wait()
		}
		batch := s.pending
		s.pending = nil
		s.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		if _, err := port.Write(batch); err != nil {
			s.mu.Lock()
			s.err = fmt.Errorf("writing to the result port: %w", err)
			s.mu.Unlock()
			return
		}
	}
}
