package proc

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/epwatch/epwatch/internal/event"
)

// Interest is one item of an epoll instance, as a tfd line of its fdinfo says. The descriptor is the number it had when it was
// registered; it may be closed since, or another file's.
type Interest struct {
	FD     int32
	Events event.Mask // with EPOLLERR and EPOLLHUP, which the kernel always adds; private bits only when a ONESHOT is spent
	Data   uint64
	Inode  uint64 // 0 before 4.13
	Dev    uint64 // in the kernel's own encoding: major<<20 | minor
}

// Interests returns an epoll instance's items in the kernel's order. It is one moment: the kernel lists them under the
// instance's lock. The error wraps ErrGone when the process is gone or the descriptor is closed.
func Interests(pid uint32, epfd int32) ([]Interest, error) { return AppendInterests(nil, pid, epfd) }

// AppendInterests appends to dst what Interests returns.
func AppendInterests(dst []Interest, pid uint32, epfd int32) ([]Interest, error) {
	f, err := os.Open(fdPath(pid, "fdinfo", epfd))
	if err == nil {
		defer f.Close()
		dst, err = ParseInterests(dst, f)
	}
	if err != nil {
		return dst, fmt.Errorf("reading the interest list of descriptor %d of process %d: %w", epfd, pid, explain(err))
	}
	return dst, nil
}

// ParseInterests appends to dst the items in an epoll instance's fdinfo. Other lines are passed over.
func ParseInterests(dst []Interest, r io.Reader) ([]Interest, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if !bytes.HasPrefix(lines.Bytes(), []byte("tfd:")) {
			continue
		}
		i, ok := parseInterest(lines.Bytes())
		if !ok {
			return dst, fmt.Errorf("a line that is not understood: %q", lines.Bytes())
		}
		dst = append(dst, i)
	}
	return dst, lines.Err()
}

// parseInterest reads a line like
//
//	tfd:        5 events:       19 data:                5  pos:0 ino:10a sdev:6
//
// where the descriptor is decimal and everything else but the position hexadecimal (ep_show_fdinfo, fs/eventpoll.c).
func parseInterest(line []byte) (Interest, bool) {
	var i Interest
	var known [3]bool
	for len(line) > 0 {
		var key []byte
		var found bool
		if key, line, found = bytes.Cut(line, []byte(":")); !found {
			break
		}
		var value []byte
		value, line, _ = bytes.Cut(bytes.TrimLeft(line, " "), []byte(" "))
		var ok bool
		switch string(bytes.TrimSpace(key)) {
		case "tfd":
			var n uint64
			n, ok = number(value, 10, 31)
			i.FD, known[0] = int32(n), true
		case "events":
			var n uint64
			n, ok = number(value, 16, 32)
			i.Events, known[1] = event.Mask(n), true
		case "data":
			i.Data, ok = number(value, 16, 64)
			known[2] = true
		case "ino":
			i.Inode, ok = number(value, 16, 64)
		case "sdev":
			i.Dev, ok = number(value, 16, 64)
		default:
			ok = true
		}
		if !ok {
			return Interest{}, false
		}
	}
	return i, known == [3]bool{true, true, true}
}

// number reads an unsigned number. The conversion to string does not allocate here, for it does not leave the call.
func number(word []byte, base, bits int) (uint64, bool) {
	n, err := strconv.ParseUint(string(word), base, bits)
	return n, err == nil
}

// Info is what a descriptor's fdinfo says of any file.
type Info struct {
	Flags uint32 // as for open(2), with O_CLOEXEC
	Inode uint64 // 0 before 5.14
}

// DescriptorInfo returns a descriptor's Info. The error wraps ErrGone when it is closed.
func DescriptorInfo(pid uint32, fd int32) (Info, error) {
	f, err := os.Open(fdPath(pid, "fdinfo", fd))
	if err != nil {
		return Info{}, fmt.Errorf("looking at descriptor %d of process %d: %w", fd, pid, explain(err))
	}
	defer f.Close()
	// What is the same for all files comes first; an epoll instance's items, which may be thousands, come behind it.
	head, err := io.ReadAll(io.LimitReader(f, 512))
	if err != nil {
		return Info{}, fmt.Errorf("looking at descriptor %d of process %d: %w", fd, pid, explain(err))
	}
	return parseInfo(head), nil
}

func parseInfo(head []byte) Info {
	var info Info
	for line := range bytes.Lines(head) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		switch value = bytes.TrimSpace(value); string(key) {
		case "flags":
			n, _ := number(value, 8, 32)
			info.Flags = uint32(n)
		case "ino":
			info.Inode, _ = number(value, 10, 64)
		}
	}
	return info
}
