package diagnose

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

// A fingerprint names a fault so that the same one is known again in another run, on another machine: by the check, the
// program's name, the part that the socket plays, and how it is watched. What differs from run to run is left out:
// processes, threads, descriptors, addresses, passing ports, how often, how long, and how it ended. So is what the mask asks
// for, because programs add and drop EPOLLOUT as their output flows, and the root, because whether its threshold was over
// before this finding was made is a matter of milliseconds.
func fingerprint(f *Finding, served func(port uint16) bool) string {
	parts := []string{f.Check, escaped(f.Comm)}
	if p := part(f, served); p != "" {
		parts = append(parts, p)
	}
	if f.mode != "" {
		parts = append(parts, f.mode)
	}
	return strings.Join(parts, "/")
}

// part says what the socket is to the program: its listener, a connection that it accepted, or one that it made.
func part(f *Finding, served func(port uint16) bool) string {
	switch local, peer := f.Local, f.Peer; {
	case !local.IsValid():
		return ""
	case f.file != nil && f.file.Sock != nil && f.file.Sock.Listening, !peer.IsValid(), peer.Port() == 0:
		return "listener" + service(local)
	case f.file != nil && f.file.Accepted, served(local.Port()), service(local) != "" && service(peer) == "":
		return "accepted" + service(local)
	default:
		return "connected" + service(peer)
	}
}

// passing is where the kernel's own choice of ports begins (net.ipv4.ip_local_port_range, by default).
const passing = 32768

// service is the port of an address where it is a service's and not a passing one.
func service(a netip.AddrPort) string {
	if a.Port() == 0 || a.Port() >= passing {
		return ""
	}
	return ":" + strconv.Itoa(int(a.Port()))
}

// mode says how an item is watched, in the words of epoll(7); empty when that is not known. EPOLLWAKEUP is left out: the kernel drops it
// without a word where the program may not ask for it.
func mode(i *timeline.Interest) string {
	if i == nil || i.Mask == 0 {
		return ""
	}
	if m := i.Mask & (event.ET | event.OneShot | event.Exclusive); m != 0 {
		return m.String()
	}
	return "LT"
}

// escaped writes a program's name in letters that have no meaning elsewhere.
func escaped(comm string) string {
	if comm == "" {
		return "-"
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(comm) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.+:", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// services are the ports that were seen to be listened on.
type services map[uint16]struct{}

// learn is shown each event, after the timeline took it in.
func (s services) learn(ev *event.Event, sub *timeline.Subject) {
	switch ev.Kind {
	case event.KindState, event.KindSnapshot, event.KindAccept:
	default:
		return
	}
	sock := sub.Sock
	if ev.Kind == event.KindAccept && sub.File != nil {
		sock = sub.File.Sock
	}
	if sock != nil && sock.Local.IsValid() && (sock.Listening || sock.State == event.Listen) {
		s[sock.Local.Port()] = struct{}{}
	}
}

func (s services) has(port uint16) bool {
	_, ok := s[port]
	return ok
}
