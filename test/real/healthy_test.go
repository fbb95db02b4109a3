//go:build linux

package real

import (
	"runtime"
	"testing"
	"time"
)

// expected says how often a class of what is not matched may be seen.
type expected map[string]uint64

// quietEnds: the server did nothing when the observation began and ended.
func quietEnds() expected { return expected{} }

// busyEnds: the observation began and ended in the middle of calls, one on each processor at most. Half of such a call was seen.
func busyEnds() expected {
	return expected{"call under way when the observation began or ended": uint64(2 * runtime.NumCPU())}
}

// steady leaves room for the other programs of the machine, so that the figures do not depend on it.
func steady() pattern { return pattern{conns: 12, pause: 4 * time.Millisecond, renew: 50} }

// slow asks more seldom than the thresholds of the checks are long: its connections lie still for longer than these.
func slow() pattern { return pattern{conns: 6, pause: 900 * time.Millisecond} }

// silent opens connections that never ask.
func silent(t *testing.T, s *target) {
	t.Helper()
	for range 3 {
		c, err := dial(s.address, s.speaks)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
}

func TestHealthyServers(t *testing.T) {
	for _, p := range programs() {
		t.Run(p.name, func(t *testing.T) {
			need(t, p.needs...)
			s := p.start(t)
			t.Run("idle", func(t *testing.T) {
				o := attach(t, s.pids)
				time.Sleep(seconds(t) / 4)
				judge(t, o.end(t), quietEnds())
			})
			t.Run("loaded", func(t *testing.T) {
				l, still := steady().run(t, s), slow().run(t, s)
				silent(t, s)
				l.warm(t)
				o := attach(t, s.pids)
				silent(t, s)
				before := l.asked.Load()
				time.Sleep(seconds(t))
				asked := l.asked.Load() - before
				r := o.end(t)
				after := l.asked.Load()
				judge(t, r, busyEnds())
				if r.summary.Matched < uint64(asked) {
					t.Errorf("%d requests were made meanwhile, and %d reads matched", asked, r.summary.Matched)
				}
				if err := until(deadline, func() bool { return l.asked.Load() > after+100 }); err != nil {
					t.Error("the load stopped when epwatch had gone")
				}
				l.check(t)
				still.check(t)
			})
		})
	}
}

// A reload ends the workers that are observed and starts others.
func TestHealthyReload(t *testing.T) {
	need(t, "nginx")
	s := startNginx(t)
	l := pattern{conns: 12, pause: 4 * time.Millisecond, renew: 50, retry: true}.run(t, s)
	l.warm(t)
	o := attach(t, []int{s.main.pid}, "--follow")
	time.Sleep(seconds(t) / 2)
	hangUp(t, s)
	time.Sleep(seconds(t) / 2)
	asked := l.asked.Load()
	r := o.end(t)
	judge(t, r, busyEnds())
	l.check(t)
	if r.summary.Matched < uint64(asked)/2 {
		t.Errorf("%d requests were made meanwhile, and %d reads matched", asked, r.summary.Matched)
	}
	t.Logf("%d requests were asked twice", l.retried.Load())
}

// What is not written costs little: this is the most that the load and two cores give.
func TestHighestLoad(t *testing.T) {
	for _, p := range programs() {
		if p.name != "nginx" && p.name != "redis" && p.name != "memcached" {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			need(t, p.needs...)
			s := p.start(t)
			l := pattern{conns: 50, renew: 1000}.run(t, s)
			l.warm(t)
			o := attach(t, s.pids, "--quiet")
			time.Sleep(seconds(t))
			r := o.end(t)
			judge(t, r, busyEnds())
			l.check(t)
		})
	}
}

// maxShown bounds how many findings are shown with all that belongs to them.
const maxShown = 5

// judge wants nothing lost, everything matched but what is expected, and nobody accused.
func judge(t *testing.T, r *recording, e expected) {
	t.Helper()
	s := r.summary
	t.Logf("%.1f s, %.0f events/s, %d reads, %d receives, %d matched, unmatched %v, lost %d, notes %q", float64(s.Duration)/1e9,
		s.Rate, s.Reads, s.Receives, s.Matched, r.classes(), s.Lost, r.notes)
	if s.Lost != 0 || s.Missed != 0 {
		t.Errorf("%d records lost, %d programs skipped", s.Lost, s.Missed)
	}
	for class, n := range r.classes() {
		if n > e[class] {
			t.Errorf("unmatched: %s: %d, expected %d at most", class, n, e[class])
		}
	}
	for i, f := range r.accusations() {
		if i == maxShown {
			t.Errorf("and more: %v", s.Findings)
			break
		}
		t.Errorf("a healthy server is accused: %s", r.around(t, f))
	}
	for _, u := range s.Unknown {
		t.Logf("unknown: %s: %s", u.Check, u.Reason)
	}
}
