package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// DefaultAddress is where a server listens, and a client connects to, when nothing else is said.
const DefaultAddress = "127.0.0.1"

// listen opens a listening TCP socket and returns it with the port it got.
func listen(address string, port int) (fd, got int, err error) {
	if address == "" {
		address = DefaultAddress
	}
	where := net.JoinHostPort(address, strconv.Itoa(port))
	sa, domain, err := sockaddr(address, port)
	if err != nil {
		return -1, 0, fmt.Errorf("listening on %s: %w", where, err)
	}
	fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, 0, fmt.Errorf("listening on %s: %w", where, err)
	}
	if got, err = bindAndListen(fd, sa); err != nil {
		_ = unix.Close(fd)
		return -1, 0, fmt.Errorf("listening on %s: %w%s", where, err, listenHint(err))
	}
	return fd, got, nil
}

func bindAndListen(fd int, sa unix.Sockaddr) (port int, err error) {
	// Without it a server cannot come back to its port while an old connection is in TIME_WAIT.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, sa); err != nil {
		return 0, err
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return 0, err
	}
	got, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	return int(addrPort(got).Port()), nil
}

func listenHint(err error) string {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return " (another process listens there; choose a port with --port)"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return " (no interface of this machine has that address)"
	case errors.Is(err, unix.EACCES):
		return " (ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE)"
	default:
		return ""
	}
}

func sockaddr(address string, port int) (unix.Sockaddr, int, error) {
	if port < 0 || port > 65535 {
		return nil, 0, fmt.Errorf("no such port (0 to 65535)")
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return nil, 0, fmt.Errorf("not an IPv4 or IPv6 address")
	}
	ip = ip.Unmap()
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: port, Addr: ip.As4()}, unix.AF_INET, nil
	}
	sa := &unix.SockaddrInet6{Port: port, Addr: ip.As16()}
	if ip.Zone() != "" {
		nic, err := net.InterfaceByName(ip.Zone())
		if err != nil {
			return nil, 0, fmt.Errorf("no interface %q", ip.Zone())
		}
		sa.ZoneId = uint32(nic.Index)
	}
	return sa, unix.AF_INET6, nil
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	default:
		return netip.AddrPort{}
	}
}
