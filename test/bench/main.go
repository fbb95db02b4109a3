//go:build linux

// Command bench measures what observation costs: real servers under real load, untraced and under several tools in turn,
// so that a machine whose speed drifts does not decide. It prints the table that stands in docs/benchmarks.md.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options are the command line.
type options struct {
	epwatch  string
	rounds   int
	seconds  int
	backend  string
	markdown string
}

func main() {
	var o options
	flag.StringVar(&o.epwatch, "epwatch", "./epwatch", "the `program` to measure")
	flag.IntVar(&o.rounds, "rounds", 9, "how often each tool has its turn")
	flag.IntVar(&o.seconds, "seconds", 3, "length of one measurement")
	flag.StringVar(&o.backend, "backend", "", "family of hooks, empty for the best")
	flag.StringVar(&o.markdown, "markdown", "", "write the tables to this `file` too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "epwatch-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var tables strings.Builder
	for _, l := range loads() {
		table, err := measure(ctx, o, l, dir)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", l.name, err)
		}
		fmt.Print(table)
		tables.WriteString(table)
	}
	if o.markdown == "" {
		return nil
	}
	return os.WriteFile(o.markdown, []byte(head(o)+tables.String()), 0o644)
}

func head(o options) string {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf(`# What observation costs

Requests a second of a server under load, untraced and under each tool in turn: %d rounds of %d s, the median of each. The share of
untraced is the median of the rounds' own shares, because a machine's speed drifts. Server, load and tool have %d
processors for all of them. One run of `+"`make bench`"+`, kernel %s, %s family. Absolute figures belong to the machine; the
shares are what to compare.

`, o.rounds, o.seconds, runtime.NumCPU(), strings.TrimSpace(string(release)), cmp.Or(o.backend, "best"))
}

// load is a server with something that loads it.
type load struct {
	name   string
	title  string
	start  func(ctx context.Context, dir string) (*server, error)
	client func(ctx context.Context, seconds int) (float64, error)
}

// server is a running server and the processes that are to be observed.
type server struct {
	cmd  *exec.Cmd
	pids []int
}

const (
	redisPort = "16399"
	nginxPort = "16388"
)

func loads() []load {
	return []load{
		{"redis", "redis, GET over 50 connections (redis-benchmark)", startRedis, loadRedis},
		{"nginx", "nginx, 2 workers, a small file over 50 connections (wrk)", startNginx, loadNginx},
	}
}

func startRedis(ctx context.Context, dir string) (*server, error) {
	cmd := exec.CommandContext(ctx, "redis-server", "--port", redisPort, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, pids: []int{cmd.Process.Pid}}
	return s, until(ctx, func() bool {
		out, _ := exec.CommandContext(ctx, "redis-cli", "-p", redisPort, "ping").Output()
		return strings.TrimSpace(string(out)) == "PONG"
	})
}

// loadRedis finds out first how many requests fill the time: redis-benchmark counts them, and under some tools the server answers
// a fiftieth as many.
func loadRedis(ctx context.Context, seconds int) (float64, error) {
	rate, err := redisRate(ctx, 3000)
	if err != nil {
		return 0, err
	}
	return redisRate(ctx, max(3000, int(rate)*seconds))
}

func redisRate(ctx context.Context, requests int) (float64, error) {
	timed, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(timed, "redis-benchmark", "-p", redisPort, "-t", "get", "-c", "50", "-n", strconv.Itoa(requests), "--csv").Output()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(out)) {
		if fields := strings.Split(line, ","); len(fields) > 1 && fields[0] == `"GET"` {
			return strconv.ParseFloat(strings.Trim(fields[1], "\"\n"), 64)
		}
	}
	return 0, fmt.Errorf("redis-benchmark said %q", out)
}

func startNginx(ctx context.Context, dir string) (*server, error) {
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`worker_processes 2; pid %[1]s/nginx.pid; error_log %[1]s/error.log; daemon off;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 100000000; server { listen 127.0.0.1:%[2]s; root %[1]s; } }
`, dir, nginxPort)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("hello, world\n"), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "nginx", "-c", conf, "-p", dir)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd}
	err := until(ctx, func() bool {
		out, _ := exec.CommandContext(ctx, "pgrep", "-P", strconv.Itoa(cmd.Process.Pid)).Output()
		s.pids = nil
		for _, f := range strings.Fields(string(out)) {
			if pid, err := strconv.Atoi(f); err == nil {
				s.pids = append(s.pids, pid)
			}
		}
		return len(s.pids) == 2
	})
	return s, err
}

