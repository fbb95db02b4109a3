package inspect

import (
	"context"
	"slices"
	"time"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/proc"
	"github.com/epwatch/epwatch/internal/sockdiag"
)

// confirm judges all items, and asks the kernel again about those that look bad: under steady load the same number of bytes can
// wait in two samples, though every one of them is another.
func (c *comparison) confirm(ctx context.Context) {
	suspects := c.judgeAll()
	var timed, untimed []suspect
	for _, s := range suspects {
		switch {
		case s.Sock.isTCP() && s.Sock.listed.Cookie != 0:
			timed = append(timed, s)
		case !s.Sock.isTCP():
			untimed = append(untimed, s)
		}
	}
	if len(timed) > 0 {
		if err := c.confirmTimed(ctx, timed); err != nil && ctx.Err() == nil {
			c.report.miss("when data came in last", err)
		}
	}
	if len(untimed) > 0 {
		c.confirmAsleep(ctx, untimed)
	}
	if len(suspects) > 0 {
		c.judgeAll()
	}
}

// suspect is an item that looks bad, and its instance.
type suspect struct {
	*Item
	in *Instance
}

// judgeAll returns the items with a socket that look bad.
func (c *comparison) judgeAll() []suspect {
	var suspects []suspect
	for n := range c.report.Instances {
		in := &c.report.Instances[n]
		for m := range in.Items {
			it := &in.Items[m]
			judge(it, c.report.Sample, in.idle)
			if len(it.Suspicions) > 0 && it.Sock != nil {
				suspects = append(suspects, suspect{it, in})
			}
		}
	}
	return suspects
}

// confirmTimed asks of TCP sockets when data came in last, and of listeners a few times how many wait.
func (c *comparison) confirmTimed(ctx context.Context, suspects []suspect) error {
	const looks, pause = 3, 15 * time.Millisecond
	var socks []sockdiag.Socket
	listeners := false
	for _, s := range suspects {
		socks = append(socks, s.Sock.listed)
		listeners = listeners || s.Sock.State == event.Listen
	}
	return inNetNS(c.pid, func(f sockdiag.Filter) error {
		for range looks {
			found, err := sockdiag.Details(ctx, f, socks)
			if err != nil {
				return err
			}
			since := time.Since(c.first.at)
			for _, s := range suspects {
				s.Standing = s.Standing && confirmed(s.Sock.listed, found, since)
			}
			if !listeners { // only connections say when something came in last
				break
			}
			if err := sleep(ctx, pause); err != nil {
				return err
			}
		}
		return nil
	})
}

// confirmed reports whether a socket is as it was, and nothing came in since the first sample. What could not be timed is
// believed.
func confirmed(was sockdiag.Socket, now map[uint64]sockdiag.Detail, since time.Duration) bool {
	d, there := now[was.Cookie]
	if !there || d.State != was.State || d.RecvQueue != was.RecvQueue {
		return false
	}
	// The kernel counts in ticks of up to 10 ms.
	return !d.Timed || d.LastReceived >= since-10*time.Millisecond
}

// confirmAsleep looks at sockets that do not tell when input came in. Input that is there while a thread sleeps in a wait on the
// instance, before the look and after it without having run, has not woken it, or was there before it went to sleep.
func (c *comparison) confirmAsleep(ctx context.Context, suspects []suspect) {
	const looks, pause = 4, 15 * time.Millisecond
	for range looks {
		if sleep(ctx, pause) != nil {
			return
		}
		before := c.sleepers()
		now := c.queuesNow(ctx)
		after := c.sleepers()
		for _, s := range suspects {
			s.lookedAt(c.second, now, before, after)
		}
	}
}

// lookedAt takes one more look into account: what moved is no suspect, and what nobody slept over is not proven.
func (s suspect) lookedAt(was, now *sample, before, after []sleeper) {
	s.Standing = s.Standing && same(was.queues, now.queues, s.Inode) && same(was.udp, now.udp, s.Inode)
	s.unproven = s.unproven || !sleptThrough(s.in, before, after)
}

// queuesNow reads the UNIX and UDP sockets of the second sample again. What cannot be read is not as it was.
func (c *comparison) queuesNow(ctx context.Context) *sample {
	now := &sample{queues: map[uint64]unixQueue{}, udp: map[uint64]sockdiag.Socket{}}
	if len(c.second.queues) > 0 {
		_ = queuesInto(ctx, c.pid, c.second.queues, now.queues)
	}
	if len(c.second.udp) > 0 {
		_ = listInto(ctx, c.pid, sockdiag.UDP, c.second.udp, now.udp)
	}
	return now
}

// sleeper is a thread in a wait on an epoll instance's descriptor.
type sleeper struct {
	fd       int32
	tid      uint32
	switches uint64
}

// sleepers returns the threads that are in a wait now. Who may not be looked at is none.
func (c *comparison) sleepers() []sleeper {
	w := watcher{pid: c.pid, waited: map[int32]bool{}}
	var found []sleeper
	for fd, tids := range w.look() {
		for _, tid := range tids {
			if n, err := proc.Switches(c.pid, tid); err == nil {
				found = append(found, sleeper{fd, tid, n})
			}
		}
	}
	return found
}

// sleptThrough reports whether a thread that waits on the instance did not run between two looks.
func sleptThrough(in *Instance, before, after []sleeper) bool {
	return slices.ContainsFunc(before, func(s sleeper) bool {
		return (s.fd == in.FD || slices.Contains(in.Also, s.fd)) && slices.Contains(after, s)
	})
}
