package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSpoolKeepsOrder(t *testing.T) {
	r, w := io.Pipe()
	s := newSpool(w)
	var want bytes.Buffer
	for i := range 1000 {
		word := strings.Repeat(string(rune('a'+i%26)), i%50)
		want.WriteString(word)
		if _, err := s.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, want.Len())
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	if err := s.drain(); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("drain: %v; the text is not what was written", err)
	}
}

// TestSpoolDoesNotWait: a reader that is slow keeps nobody waiting until the spool is full, and then somebody must wait.
func TestSpoolDoesNotWait(t *testing.T) {
	r, w := io.Pipe()
	s := newSpool(w)
	chunk := make([]byte, 1<<20)
	full := make(chan struct{})
	go func() {
		for range 2*spoolLimit/len(chunk) + 3 { // as much again can be on its way
			_, _ = s.Write(chunk)
		}
		close(full)
	}()
	held := 0
	for end := time.Now().Add(deadline); held < spoolLimit && time.Now().Before(end); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		held = len(s.pending)
		s.mu.Unlock()
	}
	if held < spoolLimit || held > spoolLimit+len(chunk) {
		t.Errorf("%d bytes are held, want %d", held, spoolLimit)
	}
	select {
	case <-full:
		t.Fatal("more than the limit was taken while nobody read")
	default:
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	<-full
	if err := s.drain(); err != nil {
		t.Error(err)
	}
}

func TestSpoolTellsTheFirstError(t *testing.T) {
	r, w := io.Pipe()
	_ = r.CloseWithError(syscall.EPIPE)
	s := newSpool(w)
	if _, err := s.Write([]byte("x")); err != nil {
		t.Fatalf("the first write says %v before anything was tried", err)
	}
	if err := s.drain(); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("drain: %v", err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) || !errors.Is(s.failed(), syscall.EPIPE) {
		t.Errorf("Write after an error: %v", err)
	}
}
