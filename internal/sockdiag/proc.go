package sockdiag

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/epwatch/epwatch/internal/event"
)

// Proc lists by reading /proc only.
func Proc(f Filter) ([]Socket, error) {
	var socks []Socket
	err := inNetNS(f.NetNS, func() error {
		for _, table := range []struct {
			path   string
			family Family
		}{{"/proc/thread-self/net/" + f.Protocol.String(), IPv4}, {"/proc/thread-self/net/" + f.Protocol.String() + "6", IPv6}} {
			found, err := readTable(table.path, table.family, f)
			if errors.Is(err, fs.ErrNotExist) && table.family == IPv6 {
				continue // a kernel without IPv6
			}
			if err != nil {
				return err
			}
			socks = append(socks, found...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing sockets by /proc: %w", err)
	}
	return sorted(socks), nil
}

func readTable(path string, family Family, f Filter) ([]Socket, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return parseTable(file, family, f)
}

// parseTable reads the format of /proc/net/tcp and /proc/net/udp: a heading, then a line for each socket.
func parseTable(r io.Reader, family Family, f Filter) ([]Socket, error) {
	var socks []Socket
	lines := bufio.NewScanner(r)
	lines.Scan()
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		s, err := parseLine(lines.Text(), family)
		if err != nil {
			return nil, err
		}
		if f.wants(s) {
			socks = append(socks, s)
		}
	}
	return socks, lines.Err()
}

// parseLine reads one line. Its words: number, local, peer, state, queues, timer, retransmits, uid, time-out, inode.
func parseLine(line string, family Family) (Socket, error) {
	const newSynRecv = 12 // the kernel's inner name for what everybody else calls SYN_RECV
	w := strings.Fields(line)
	if len(w) < 10 {
		return Socket{}, fmt.Errorf("a line of %d words: %q", len(w), line)
	}
	var err error
	number := func(word string, base int) uint32 {
		n, e := strconv.ParseUint(word, base, 32)
		err = errors.Join(err, e)
		return uint32(n)
	}
	address := func(word string) netip.AddrPort {
		a, e := parseAddress(word, family)
		err = errors.Join(err, e)
		return a
	}
	tx, rx, _ := strings.Cut(w[4], ":")
	s := Socket{
		Family: family, Local: address(w[1]), Peer: address(w[2]),
		SendQueue: number(tx, 16), RecvQueue: number(rx, 16), UID: number(w[7], 10), Inode: number(w[9], 10),
	}
	state := number(w[3], 16)
	if state > newSynRecv {
		err = errors.Join(err, fmt.Errorf("unknown state %d", state))
	}
	if err != nil {
		return Socket{}, fmt.Errorf("a line that is not understood, %q: %w", line, err)
	}
	s.State = event.State(state)
	return s, nil
}

// parseAddress reads ADDRESS:PORT, both in hexadecimal, the address as 32-bit words in the machine's own order.
func parseAddress(word string, family Family) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(word, ":")
	b, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if want := map[Family]int{IPv4: 4, IPv6: 16}[family]; len(b) != want {
		return netip.AddrPort{}, fmt.Errorf("an address of %d bytes", len(b))
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	ip, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip.Unmap(), uint16(p)), nil
}
