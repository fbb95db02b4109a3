package proc

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
)

// UnixSocket is one UNIX socket of a network namespace.
type UnixSocket struct {
	Inode uint64
	Type  string // stream, dgram or seqpacket
	State string // LISTEN, CONNECTED, UNCONNECTED, ...
	Path  string // empty when it has no name; abstract ones begin with @
}

// UnixSockets calls each for the UNIX sockets of a process's network namespace.
func UnixSockets(pid uint32, each func(UnixSocket)) error {
	f, err := os.Open(dir(pid) + "/net/unix")
	if err == nil {
		defer f.Close()
		err = parseUnix(f, each)
	}
	if err != nil {
		return fmt.Errorf("listing UNIX sockets of process %d: %w", pid, explain(err))
	}
	return nil
}

// parseUnix reads the format of /proc/net/unix: a heading, then number, references, protocol, flags, type, state, inode and path. A
// path can hold line ends, so a line that does not begin like one belongs to the path before it.
func parseUnix(r io.Reader, each func(UnixSocket)) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if s, ok := parseUnixLine(lines.Bytes()); ok {
			each(s)
		}
	}
	return lines.Err()
}

func parseUnixLine(line []byte) (UnixSocket, bool) {
	const (
		accepts = 0x10000 // __SO_ACCEPTCON
		columns = 7
	)
	var w [columns][]byte
	for i := range w {
		w[i], line, _ = bytes.Cut(bytes.TrimLeft(line, " "), []byte(" "))
	}
	if !bytes.HasSuffix(w[0], []byte(":")) {
		return UnixSocket{}, false
	}
	flags, okFlags := number(w[3], 16, 32)
	kind, okKind := number(w[4], 16, 16)
	state, okState := number(w[5], 16, 8)
	inode, okInode := number(w[6], 10, 64)
	if !okFlags || !okKind || !okState || !okInode {
		return UnixSocket{}, false
	}
	s := UnixSocket{Inode: inode, Path: string(line), Type: map[uint64]string{1: "stream", 2: "dgram", 5: "seqpacket"}[kind]}
	// socket_state of <linux/net.h>; netstat writes them so.
	s.State = map[uint64]string{1: "UNCONNECTED", 2: "CONNECTING", 3: "CONNECTED", 4: "DISCONNECTING"}[state]
	if flags&accepts != 0 {
		s.State = "LISTEN"
	}
	return s, true
}
