package timeline

import "github.com/epwatch/epwatch/internal/event"

// graveyard keeps what has ended for the grace period, first in, first out, and then takes its name away.
type graveyard struct {
	queue []grave
	head  int
}

type grave struct {
	at   event.Time
	file *File
	sock *Sock
	proc *Process
	ep   *Epoll
}

func (g *graveyard) addFile(f *File, at event.Time) {
	g.queue = append(g.queue, grave{at: at, file: f})
}

func (g *graveyard) addSock(s *Sock, at event.Time) {
	g.queue = append(g.queue, grave{at: at, sock: s})
}

func (g *graveyard) addEpoll(ep *Epoll, at event.Time) {
	g.queue = append(g.queue, grave{at: at, ep: ep})
}

func (g *graveyard) addProcess(p *Process, at event.Time) {
	g.queue = append(g.queue, grave{at: at, proc: p})
}

func (g *graveyard) expire(t *Timeline, now event.Time) {
	for g.head < len(g.queue) && now.Sub(g.queue[g.head].at) > grace {
		e := g.queue[g.head]
		g.queue[g.head] = grave{}
		g.head++
		switch {
		case e.file != nil:
			t.buryFile(e.file)
		case e.sock != nil:
			if t.socks[e.sock.Addr] == e.sock {
				delete(t.socks, e.sock.Addr)
			}
		case e.ep != nil:
			if t.epolls[e.ep.Addr] == e.ep {
				delete(t.epolls, e.ep.Addr)
			}
		case e.proc != nil:
			if t.procs[e.proc.PID] == e.proc {
				delete(t.procs, e.proc.PID)
				t.lately.proc = nil
			}
		}
	}
	// Move the rest to the front once it is the smaller part, so that the queue does not creep.
	if g.head > 64 && g.head > len(g.queue)/2 {
		n := copy(g.queue, g.queue[g.head:])
		clear(g.queue[n:])
		g.queue, g.head = g.queue[:n], 0
	}
}

func (t *Timeline) buryFile(f *File) {
	f.prev = nil
	if i := f.presumed; i != nil && i.Epoll.presumed[i.Data] == i {
		delete(i.Epoll.presumed, i.Data)
	}
	if cur := t.files[f.Addr]; cur == f {
		delete(t.files, f.Addr)
	} else if cur != nil && cur.prev == f {
		cur.prev = nil
	}
}
