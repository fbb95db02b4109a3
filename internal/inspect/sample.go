package inspect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/proc"
	"github.com/epwatch/epwatch/internal/sockdiag"
)

// sample is one moment of a process. An item is read before its descriptor, so that one without the other was closed meanwhile at
// worst, and not opened.
type sample struct {
	at          time.Time
	process     proc.Process
	epolls      []epoll
	descriptors map[int32]proc.Descriptor
	tcp         map[uint64]sockdiag.Socket // by inode, as the following
	hasTCP      bool                       // the table could be read
	unix        map[uint64]proc.UnixSocket
	queues      map[uint64]unixQueue
	udp         map[uint64]sockdiag.Socket
	missing     []Missing
}

// unixQueue is a UNIX socket's queue with its peer's.
type unixQueue struct {
	sockdiag.UnixQueue
	sent    uint32 // bytes that the peer has not read
	hasSent bool   // the peer is in the table too
}

type epoll struct {
	fd        int32
	interests []proc.Interest // by descriptor
}

func take(ctx context.Context, pid uint32) (*sample, error) {
	s := &sample{at: time.Now(), descriptors: map[int32]proc.Descriptor{}}
	var err error
	if s.process, err = proc.Stat(pid); err != nil {
		if errors.Is(err, proc.ErrGone) && proc.Hidden(pid) {
			return nil, fmt.Errorf("looking at process %d: it exists, but /proc does not show it (mounted with hidepid; needs CAP_SYS_PTRACE or its gid= group)", pid)
		}
		return nil, err
	}
	listed, err := proc.Descriptors(pid)
	if err != nil {
		return nil, s.explain(err)
	}
	if err := s.interests(pid, listed); err != nil {
		return nil, err
	}
	if len(s.epolls) == 0 {
		return nil, fmt.Errorf("process %d (%s) %w", pid, s.process.Comm, ErrNoEpoll)
	}
	s.refresh(pid, listed)
	s.at = time.Now()
	return s, s.sockets(ctx, pid)
}

// refresh looks again at the descriptors of items that came after the list was made, or whose file is another one by now.
func (s *sample) refresh(pid uint32, listed []proc.Descriptor) {
	for _, d := range listed {
		s.descriptors[d.FD] = d
	}
	for _, e := range s.epolls {
		for _, i := range e.interests {
			d, open := s.descriptors[i.FD]
			if open && (d.Inode == 0 || d.Inode == i.Inode) {
				continue
			}
			if d, err := proc.Describe(pid, i.FD); err == nil {
				s.descriptors[i.FD] = d
			} else if errors.Is(err, proc.ErrGone) {
				delete(s.descriptors, i.FD)
			}
		}
	}
}

// explain adds what would help. The kernel asks for the right to read the process as a debugger would, which its own user has
// unless the process gave up being dumpable.
func (s *sample) explain(err error) error {
	if !errors.Is(err, proc.ErrPermission) {
		return err
	}
	switch own := os.Geteuid(); {
	case own == 0:
		return fmt.Errorf("%w (needs CAP_SYS_PTRACE)", err)
	case int(s.process.UID) != own:
		return fmt.Errorf("%w (it runs as uid %d; needs CAP_SYS_PTRACE, or root)", err, s.process.UID)
	default:
		return fmt.Errorf("%w (needs CAP_SYS_PTRACE, or root)", err)
	}
}

func (s *sample) interests(pid uint32, listed []proc.Descriptor) error {
	for _, d := range listed {
		if d.Kind != proc.KindEpoll || s.known(pid, d.FD) {
			continue
		}
		e := epoll{fd: d.FD}
		var err error
		if e.interests, err = proc.Interests(pid, d.FD); err != nil {
			if errors.Is(err, proc.ErrGone) {
				continue // closed meanwhile, or the next step will say so
			}
			return s.explain(err)
		}
		// The kernel orders them by address, which says nothing to people. Stable, because kcmp counts items of one number.
		slices.SortStableFunc(e.interests, func(a, b proc.Interest) int { return int(a.FD) - int(b.FD) })
		s.epolls = append(s.epolls, e)
	}
	return nil
}

// manyInstances is from when on descriptors of one instance are not looked for any more: each is compared with all.
const manyInstances = 64

// known reports whether a descriptor is one more of an instance that is listed already.
func (s *sample) known(pid uint32, fd int32) bool {
	if len(s.epolls) > manyInstances {
		return false
	}
	for _, e := range s.epolls {
		if same, err := proc.SameFile(pid, fd, pid, e.fd); err == nil && same {
			return true
		}
	}
	return false
}

