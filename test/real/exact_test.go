//go:build linux

package real

import (
	"testing"
	"time"

	"github.com/epwatch/epwatch/internal/event"
)

const exactRequests = 200

// Both observe at the same time, so whatever the server does, they have to have seen the same.
func TestExactCounts(t *testing.T) {
	for _, p := range programs() {
		t.Run(p.name, func(t *testing.T) {
			need(t, append(p.needs, "strace")...)
			s := p.start(t)
			prepare(t, s)
			st := strace(t, s)
			o := attach(t, s.pids)
			st.mark(t)
			askExactly(t, s, exactRequests)
			time.Sleep(100 * time.Millisecond) // for what may follow a close
			r := o.end(t)
			want := st.end(t, s.port)
			judge(t, r, quietEnds())
			got, receives, received := r.counts(t, s.port)
			t.Logf("%+v", got)
			if got != want {
				t.Errorf("epwatch counted %+v\nstrace counted  %+v", got, want)
			}
			if receives != got.Reads || received != got.ReadBytes {
				t.Errorf("the kernel handed out %d bytes in %d receives, and reads returned %d bytes in %d", received, receives, got.ReadBytes, got.Reads)
			}
			asked := exactRequests * len(s.speaks.request)
			if want.ReadBytes != asked || want.Accepts != 1 || want.Closes != 1 {
				t.Errorf("the client sent %d bytes over one connection, and the server counted %+v", asked, want)
			}
		})
	}
}

// askExactly returns when the server has closed the connection too, and says which it was.
func askExactly(t *testing.T, s *target, n int) (local string) {
	t.Helper()
	c, err := dial(s.address, s.speaks)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range n {
		if err := c.ask(); err != nil {
			t.Fatal(err)
		}
	}
	local = c.LocalAddr().String()
	c.Close()
	if err := until(deadline, func() bool { return !connected(t, s.port, local) }); err != nil {
		t.Fatalf("the server holds %s: %v", local, err)
	}
	return local
}

// counts adds up the calls on connections whose own address has the port.
func (r *recording) counts(t *testing.T, port int) (c counts, receives, received int) {
	t.Helper()
	ours := map[event.SockID]bool{}
	r.events(t, func(ev event.Event) {
		if ev.Sock != 0 && ev.Local.IsValid() {
			ours[ev.Sock] = int(ev.Local.Port()) == port && ev.Peer.IsValid() && ev.Peer.Port() != 0
		}
	})
	r.events(t, func(ev event.Event) {
		switch kind := kindOf(ev.Call.String()); {
		case ev.Kind == event.KindRecv && ours[ev.Sock]:
			// An end of stream is a receive of nothing, and not all hooks see it.
			if ev.Ret > 0 {
				receives++
				received += int(ev.Ret)
			}
		case ev.Kind == event.KindWaitReturn || ev.Kind == event.KindAccept || ours[ev.Sock]:
			c.call(kind, int(ev.Ret))
		}
	})
	return c, receives, received
}
