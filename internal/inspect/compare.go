package inspect

import (
	"slices"
	"strings"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/proc"
	"github.com/epwatch/epwatch/internal/sockdiag"
)

// comparison makes a report of two samples.
type comparison struct {
	pid           uint32
	first, second *sample
	report        *Report
}

// build makes the items, and says of each whether it stood still.
func (c *comparison) build() {
	for _, e := range c.second.epolls {
		in := Instance{FD: e.fd, Items: make([]Item, 0, len(e.interests))}
		before := c.first.items(e.fd)
		nth := uint32(0)
		budget := comparisons(len(e.interests))
		for n, i := range e.interests {
			if n > 0 && e.interests[n-1].FD == i.FD {
				nth++
			} else {
				nth = 0
			}
			it := c.second.item(i)
			if it.Link == LinkUnknown && budget > 0 {
				budget--
				if it.Link = c.ask(e.fd, i.FD, nth); it.Link == LinkReused {
					it.Kind, it.Name = "", "" // those of the other file
				}
			}
			was, known := before[key{i.FD, i.Inode, i.Data}]
			it.Standing = known && stood(was, i, c.first, c.second)
			c.name(&it)
			in.Items = append(in.Items, it)
		}
		in.Also = c.also(e.fd)
		c.report.Instances = append(c.report.Instances, in)
	}
}

// comparisons bounds how often the kernel is asked to walk an interest list of n items.
func comparisons(n int) int { return 10_000_000 / max(n, 1) }

type key struct {
	fd    int32
	inode uint64
	data  uint64
}

func (s *sample) items(epfd int32) map[key]proc.Interest {
	for _, e := range s.epolls {
		if e.fd == epfd {
			m := make(map[key]proc.Interest, len(e.interests))
			for _, i := range e.interests {
				m[key{i.FD, i.Inode, i.Data}] = i
			}
			return m
		}
	}
	return nil
}

// item joins one interest with its descriptor and its socket.
func (s *sample) item(i proc.Interest) Item {
	it := Item{FD: i.FD, Mask: i.Events, Data: i.Data, Inode: i.Inode, Armed: i.Events&^event.Private != 0}
	d, open := s.descriptors[i.FD]
	switch {
	case !open:
		it.Link = LinkClosed
	case d.Kind == proc.KindSocket || d.Kind == proc.KindPipe:
		switch {
		case i.Inode != 0 && d.Inode != i.Inode:
			it.Link = LinkReused
		case d.Kind == proc.KindSocket && i.Inode != 0:
			it.Link = LinkSame // a pipe has two ends with one inode
		}
	}
	if it.Link != LinkClosed && it.Link != LinkReused {
		it.Kind, it.Name = d.Kind.String(), d.Name
		if d.Kind != proc.KindSocket {
			return it
		}
	}
	if t, found := s.tcp[i.Inode]; found {
		it.Kind, it.State, it.Sock = kindTCP, t.State.String(), socket(t)
	} else if u, found := s.unix[i.Inode]; found {
		it.Kind, it.State, it.Name = words("unix", u.Type), u.State, u.Path
		if q, found := s.queues[i.Inode]; found {
			it.Sock = unixSocket(u, q)
		}
	} else if u, found := s.udp[i.Inode]; found {
		it.Kind, it.State, it.Sock = kindUDP, "UNCONNECTED", udpSocket(u)
		if u.State == event.Established {
			it.State = "CONNECTED" // as netstat says of UNIX sockets
		}
	}
	return it
}

const (
	kindTCP = "tcp"
	kindUDP = "udp"
)

func socket(t sockdiag.Socket) *Socket {
	s := &Socket{State: t.State, Local: t.Local, Peer: t.Peer, SendQueue: t.SendQueue, HasSent: true, listed: t}
	s.Unread, s.FIN = t.Unread()
	if t.State == event.Listen {
		s.Unread, s.Limit, s.SendQueue, s.HasSent = t.RecvQueue, t.SendQueue, 0, false
	}
	return s
}