// sockets reads the tables that are needed for the sockets that are watched, in the network namespace of the process.
func (s *sample) sockets(ctx context.Context, pid uint32) error {
	wanted := s.watchedSockets()
	s.tcp, s.udp = map[uint64]sockdiag.Socket{}, map[uint64]sockdiag.Socket{}
	s.unix, s.queues = map[uint64]proc.UnixSocket{}, map[uint64]unixQueue{}
	if len(wanted) == 0 {
		return nil
	}
	err := listInto(ctx, pid, sockdiag.TCP, wanted, s.tcp)
	s.hasTCP = err == nil
	s.miss("TCP sockets", err, etUnread, oneshotDisarmed, closeWait, acceptBacklog)
	if len(s.tcp) == len(wanted) || ctx.Err() != nil {
		return ctx.Err()
	}
	s.miss("UNIX sockets", proc.UnixSockets(pid, func(u proc.UnixSocket) {
		if wanted[u.Inode] {
			s.unix[u.Inode] = u
		}
	}))
	if len(s.unix) > 0 {
		s.miss("queues of UNIX sockets", queuesInto(ctx, pid, s.unix, s.queues), etUnread, oneshotDisarmed, acceptBacklog)
	}
	if len(s.tcp)+len(s.unix) < len(wanted) && ctx.Err() == nil {
		s.miss("UDP sockets", listInto(ctx, pid, sockdiag.UDP, wanted, s.udp), etUnread, oneshotDisarmed)
	}
	return ctx.Err()
}

// miss notes what could not be read.
func (s *sample) miss(what string, err error, checks ...string) {
	if err != nil {
		s.missing = append(s.missing, Missing{what, err.Error(), checks})
	}
}

// watchedSockets returns the inodes of watched sockets, also of those whose descriptor is closed: their item still names the
// file system, and no other file system's inode is to be taken for a socket's.
func (s *sample) watchedSockets() map[uint64]bool {
	wanted := map[uint64]bool{}
	var lost []proc.Interest
	var dev uint64
	for _, e := range s.epolls {
		for _, i := range e.interests {
			switch d := s.descriptors[i.FD]; {
			case i.Inode == 0:
			case d.Kind == proc.KindSocket && d.Inode == i.Inode:
				wanted[i.Inode], dev = true, i.Dev
			default:
				lost = append(lost, i)
			}
		}
	}
	for _, i := range lost {
		if dev != 0 && i.Dev == dev {
			wanted[i.Inode] = true
		}
	}
	return wanted
}

// listInto adds the wanted sockets of a protocol, by inode.
func listInto[V any](ctx context.Context, pid uint32, p sockdiag.Protocol, wanted map[uint64]V, found map[uint64]sockdiag.Socket) error {
	return inNetNS(pid, func(f sockdiag.Filter) error {
		f.Protocol = p
		listed, err := sockdiag.List(ctx, f)
		for _, sock := range listed {
			if _, is := wanted[uint64(sock.Inode)]; is && sock.Inode != 0 {
				found[uint64(sock.Inode)] = sock
			}
		}
		return err
	})
}

// queuesInto adds the queues of the wanted UNIX sockets, by inode.
func queuesInto[V any](ctx context.Context, pid uint32, wanted map[uint64]V, found map[uint64]unixQueue) error {
	return inNetNS(pid, func(f sockdiag.Filter) error {
		listed, err := sockdiag.UnixQueues(ctx, f)
		for inode := range wanted {
			own, there := listed[uint32(inode)]
			if !there {
				continue
			}
			q := unixQueue{UnixQueue: own}
			if peer, there := listed[own.Peer]; there && own.Peer != 0 {
				q.sent, q.hasSent = peer.Received, true
			}
			found[inode] = q
		}
		return err
	})
}

// inNetNS hands out the filter for a process's network namespace. Only another one than epwatch's own has to be entered,
// which needs a privilege.
func inNetNS(pid uint32, do func(sockdiag.Filter) error) error {
	theirs, err := proc.NetNS(pid)
	if err != nil {
		return err
	}
	if own, err := proc.NetNS(uint32(os.Getpid())); err == nil && own == theirs {
		return do(sockdiag.Filter{})
	}
	ns, err := proc.OpenNetNS(pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	err = do(sockdiag.Filter{NetNS: int(ns.Fd())})
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("entering the process's network namespace: %w (needs CAP_SYS_ADMIN)", unix.EPERM)
	}
	return err
}
