//go:build linux

package real

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	roleVariable = "EPWATCH_REAL_ROLE"
	portVariable = "EPWATCH_REAL_PORT"

	roleGo     = "net/http server"
	roleEpoll  = "epoll server"
	roleClient = "client"

	heldRequests = 3
)

func roleEnv(role string, port int) []string {
	return []string{roleVariable + "=" + role, portVariable + "=" + strconv.Itoa(port)}
}

func play(name string) error {
	port, err := strconv.Atoi(os.Getenv(portVariable))
	if err != nil {
		return err
	}
	switch name {
	case roleGo:
		return serveGo(port)
	case roleEpoll:
		return serveEpoll(port)
	case roleClient:
		return holdOne(port)
	default:
		return fmt.Errorf("no such role")
	}
}

func serveGo(port int) error {
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
	return http.ListenAndServe(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), answer)
}

// serveEpoll answers every input of a connection with the HTTP answer, level-triggered in one thread: enough to hold many
// connections in one epoll instance.
func serveEpoll(port int) error {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(listener, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := unix.Listen(listener, 4096); err != nil {
		return err
	}
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := watchInput(epfd, listener); err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 128)
	for {
		n, err := unix.EpollWait(epfd, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for i := range max(n, 0) {
			fd := int(events[i].Fd)
			if fd != listener {
				answer(fd)
				continue
			}
			if fd, _, err = unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC); err == nil {
				err = watchInput(epfd, fd)
			}
			if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ECONNABORTED) {
				return err
			}
		}
	}
}

func watchInput(epfd, fd int) error {
	return unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func answer(fd int) {
	var buf [4096]byte
	n, err := unix.Read(fd, buf[:])
	switch {
	case err == unix.EAGAIN:
	case n > 0:
		_, _ = unix.Write(fd, []byte(httpAnswer()))
	default:
		_ = unix.Close(fd)
	}
}

// holdOne makes requests to a redis over one connection, says which it is, and holds it until it is killed.
func holdOne(port int) error {
	c, err := dial(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), protocol{request: "PING\r\n", answer: exactly("+PONG\r\n")})
	if err != nil {
		return err
	}
	defer c.Close()
	for range heldRequests {
		if err := c.ask(); err != nil {
			return err
		}
	}
	fmt.Println(c.LocalAddr())
	for {
		time.Sleep(deadline)
	}
}
