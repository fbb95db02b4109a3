package main

import (
	"io"
	"sync"
)

// spool writes in the background, so that a reader that is slow for a while does not keep an observation from reading its
// events. What it holds is bounded: when the reader stays slow, Write waits, the kernel's buffer runs full, and what is lost
// there is counted.
type spool struct {
	to io.Writer

	mu      sync.Mutex
	changed sync.Cond
	pending []byte
	writing bool
	err     error // the first
}

// spoolLimit bounds what waits to be written.
const spoolLimit = 8 << 20

func newSpool(to io.Writer) *spool {
	s := &spool{to: to}
	s.changed.L = &s.mu
	go s.run()
	return s
}

// Write takes b and returns the first error so far.
func (s *spool) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.pending) >= spoolLimit && s.err == nil {
		s.changed.Wait()
	}
	if s.err != nil {
		return 0, s.err
	}
	s.pending = append(s.pending, b...)
	s.changed.Broadcast()
	return len(b), nil
}

// drain waits until everything is written, and returns the first error.
func (s *spool) drain() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for (len(s.pending) > 0 || s.writing) && s.err == nil {
		s.changed.Wait()
	}
	return s.err
}

// failed returns the first error so far.
func (s *spool) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// run writes what is pending, with two buffers that take turns, until the first error.
func (s *spool) run() {
	var spare []byte
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.pending) == 0 {
			s.changed.Wait()
		}
		batch := s.pending
		s.pending, s.writing = spare[:0], true
		s.mu.Unlock()
		_, err := s.to.Write(batch)
		s.mu.Lock()
		s.writing, spare = false, batch
		s.changed.Broadcast()
		if err != nil {
			s.err = err
			return
		}
	}
}
