package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// forwarder hands the signals that epwatch is sent to a command, and lets none of them end epwatch: it ends when the
// command does.
type forwarder struct {
	signals chan os.Signal
	once    sync.Once
	done    chan struct{}
}

// catchSignals takes the signals; those that come before the command runs wait for it.
func catchSignals() *forwarder {
	f := &forwarder{signals: make(chan os.Signal, 16), done: make(chan struct{})}
	signal.Notify(f.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGWINCH, syscall.SIGPIPE)
	return f
}

// to begins to hand them on.
func (f *forwarder) to(pid int) {
	go func() {
		for {
			select {
			case s := <-f.signals:
				if sig, ok := s.(syscall.Signal); ok && !fromTerminal(sig) {
					_ = syscall.Kill(pid, sig) // it may be gone
				}
			case <-f.done:
				return
			}
		}
	}()
}

// stop gives the signals their own meaning back.
func (f *forwarder) stop() {
	f.once.Do(func() {
		signal.Stop(f.signals)
		close(f.done)
	})
}

// fromTerminal reports whether the command has had the signal already, or must not have it. The terminal sends its signals
// to every process of the foreground group, and the command is in epwatch's group. Who sent one is not told, so in the
// foreground a signal that the terminal can send counts as the terminal's. A broken pipe of epwatch's own is nobody else's.
func fromTerminal(sig syscall.Signal) bool {
	switch sig {
	case syscall.SIGPIPE:
		return true
	case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGWINCH:
		return inForeground()
	default:
		return false
	}
}

func inForeground() bool {
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // there is no terminal
	}
	defer unix.Close(tty)
	group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
