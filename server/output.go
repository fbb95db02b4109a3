package server

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// output writes lines to a descriptor with raw calls, each line with one.
type output struct {
	fd  int
	buf []byte
}

func (o *output) print(format string, args ...any) error {
	o.buf = append(fmt.Appendf(o.buf[:0], format, args...), '\n')
	if err := writeAll(o.fd, o.buf); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// writeAll also copes with a descriptor that somebody left non-blocking.
func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch err {
		case nil:
			b = b[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		default:
			return err
		}
	}
	return nil
}

// printable escapes what a terminal could take for a command.
func printable(b []byte) string {
	q := strconv.AppendQuoteToASCII(nil, string(b))
	return string(q[1 : len(q)-1])
}
