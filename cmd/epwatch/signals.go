package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// endBySignal returns a context that the first SIGINT or SIGTERM ends. After the first signal the default action is back, so
// that a second one ends the program at once; the kernel and the child clean up after that too. A closed standard output
// becomes an error of the write instead of a signal, so that the run can still end in order.
func endBySignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	go func() {
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-ctx.Done():
		}
		signal.Stop(signals)
	}()
	return ctx, func() { cancel(nil); signal.Stop(pipe) }
}

// endAfter ends an observation when the duration is over, counted from now; 0 is none. The caller stops it.
func endAfter(duration time.Duration, cancel context.CancelCauseFunc) (stop func()) {
	if duration == 0 {
		return func() {}
	}
	t := time.AfterFunc(duration, func() { cancel(errTimeUp) })
	return func() { t.Stop() }
}
