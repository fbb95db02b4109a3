package tracer

// Family is one of the ways to hook the kernel.
type Family string

// The families, best first.
const (
	Fentry     Family = "fentry"     // fentry and fexit trampolines: cheapest, exact, see every nested hit
	Kprobe     Family = "kprobe"     // kprobes at function entries: nearly everywhere, lose nested hits
	Tracepoint Family = "tracepoint" // tracepoints with BTF only: what locked-down kernels leave
)

// Families returns all families, best first.
func Families() []Family { return []Family{Fentry, Kprobe, Tracepoint} }

// attachment is how one program is attached.
type attachment uint8

const (
	attachFentry attachment = iota
	attachFexit
	attachKprobe
	attachTracepoint
	attachPerf  // a tracepoint, by perf_event_open
	attachClock // a clock of each processor, by perf_event_open
)

// program is one BPF program of the object and what it needs of the kernel.
type program struct {
	name   string // in bpf/epwatch.bpf.c
	attach attachment
	target string // function or tracepoint; group/tracepoint where it is attached by perf
	// again names the program whose second witness this is, for kernels that may skip the first (bpf/epwatch.bpf.c).
	again string
	// unless names a program of the same way that does it better.
	unless string
}

// way is one family's way to see an event. All of its programs are needed, except those in extra, which add to what
// is seen where the kernel has them.
type way struct {
	family   Family
	programs []program
	extra    []program
	walks    bool   // finds watchers by walking wait queues, which needs the address of ep_poll_callback
	misses   string // what this way cannot see, for people
}

// hook is one event of the table and its ways, best first. An event whose ways all have the same programs (the
// tracepoints that exist everywhere) has one way under the name of the tracepoint family and counts for every family.
type hook struct {
	event string
	ways  []way
	// required: without it nothing useful can be said.
	required bool
	// everywhere: the one way serves all families.
	everywhere bool
	// packets: only wanted with Options.Packets.
	packets bool
	// turns: only wanted with Options.SlowTurn.
	turns bool
	// stacks: only wanted with Options.Stacks.
	stacks bool
}

func fentry(target string) program {
	return program{name: "fentry_" + target, attach: attachFentry, target: target}
}

func fexit(target string) program {
	return program{name: "fexit_" + target, attach: attachFexit, target: target}
}

func kprobe(target string) program {
	return program{name: "kprobe_" + target, attach: attachKprobe, target: target}
}

func tp(target string) program {
	return program{name: "tp_" + target, attach: attachTracepoint, target: target}
}

// again is a second witness of a program that is attached like the first.
func again(p program) program {
	p.name, p.again = p.name+"_again", p.name
	return p
}

// witnesses are the second witness of a tracepoint's program, and the one that has to do where tracefs is not there.
func witnesses(group string, p program) []program {
	perf := program{name: "perf_" + p.target, attach: attachPerf, target: group + "/" + p.target, again: p.name}
	second := again(p)
	second.unless = perf.name
	return []program{perf, second}
}

// hookTable says how each event can be had. It is a function, not a variable, so that nothing can change it.
func hookTable() []hook {
	return []hook{
		{event: "calls", required: true, everywhere: true, ways: []way{
			{family: Tracepoint, programs: []program{tp("sys_enter"), tp("sys_exit")},
				extra:  append(witnesses("raw_syscalls", tp("sys_enter")), witnesses("raw_syscalls", tp("sys_exit"))...),
				misses: "io_uring operations and 32-bit calls"},
		}},
		{event: "wakeup", required: true, ways: []way{
			{family: Fentry, programs: []program{fentry("ep_poll_callback")}},
			{family: Kprobe, programs: []program{kprobe("ep_poll_callback")}, misses: "wakeups that interrupt another probe's program"},
			{family: Tracepoint, walks: true,
				programs: []program{tp("sk_data_ready"), tp("inet_sock_set_state")},
				extra:    []program{tp("inet_sk_error_report")},
				misses:   "write-space wakeups and files that are not sockets"},
		}},
		{event: "woken", ways: []way{
			{family: Fentry, programs: []program{fentry("ep_autoremove_wake_function")}},
			{family: Kprobe, programs: []program{kprobe("ep_autoremove_wake_function")}, misses: "wakeups that interrupt another probe's program"},
			{family: Tracepoint, programs: []program{tp("sched_waking")}, misses: "why a thread woke (time-outs and signals wake as well)"},
		}},
		{event: "recv", required: true, ways: []way{
			{family: Fentry, programs: []program{fexit("inet_recvmsg"), fexit("inet6_recvmsg")},
				extra: []program{fexit("tcp_splice_read"), again(fexit("inet_recvmsg")), again(fexit("inet6_recvmsg"))}},
			{family: Kprobe, programs: []program{kprobe("tcp_recvmsg"), kprobe("tcp_cleanup_rbuf")},
				extra: []program{kprobe("tcp_splice_read")}, misses: "nothing known"},
			{family: Tracepoint, programs: []program{tp("sock_recv_length")}, extra: witnesses("sock", tp("sock_recv_length")), misses: "splice"},
			{family: Tracepoint, programs: []program{tp("tcp_rcv_space_adjust")}, misses: "receives of nothing (EAGAIN, end of stream)"},
		}},
		{event: "reset", ways: []way{
			{family: Fentry, programs: []program{fentry("tcp_send_active_reset")},
				extra: []program{fentry("tcp_v4_send_reset"), fentry("tcp_v6_send_reset")}},
			{family: Kprobe, programs: []program{kprobe("tcp_send_active_reset")},
				extra: []program{kprobe("tcp_v4_send_reset"), kprobe("tcp_v6_send_reset")}},
			{family: Tracepoint, programs: []program{tp("tcp_send_reset")}},
		}},
		{event: "state", required: true, everywhere: true, ways: []way{
			{family: Tracepoint, programs: []program{tp("inet_sock_set_state"), tp("tcp_destroy_sock")}},
		}},
		{event: "queued", ways: []way{
			{family: Fentry, programs: []program{fexit("inet_csk_complete_hashdance")}},
			{family: Kprobe, programs: []program{kprobe("inet_csk_complete_hashdance")}},
			{family: Tracepoint, programs: []program{tp("sk_data_ready")}, misses: "which connection it was"},
		}},
		{event: "release", ways: []way{
			{family: Fentry, programs: []program{fentry("tcp_close"), fentry("eventpoll_release_file")}},
			{family: Kprobe, programs: []program{kprobe("tcp_close"), kprobe("eventpoll_release_file")}},
		}},
		{event: "process", required: true, everywhere: true, ways: []way{
			{family: Tracepoint, programs: []program{
				tp("sched_process_fork"), tp("sched_process_exec"), tp("sched_process_exit"), tp("sched_process_free"), tp("signal_deliver"),
			}, extra: []program{again(tp("sched_process_exit"))}},
		}},
		{event: "sched", turns: true, everywhere: true, ways: []way{
			{family: Tracepoint, programs: []program{tp("sched_switch"), tp("sched_wakeup")},
				misses: "the turn that a thread is in when the observation begins"},
		}},
		{event: "samples", stacks: true, everywhere: true, ways: []way{
			{family: Tracepoint, programs: []program{{name: "perf_cpu_clock", attach: attachClock, target: "cpu_clock"}},
				misses: "what takes less than the hundredth of a second"},
		}},
		{event: "packet", packets: true, everywhere: true, ways: []way{
			{family: Tracepoint, programs: []program{tp("net_dev_queue"), tp("netif_receive_skb")}, misses: "TCP behind IPv6 extension headers"},
		}},
	}
}
