package tracer

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// messagePairs are sockets that keep messages, with one that sends to each.
func messagePairs() (receivers, senders [4]int, err error) {
	do := func(what string, e error) {
		if err == nil && e != nil {
			err = fmt.Errorf("%s: %w", what, e)
		}
	}
	for i, family := range []int{unix.AF_INET, unix.AF_INET6} {
		var e error
		var here unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
		if family == unix.AF_INET6 {
			here = &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
		}
		receivers[i], e = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		do("socket", e)
		senders[i], e = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		do("socket", e)
		do("bind", unix.Bind(receivers[i], here))
		bound, e := unix.Getsockname(receivers[i])
		do("getsockname", e)
		if err == nil {
			do("connect", unix.Connect(senders[i], bound))
		}
	}
	for i, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
		fds, e := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		do("socketpair", e)
		receivers[2+i], senders[2+i] = fds[0], fds[1]
	}
	return receivers, senders, err
}

// playMessages sends three messages to each kind of socket, one after the other, looks at the first, and reads them all; and lets
// two connections come to a UNIX listener before it accepts.
func playMessages() error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	p := pair{epoll: epoll}
	receivers, senders, err := messagePairs()
	do := func(what string, e error) {
		if err == nil && e != nil {
			err = fmt.Errorf("%s: %w", what, e)
		}
	}
	var buf [64]byte
	for i, fd := range receivers {
		do("epoll_ctl", unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, item(fd, unix.EPOLLIN|unix.EPOLLET)))
		for range 3 {
			_, e := unix.Write(senders[i], []byte("hello"))
			do("write", e)
			do("wait", p.wait())
		}
		_, _, e := unix.Recvfrom(fd, buf[:5], unix.MSG_PEEK)
		do("recvfrom", e)
		for range 3 {
			_, _, e := unix.Recvfrom(fd, buf[:5], 0)
			do("recvfrom", e)
		}
		if _, _, e := unix.Recvfrom(fd, buf[:5], 0); e != unix.EAGAIN {
			do("recvfrom", fmt.Errorf("a fourth message: %w", e))
		}
	}
	listener, e := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	do("socket", e)
	do("bind", unix.Bind(listener, &unix.SockaddrUnix{})) // the kernel gives it a name
	bound, e := unix.Getsockname(listener)
	do("getsockname", e)
	do("listen", unix.Listen(listener, 8))
	do("epoll_ctl", unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, listener, item(listener, unix.EPOLLIN|unix.EPOLLET)))
	for range 2 {
		client, e := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		do("socket", e)
		if err == nil {
			do("connect", unix.Connect(client, bound))
		}
	}
	_, _, e = unix.Accept4(listener, unix.SOCK_CLOEXEC)
	do("accept4", e)
	if err != nil {
		return err
	}
	fmt.Println("messages", receivers[0], receivers[1], receivers[2], receivers[3], listener)
	return nil
}
