//go:build linux

package real

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

// target is a server that runs.
type target struct {
	main    *process
	pids    []int // what is to be observed
	address string
	port    int
	speaks  protocol
}

// program is a kind of server.
type program struct {
	name  string
	needs []string
	start func(*testing.T) *target
}

// programs are the servers. memcached stands for libevent as well, which it is built on.
func programs() []program {
	return []program{
		{"nginx", []string{"nginx"}, startNginx},
		{"redis", []string{"redis-server"}, startRedis},
		{"haproxy", []string{"haproxy"}, startHAProxy},
		{"memcached", []string{"memcached"}, startMemcached},
		{"node", []string{"node"}, startNode},
		{"go", nil, startGo},
		{"python", []string{"python3"}, startPython},
	}
}

func begin(t *testing.T, speaks protocol, env []string, port int, name string, args ...string) *target {
	t.Helper()
	p := start(t, env, name, args...)
	s := &target{main: p, pids: []int{p.pid}, address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), port: port, speaks: speaks}
	listening(t, p, s.address)
	return s
}

// startNginx has two workers, which are what is observed. The master does nothing but start them.
func startNginx(t *testing.T) *target {
	dir, port := t.TempDir(), freePort(t)
	conf := filepath.Join(dir, "nginx.conf")
	write(t, conf, fmt.Sprintf(`user root; worker_processes 2; pid %[1]s/nginx.pid; error_log %[1]s/error.log; daemon off;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 100000000; server { listen 127.0.0.1:%[2]d; root %[1]s; } }
`, dir, port))
	write(t, filepath.Join(dir, "index.html"), body)
	s := begin(t, http11(), nil, port, "nginx", "-c", conf, "-p", dir)
	s.pids = nil
	if err := until(deadline, func() bool { s.pids = children(s.main.pid); return len(s.pids) == 2 }); err != nil {
		t.Fatalf("waiting for 2 workers of nginx, found %v: %v", s.pids, err)
	}
	return s
}

func startRedis(t *testing.T) *target {
	port := freePort(t)
	return begin(t, redis(), nil, port, "redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", t.TempDir())
}

// startHAProxy stands in front of a Go server.
func startHAProxy(t *testing.T) *target {
	behind := startGo(t)
	port := freePort(t)
	conf := filepath.Join(t.TempDir(), "haproxy.cfg")
	write(t, conf, fmt.Sprintf(`global
    nbthread 2
    maxconn 1000
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen real
    bind 127.0.0.1:%d
    server behind %s
`, port, behind.address))
	return begin(t, http11(), nil, port, "haproxy", "-db", "-f", conf)
}

func startMemcached(t *testing.T) *target {
	port := freePort(t)
	return begin(t, memcached(), nil, port, "memcached", "-l", "127.0.0.1", "-p", strconv.Itoa(port), "-U", "0", "-t", "4", "-u", "root", "-m", "16")
}

func startNode(t *testing.T) *target {
	port := freePort(t)
	return begin(t, http11(), nil, port, "node", "-e",
		fmt.Sprintf(`require("http").createServer((q, s) => s.end(%q)).listen(%d, "127.0.0.1")`, body, port))
}

func startPython(t *testing.T) *target {
	port := freePort(t)
	return begin(t, http11(), nil, port, "python3", "-c", fmt.Sprintf(`
import asyncio
answer = b"HTTP/1.1 200 OK\r\nContent-Length: %[1]d\r\n\r\n" + %[2]q.encode()
async def serve(reader, writer):
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", %[3]d) as server:
        await server.serve_forever()
asyncio.run(main())
`, len(body), body, port))
}

func startGo(t *testing.T) *target { return startRole(t, roleGo) }

func startRole(t *testing.T, role string) *target {
	t.Helper()
	port := freePort(t)
	return begin(t, http11(), roleEnv(role, port), port, self(t))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// hangUp makes nginx start new workers and waits for them.
func hangUp(t *testing.T, s *target) {
	t.Helper()
	old := s.pids
	if err := s.main.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	err := until(deadline, func() bool {
		s.pids = children(s.main.pid)
		return len(s.pids) == 2 && !slices.Contains(s.pids, old[0]) && !slices.Contains(s.pids, old[1])
	})
	if err != nil {
		t.Fatalf("waiting for new workers of nginx in place of %v, found %v: %v", old, s.pids, err)
	}
}