func unixSocket(u proc.UnixSocket, q unixQueue) *Socket {
	s := &Socket{State: event.Closed, Unread: q.Received, Limit: q.Limit, ReadShut: q.ReadShut}
	switch {
	case q.Listening:
		s.State = event.Listen
	case q.Peer != 0:
		s.State = event.Established
	}
	if s.Datagrams = u.Type == "dgram"; !s.Datagrams {
		s.SendQueue, s.HasSent = q.sent, q.hasSent
	}
	return s
}

func udpSocket(u sockdiag.Socket) *Socket {
	return &Socket{State: u.State, Local: u.Local, Peer: u.Peer, Unread: u.RecvQueue, Datagrams: true}
}

// stood reports whether an item was the same in both samples, its socket and what its number stands for too.
func stood(was, is proc.Interest, first, second *sample) bool {
	if was != is || first.descriptors[is.FD] != second.descriptors[is.FD] {
		return false
	}
	return same(first.tcp, second.tcp, is.Inode) && same(first.queues, second.queues, is.Inode) && same(first.udp, second.udp, is.Inode)
}

func same[K, V comparable](a, b map[K]V, k K) bool {
	was, had := a[k]
	is, has := b[k]
	return had == has && was == is
}

// name finds the words for a socket that is in no table that was read.
func (c *comparison) name(it *Item) {
	if it.Kind != proc.KindSocket.String() {
		return
	}
	if p, err := proc.Protocol(c.pid, it.FD); err == nil {
		// The kernel says unix-stream and tcpv6.
		it.Kind = strings.TrimSuffix(strings.Replace(p, "-", " ", 1), "v6")
		it.unlisted = it.Kind == kindTCP && c.first.hasTCP && c.second.hasTCP
	}
}

// ask lets the kernel compare what inodes cannot tell apart: all eventfds have the same one, and both ends of a pipe.
func (c *comparison) ask(epfd, fd int32, nth uint32) Link {
	same, err := proc.StillRefers(c.pid, fd, c.pid, epfd, nth)
	switch {
	case err != nil:
		return LinkUnknown
	case same:
		return LinkSame
	default:
		return LinkReused
	}
}

// also returns the further descriptors of an instance.
func (c *comparison) also(epfd int32) []int32 {
	var more []int32
	for _, d := range c.second.descriptors {
		if d.Kind != proc.KindEpoll || d.FD == epfd || slices.ContainsFunc(c.second.epolls, func(e epoll) bool { return e.fd == d.FD }) {
			continue
		}
		if same, err := proc.SameFile(c.pid, epfd, c.pid, d.FD); err == nil && same {
			more = append(more, d.FD)
		}
	}
	slices.Sort(more)
	return more
}

// findOwners looks for other processes that hold an instance with items whose file is not here: after a fork the instance is one
// and the descriptors are two sets, so a child's closing is none of the parent's. A fork keeps the instance's number.
func (c *comparison) findOwners() {
	for n := range c.report.Instances {
		in := &c.report.Instances[n]
		if !slices.ContainsFunc(in.Items, func(it Item) bool { return it.Link == LinkClosed || it.Link == LinkReused }) {
			continue
		}
		pids, err := proc.All()
		if err != nil {
			c.report.miss("who shares the epoll instances", err, ghostEvent)
			return
		}
		for _, pid := range pids {
			if pid == c.pid {
				continue
			}
			if same, err := proc.SameFile(c.pid, in.FD, pid, in.FD); err == nil && same {
				in.Sharers = append(in.Sharers, pid)
				c.look(in, pid)
			}
		}
	}
}

// look takes from a sharer what it knows of items whose file this process does not have.
func (c *comparison) look(in *Instance, pid uint32) {
	nth := uint32(0)
	for n := range in.Items {
		it := &in.Items[n]
		if n > 0 && in.Items[n-1].FD == it.FD {
			nth++
		} else {
			nth = 0
		}
		if it.Link != LinkClosed && it.Link != LinkReused {
			continue
		}
		if same, err := proc.StillRefers(pid, it.FD, c.pid, in.FD, nth); err == nil && same {
			it.Link, it.holder = LinkElsewhere, pid
		}
	}
}
