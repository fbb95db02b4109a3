package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// endBySignal returns a context that the first SIGINT or SIGTERM ends, or the duration if there is one. After the first
// signal the default action is back, so that a second one ends the program at once; the kernel and the child clean up
// after that too. A closed standard output becomes an error of the write instead of a signal, so that the run
// can still end in order.
func endBySignal(parent context.Context, duration time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	over := make(<-chan time.Time)
	if duration > 0 {
		over = time.After(duration)
	}
	go func() {
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-over:
			cancel(errTimeUp)
		case <-ctx.Done():
		}
		signal.Stop(signals)
	}()
	return ctx, func() { cancel(nil); signal.Stop(pipe) }
}