func loadNginx(ctx context.Context, seconds int) (float64, error) {
	out, err := exec.CommandContext(ctx, "wrk", "-t", "1", "-c", "50", "-d", strconv.Itoa(seconds)+"s", "http://127.0.0.1:"+nginxPort+"/").Output()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(line, "Requests/sec:"); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, fmt.Errorf("wrk said %q", out)
}

func until(ctx context.Context, done func() bool) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if done() {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return errors.New("it did not come up")
}

// tool is one way to observe.
type tool struct {
	name  string
	begin func(ctx context.Context, o options, pids []int, dir string) (*exec.Cmd, error)
}

func tools() []tool {
	return []tool{
		{"untraced", nil},
		{"epwatch attach --quiet", func(ctx context.Context, o options, pids []int, dir string) (*exec.Cmd, error) {
			return beginEpwatch(ctx, o, pids, dir, "--quiet", "--output", os.DevNull)
		}},
		{"epwatch attach --format json", func(ctx context.Context, o options, pids []int, dir string) (*exec.Cmd, error) {
			return beginEpwatch(ctx, o, pids, dir, "--format", "json", "--output", filepath.Join(dir, "events.jsonl"))
		}},
		{"bpftrace, printing the same events", beginBpftrace},
		{"strace -f of the same calls", beginStrace},
	}
}

