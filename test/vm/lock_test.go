//go:build linux

package main

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
)

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	ctx := context.Background()
	unlock, err := lock(ctx, dir, func() { t.Error("waited for nobody") })
	if err != nil {
		t.Fatal(err)
	}

	impatient, cancel := context.WithCancel(ctx)
	if _, err := lock(impatient, dir, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("locking a locked folder = %v, want %v", err, context.Canceled)
	}

	next, err := lock(ctx, dir, unlock) // the first owner leaves once the second waits
	if err != nil {
		t.Fatal(err)
	}
	next()
}
