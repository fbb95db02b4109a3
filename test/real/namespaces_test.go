//go:build linux

package real

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/epwatch/epwatch/internal/event"
)

// Addresses are those of the server's own network, descriptors its own, and PIDs the ones seen from here.
func TestNamespaces(t *testing.T) {
	need(t, "unshare", "nsenter", "ip", "redis-server")
	port := freePort(t)
	p := start(t, nil, "unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c",
		fmt.Sprintf("ip link set lo up && exec redis-server --port %d --bind 127.0.0.1 --save '' --appendonly no --dir %s", port, t.TempDir()))
	pid := 0
	err := until(deadline, func() bool {
		for _, child := range children(p.pid) {
			pid = child
		}
		listens, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
		return pid != 0 && bytes.Contains(listens, fmt.Appendf(nil, "0100007F:%04X", port))
	})
	if err != nil || !p.running() {
		t.Fatalf("starting a server in namespaces of its own: %v, %v\n%s", err, p.err, p.output)
	}

	first := holdInside(t, pid, port) // exists at attach
	o := attach(t, []int{pid})
	second := holdInside(t, pid, port) // comes while it is observed
	inspected := inspect(t, pid)
	r := o.end(t)
	judge(t, r, quietEnds())

	for i, client := range []netip.AddrPort{first, second} {
		fd := descriptorOf(t, pid, port, client)
		if fd < 0 {
			t.Fatalf("the server does not hold %v", client)
		}
		if reads := checkNamed(t, r, pid, port, client, fd); reads != i*heldRequests {
			t.Errorf("%d reads of %v, want %d", reads, client, i*heldRequests)
		}
		if !strings.Contains(inspected, client.String()) {
			t.Errorf("inspect does not name %v:\n%s", client, inspected)
		}
	}
}

// checkNamed wants the connection to have been named with its addresses and its descriptor, and its reads to be of the process. It counts them.
func checkNamed(t *testing.T, r *recording, pid, port int, client netip.AddrPort, fd int) (reads int) {
	t.Helper()
	local := netip.AddrPortFrom(client.Addr(), uint16(port))
	var sock event.SockID
	r.events(t, func(ev event.Event) {
		if ev.PID != 0 && ev.PID != uint32(pid) {
			t.Fatalf("an event of process %d, only %d is observed: %+v", ev.PID, pid, ev)
		}
		if ev.Peer == client && ev.Local == local {
			sock = ev.Sock
		}
		if sock == 0 || ev.Sock != sock {
			return
		}
		if ev.Kind == event.KindRead && ev.Ret > 0 {
			reads++
		}
		if ev.FD != event.NoFD && ev.FD != int32(fd) && ev.Kind != event.KindAccept {
			t.Errorf("descriptor %d of %v, but it is %d: %+v", ev.FD, client, fd, ev)
		}
	})
	if sock == 0 {
		t.Errorf("no event names %v with %v", local, client)
	}
	return reads
}

// holdInside starts a client in the server's network that has made its requests and holds its connection.
func holdInside(t *testing.T, pid, port int) netip.AddrPort {
	t.Helper()
	c := start(t, roleEnv(roleClient, port), "nsenter", "--net", "--target", strconv.Itoa(pid), self(t))
	var local netip.AddrPort
	err := until(deadline, func() bool {
		var err error
		local, err = netip.ParseAddrPort(strings.TrimSpace(c.output.String()))
		return err == nil || !c.running()
	})
	if err != nil || !local.IsValid() {
		t.Fatalf("a client in the namespace: %v, %v\n%s", err, c.err, c.output)
	}
	return local
}

// descriptorOf looks a connection up by its inode: -1 when the process does not hold it.
func descriptorOf(t *testing.T, pid, port int, client netip.AddrPort) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		t.Fatal(err)
	}
	inode := ""
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) > 9 && f[1] == fmt.Sprintf("0100007F:%04X", port) && f[2] == fmt.Sprintf("0100007F:%04X", client.Port()) {
			inode = f[9]
		}
	}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if name, _ := os.Readlink(link); name == "socket:["+inode+"]" {
			fd, err := strconv.Atoi(filepath.Base(link))
			if err != nil {
				t.Fatal(err)
			}
			return fd
		}
	}
	return -1
}

func inspect(t *testing.T, pid int) string {
	t.Helper()
	program, err := built.path()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "inspect", strconv.Itoa(pid), "--format", "json").CombinedOutput()
	if err != nil {
		t.Fatalf("inspecting %d: %v\n%s", pid, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("inspect wrote what is no JSON: %s", line)
		}
	}
	return string(out)
}