func beginEpwatch(ctx context.Context, o options, pids []int, dir string, flags ...string) (*exec.Cmd, error) {
	ready := filepath.Join(dir, "ready")
	_ = os.Remove(ready)
	args := append([]string{"attach", "--ready-file", ready}, flags...)
	if o.backend != "" {
		args = append(args, "--backend", o.backend)
	}
	for _, pid := range pids {
		args = append(args, strconv.Itoa(pid))
	}
	cmd := exec.CommandContext(ctx, o.epwatch, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd, until(ctx, func() bool { _, err := os.Stat(ready); return err == nil })
}

const followed = "epoll_create1,epoll_ctl,epoll_wait,epoll_pwait,read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,accept,accept4,close,shutdown"

func beginStrace(ctx context.Context, _ options, pids []int, dir string) (*exec.Cmd, error) {
	args := []string{"-f", "-o", filepath.Join(dir, "strace.log"), "-e", "trace=" + followed}
	for _, pid := range pids {
		args = append(args, "-p", strconv.Itoa(pid))
	}
	cmd := exec.CommandContext(ctx, "strace", args...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd, until(ctx, func() bool {
		for _, pid := range pids {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if !strings.Contains(string(status), fmt.Sprintf("TracerPid:\t%d\n", cmd.Process.Pid)) {
				return false
			}
		}
		return true
	})
}

// bpftraceScript prints what epwatch records: calls with their descriptor, length and result, waits as they begin, receives with
// their socket, the arrival of data at sockets that the server was seen to use, wakeups of its threads, and states. It leaves out
// what a script cannot well do: items of an interest list, bytes left unread, open files.
func bpftraceScript(pids []int) string {
	conditions := make([]string, len(pids))
	for i, pid := range pids {
		conditions[i] = fmt.Sprintf("pid == %d", pid)
	}
	mine := strings.Join(conditions, " || ")
	var s strings.Builder
	s.WriteString("BEGIN { printf(\"ready\\n\"); }\n")
	for call := range strings.SplitSeq(followed, ",") {
		fd := "fd"
		switch call {
		case "epoll_create1":
			fd = "flags"
		case "epoll_ctl", "epoll_wait", "epoll_pwait":
			fd = "epfd"
		}
		entered := fmt.Sprintf("@since[tid] = nsecs; @fd[tid] = (int64)args->%s;", fd)
		if fd == "epfd" && call != "epoll_ctl" {
			entered += fmt.Sprintf(" printf(\"%%llu %%d %s enters %%d\\n\", nsecs, tid, args->epfd);", call)
		}
		fmt.Fprintf(&s, "tracepoint:syscalls:sys_enter_%s /%s/ { %s }\n", call, mine, entered)
		fmt.Fprintf(&s, "tracepoint:syscalls:sys_exit_%s /%s/ { printf(\"%%llu %%d %s %%d %%d %%llu\\n\", nsecs, tid, @fd[tid], args->ret, @since[tid]); }\n",
			call, mine, call)
	}
	fmt.Fprintf(&s, "tracepoint:sock:sock_recv_length /%s/ { @used[args->sk] = 1; printf(\"%%llu %%d recv %%llx %%d\\n\", nsecs, tid, (uint64)args->sk, args->ret); }\n", mine)
	s.WriteString("tracepoint:sock:sk_data_ready /@used[args->skaddr]/ { printf(\"%llu data %llx\\n\", nsecs, (uint64)args->skaddr); }\n")
	var threads []string
	for _, pid := range pids {
		threads = append(threads, fmt.Sprintf("args->pid == %d", pid))
	}
	fmt.Fprintf(&s, "tracepoint:sched:sched_waking /%s/ { printf(\"%%llu woken %%d\\n\", nsecs, args->pid); }\n", strings.Join(threads, " || "))
	s.WriteString("tracepoint:sock:inet_sock_set_state { printf(\"%llu state %d %d\\n\", nsecs, args->oldstate, args->newstate); }\n")
	return s.String()
}

func beginBpftrace(ctx context.Context, _ options, pids []int, dir string) (*exec.Cmd, error) {
	path := filepath.Join(dir, "same.bt")
	if err := os.WriteFile(path, []byte(bpftraceScript(pids)), 0o600); err != nil {
		return nil, err
	}
	log := filepath.Join(dir, "bpftrace.log")
	_ = os.Remove(log)
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, "bpftrace", path)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd, until(ctx, func() bool {
		text, _ := os.ReadFile(log)
		return strings.Contains(string(text), "ready")
	})
}

// measure lets each tool have its turn in each round and returns the table.
func measure(ctx context.Context, o options, l load, dir string) (string, error) {
	work, err := os.MkdirTemp(dir, l.name)
	if err != nil {
		return "", err
	}
	s, err := l.start(ctx, work)
	if err != nil {
		return "", fmt.Errorf("starting the server: %w", err)
	}
	defer func() { _ = s.cmd.Process.Signal(os.Interrupt); _ = s.cmd.Wait() }()
	if _, err := l.client(ctx, 1); err != nil {
		return "", fmt.Errorf("warming up: %w", err)
	}
	rates := make(map[string][]float64)
	failed := make(map[string]error)
	for range o.rounds {
		for _, t := range tools() {
			if failed[t.name] != nil {
				continue
			}
			rate, err := turn(ctx, o, l, t, s.pids, work)
			if err != nil {
				if strings.HasPrefix(t.name, "epwatch") || t.begin == nil {
					return "", fmt.Errorf("%s: %w", t.name, err)
				}
				failed[t.name] = err
				continue
			}
			rates[t.name] = append(rates[t.name], rate)
		}
	}
	return table(l, rates, failed), nil
}

func turn(ctx context.Context, o options, l load, t tool, pids []int, dir string) (float64, error) {
	if t.begin == nil {
		return l.client(ctx, o.seconds)
	}
	cmd, err := t.begin(ctx, o, pids, dir)
	if cmd != nil {
		defer func() {
			_ = cmd.Process.Signal(os.Interrupt)
			ended := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
			_ = cmd.Wait()
			ended.Stop()
		}()
	}
	if err != nil {
		return 0, err
	}
	return l.client(ctx, o.seconds)
}

func table(l load, rates map[string][]float64, failed map[string]error) string {
	var out strings.Builder
	fmt.Fprintf(&out, "## %s\n\n| under | requests/s (median) | lowest to highest | share of untraced |\n| --- | ---: | ---: | ---: |\n", l.title)
	untraced := rates["untraced"]
	for _, t := range tools() {
		if err := failed[t.name]; err != nil {
			fmt.Fprintf(&out, "| %s | – | – | could not run: %s |\n", t.name, strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		r := rates[t.name]
		shares := make([]float64, len(r))
		for i := range r {
			shares[i] = r[i] / untraced[i]
		}
		fmt.Fprintf(&out, "| %s | %.0f | %.0f to %.0f | %.2f |\n", t.name, median(r), slices.Min(r), slices.Max(r), median(shares))
	}
	out.WriteString("\n")
	return out.String()
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
