package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/epwatch/epwatch/internal/proc"
)

// watcher looks at what the threads do between the samples. Input that was there before is left behind only when somebody went back to
// wait over it; a loop that is busy, starved of its processor or blocked elsewhere has not come to it yet.
type watcher struct {
	pid    uint32
	waited map[int32]bool // by epoll descriptor
	err    error
}

// during spends the time between the samples, and looks until every instance was seen waited on.
func (w *watcher) during(ctx context.Context, d time.Duration, epolls []epoll) error {
	const looks = 10
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := sleep(ctx, min(d/looks, time.Until(end))); err != nil {
			return err
		}
		if w.err == nil && slices.ContainsFunc(epolls, func(e epoll) bool { return !w.waited[e.fd] }) {
			w.look()
		}
	}
	return nil
}

// look returns the threads that are blocked in a wait, by the epoll descriptor that they gave.
func (w *watcher) look() map[int32][]uint32 {
	found := map[int32][]uint32{}
	tids, err := proc.Threads(w.pid)
	for _, tid := range tids {
		call, blocked, callErr := proc.CurrentCall(w.pid, tid)
		if errors.Is(callErr, proc.ErrGone) {
			continue
		}
		if err = errors.Join(err, callErr); err != nil {
			break
		}
		if blocked && slices.Contains(waitCalls(), call.Number) {
			fd := int32(call.Args[0])
			found[fd] = append(found[fd], tid)
			w.waited[fd] = true
		}
	}
	w.err = errors.Join(w.err, err)
	return found
}

// waiters says of each instance who waits on it now, and whether anybody did since the first sample.
func (c *comparison) waiters(w *watcher) {
	found := w.look()
	if w.err != nil {
		hint := ""
		if errors.Is(w.err, proc.ErrPermission) {
			hint = " (needs CAP_SYS_PTRACE, or root)"
		}
		c.report.miss("what the threads do", fmt.Errorf("%w%s", w.err, hint))
		return
	}
	for n := range c.report.Instances {
		in := &c.report.Instances[n]
		in.HasWaiters, in.idle = true, true
		for _, fd := range append([]int32{in.FD}, in.Also...) {
			in.Waiters = append(in.Waiters, found[fd]...)
			in.idle = in.idle && !w.waited[fd]
		}
		slices.Sort(in.Waiters)
	}
}
