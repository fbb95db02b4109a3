// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Entry programs, in the order of an event's life. Each unpacks its arguments and calls the one body that its event
 * has; tracer/hooks.go chooses which of them are loaded. A program's name is its family and what it hooks.
 */
#include "kernel.h"
#include <bpf/bpf_tracing.h>
#include "emit.h"
#include "sched.h"
#include "socket.h"
#include "wakeup.h"
#include "calls.h"
#include "packet.h"
#include "snapshot.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

/*
 * The kernel skips a program that is already running on the processor (kernel/trace/bpf_trace.c, __bpf_trace_run), so a thread
 * that is preempted inside of one hides what the next threads do. Since 6.10 a program can keep that from happening but for its
 * first and last instructions.
 */
#define UNPREEMPTED(body)                                                                                              \
	({                                                                                                             \
		int result;                                                                                            \
                                                                                                                       \
		if (preemptible && bpf_preempt_disable)                                                                \
			bpf_preempt_disable();                                                                         \
		result = (body);                                                                                       \
		if (preemptible && bpf_preempt_disable)                                                                \
			bpf_preempt_enable();                                                                          \
		result;                                                                                                \
	})

/* bpf2go makes Go types of these; nothing else mentions them as a map's key or value. */
const struct call_event *unused_call_event __attribute__((unused));
const struct sock_event *unused_sock_event __attribute__((unused));
const struct packet_event *unused_packet_event __attribute__((unused));
const struct sched_event *unused_sched_event __attribute__((unused));
const struct sched_stack_event *unused_sched_stack_event __attribute__((unused));
const struct deliver_event *unused_deliver_event __attribute__((unused));

/* System calls. The tracepoints are the same on every kernel, and see each call's result even when it slept. */

SEC("tp_btf/sys_enter")
int BPF_PROG(tp_sys_enter, struct pt_regs *regs, long number)
{
	return UNPREEMPTED(call_entered(regs, number, 0));
}

SEC("tp_btf/sys_exit")
int BPF_PROG(tp_sys_exit, struct pt_regs *regs, long ret)
{
	return UNPREEMPTED(call_returned(regs, ret));
}

/*
 * The programs above can still be preempted in their first and last instructions, and a thread that was hides the next threads'
 * calls for as long as it has no processor. The second witnesses fill them in. They are attached by way of perf, which has
 * preemption off around its programs (include/trace/perf.h), so nothing but a bpf(2) call that is preempted on the same
 * processor hides a call from them. Whichever runs second finds nothing to do.
 */
SEC("tracepoint/raw_syscalls/sys_enter")
int perf_sys_enter(struct trace_event_raw_sys_enter *ctx)
{
	return call_entered((struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf()), ctx->id, 1);
}

SEC("tracepoint/raw_syscalls/sys_exit")
int perf_sys_exit(struct trace_event_raw_sys_exit *ctx)
{
	/* What the other has reported is no longer written down as under way. */
	return call_returned((struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf()), ctx->ret);
}

/* For want of tracefs, which tells how to attach those: preemptible ones, so that only two threads at once hide a call. */
SEC("tp_btf/sys_enter")
int BPF_PROG(tp_sys_enter_again, struct pt_regs *regs, long number)
{
	return UNPREEMPTED(call_entered(regs, number, 1));
}

SEC("tp_btf/sys_exit")
int BPF_PROG(tp_sys_exit_again, struct pt_regs *regs, long ret)
{
	return UNPREEMPTED(call_returned(regs, ret));
}

/* Wakeups. ep_poll_callback runs for every file that an epoll instance watches. */

SEC("fentry/ep_poll_callback")
int BPF_PROG(fentry_ep_poll_callback, struct wait_queue_entry *wait, unsigned int mode, int sync, void *key)
{
	return UNPREEMPTED(wakeup(wait, (__u64)key));
}

SEC("kprobe/ep_poll_callback")
int kprobe_ep_poll_callback(struct pt_regs *ctx)
{
	return UNPREEMPTED(wakeup((void *)PROBE_ARG1(ctx), PROBE_ARG4(ctx)));
}

/* The poll key of sock_def_readable: EPOLLIN | EPOLLPRI | EPOLLRDNORM | EPOLLRDBAND. */
#define READABLE_KEY 0xc3

static __always_inline int data_ready(struct sock *sk)
{
	if (!ready)
		return 0;
	if (queued_by_ready && READ(sk, __sk_common.skc_state) == TCP_LISTEN)
		connection_queued(sk, 0, 0);
	walk_watchers(sk, READABLE_KEY);
	return 0;
}

SEC("tp_btf/sk_data_ready")
int BPF_PROG(tp_sk_data_ready, struct sock *sk)
{
	return UNPREEMPTED(data_ready(sk));
}

static __always_inline int error_reported(struct sock *sk)
{
	if (ready)
		walk_watchers(sk, 0x8 /* EPOLLERR */);
	return 0;
}

SEC("tp_btf/inet_sk_error_report")
int BPF_PROG(tp_inet_sk_error_report, struct sock *sk)
{
	return UNPREEMPTED(error_reported(sk));
}

/* Which sleeper is picked. */

SEC("fentry/ep_autoremove_wake_function")
int BPF_PROG(fentry_ep_autoremove_wake_function, struct wait_queue_entry *wait)
{
	return UNPREEMPTED(sleeper_woken(READ(wait, private)));
}

SEC("kprobe/ep_autoremove_wake_function")
int kprobe_ep_autoremove_wake_function(struct pt_regs *ctx)
{
	struct wait_queue_entry *wait = (void *)PROBE_ARG1(ctx);

	return UNPREEMPTED(sleeper_woken(READ(wait, private)));
}

SEC("tp_btf/sched_waking")
int BPF_PROG(tp_sched_waking, struct task_struct *task)
{
	return UNPREEMPTED(sleeper_woken(task));
}

/* What a thread does when it does not wait. */

SEC("tp_btf/sched_switch")
int BPF_PROG(tp_sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	/* Since 5.18 (commit fa2c3254d7cf) the state of prev is the last argument. */
	return task_switched(preempt, prev, next, ctx);
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(tp_sched_wakeup, struct task_struct *task)
{
	return task_woken(task);
}

SEC("perf_event")
int perf_cpu_clock(void *ctx)
{
	return clock_ticked(ctx);
}

/* Receives. */

/* inet_recvmsg has the same four arguments on every kernel; tcp_recvmsg's fexit slot moves. */
SEC("fexit/inet_recvmsg")
int BPF_PROG(fexit_inet_recvmsg, struct socket *socket, void *msg, unsigned long size, int flags, int ret)
{
	return UNPREEMPTED(received(READ(socket, sk), ret, flags, 0));
}

SEC("fexit/inet6_recvmsg")
int BPF_PROG(fexit_inet6_recvmsg, struct socket *socket, void *msg, unsigned long size, int flags, int ret)
{
	return UNPREEMPTED(received(READ(socket, sk), ret, flags, 0));
}

/* Trampolines run with preemption on: the second witnesses, as for system calls. */
SEC("fexit/inet_recvmsg")
int BPF_PROG(fexit_inet_recvmsg_again, struct socket *socket, void *msg, unsigned long size, int flags, int ret)
{
	return UNPREEMPTED(received(READ(socket, sk), ret, flags, 1));
}

SEC("fexit/inet6_recvmsg")
int BPF_PROG(fexit_inet6_recvmsg_again, struct socket *socket, void *msg, unsigned long size, int flags, int ret)
{
	return UNPREEMPTED(received(READ(socket, sk), ret, flags, 1));
}

/* splice(2) from a socket never reaches recvmsg. */
SEC("fexit/tcp_splice_read")
int BPF_PROG(fexit_tcp_splice_read, struct socket *socket, void *offset, void *pipe, unsigned long size,
	     unsigned int flags, long ret)
{
	return UNPREEMPTED(received(READ(socket, sk), ret, 0, 0));
}

SEC("kprobe/tcp_recvmsg")
int kprobe_tcp_recvmsg(struct pt_regs *ctx)
{
	return UNPREEMPTED(receive_entered((struct sock *)PROBE_ARG1(ctx)));
}

SEC("kprobe/tcp_splice_read")
int kprobe_tcp_splice_read(struct pt_regs *ctx)
{
	struct socket *socket = (struct socket *)PROBE_ARG1(ctx);

	return UNPREEMPTED(receive_entered(READ(socket, sk)));
}

/* Carries the number of bytes, so that no return probe is needed: those lose most calls that sleep. */
SEC("kprobe/tcp_cleanup_rbuf")
int kprobe_tcp_cleanup_rbuf(struct pt_regs *ctx)
{
	return UNPREEMPTED(receive_result((struct sock *)PROBE_ARG1(ctx), (__s32)PROBE_ARG2(ctx)));
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(tp_sock_recv_length, struct sock *sk, int ret, int flags)
{
	return UNPREEMPTED(received(sk, ret, flags, 0));
}

SEC("tracepoint/sock/sock_recv_length")
int perf_sock_recv_length(struct trace_event_raw_sock_msg_length *ctx)
{
	return received(ctx->sk, ctx->ret, ctx->flags, 1);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(tp_sock_recv_length_again, struct sock *sk, int ret, int flags)
{
	return UNPREEMPTED(received(sk, ret, flags, 1));
}

SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(tp_tcp_rcv_space_adjust, struct sock *sk)
{
	return UNPREEMPTED(receive_progress(sk));
}

/* Connections: queued, changing state, reset, closed, gone. */

SEC("fexit/inet_csk_complete_hashdance")
int BPF_PROG(fexit_inet_csk_complete_hashdance, struct sock *sk, struct sock *child, void *req, bool own_req,
	     struct sock *ret)
{
	/* NULL: the queue was full, or another CPU was first. */
	return ret ? UNPREEMPTED(connection_queued(sk, child, 0)) : 0;
}

SEC("kprobe/inet_csk_complete_hashdance")
int kprobe_inet_csk_complete_hashdance(struct pt_regs *ctx)
{
	if (!(PROBE_ARG4(ctx) & 0xff))
		return 0; /* own_req: another CPU was first */
	/* It is about to be added. */
	return UNPREEMPTED(connection_queued((struct sock *)PROBE_ARG1(ctx), (struct sock *)PROBE_ARG2(ctx), 1));
}

static __always_inline int state_set(struct sock *sk, int old, int new)
{
	if (READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	sock_state(sk, old, new);
	/* sock_def_wakeup follows each of these with a NULL key; a closing file has no watcher left to find. */
	if (ready)
		walk_watchers(sk, 0);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tp_inet_sock_set_state, struct sock *sk, int old, int new)
{
	return UNPREEMPTED(state_set(sk, old, new));
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tp_tcp_destroy_sock, struct sock *sk)
{
	return UNPREEMPTED(sock_destroyed(sk));
}

SEC("fentry/tcp_send_active_reset")
int BPF_PROG(fentry_tcp_send_active_reset, struct sock *sk)
{
	__u32 reason = RESET_UNKNOWN;

	/* The second argument was gfp_t alone, then the reason, and in between both (6.18). */
	if (reset_reason_arg == 1)
		reason = reset_reason((__u32)ctx[1]);
	else if (reset_reason_arg == 2)
		reason = reset_reason((__u32)ctx[2]);
	return UNPREEMPTED(reset_sent(sk, reason));
}

SEC("kprobe/tcp_send_active_reset")
int kprobe_tcp_send_active_reset(struct pt_regs *ctx)
{
	__u32 reason = RESET_UNKNOWN;

	if (reset_reason_arg == 1)
		reason = reset_reason(PROBE_ARG2(ctx));
	else if (reset_reason_arg == 2)
		reason = reset_reason(PROBE_ARG3(ctx));
	return UNPREEMPTED(reset_sent((struct sock *)PROBE_ARG1(ctx), reason));
}

/* Resets in answer to a segment. */

SEC("fentry/tcp_v4_send_reset")
int BPF_PROG(fentry_tcp_v4_send_reset, struct sock *sk)
{
	return UNPREEMPTED(reset_sent(sk, RESET_OTHER));
}

SEC("fentry/tcp_v6_send_reset")
int BPF_PROG(fentry_tcp_v6_send_reset, struct sock *sk)
{
	return UNPREEMPTED(reset_sent(sk, RESET_OTHER));
}

SEC("kprobe/tcp_v4_send_reset")
int kprobe_tcp_v4_send_reset(struct pt_regs *ctx)
{
	return UNPREEMPTED(reset_sent((struct sock *)PROBE_ARG1(ctx), RESET_OTHER));
}

SEC("kprobe/tcp_v6_send_reset")
int kprobe_tcp_v6_send_reset(struct pt_regs *ctx)
{
	return UNPREEMPTED(reset_sent((struct sock *)PROBE_ARG1(ctx), RESET_OTHER));
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(tp_tcp_send_reset, struct sock *sk, struct sk_buff *skb)
{
	__u32 reason = RESET_UNKNOWN;

	/* Since 6.10 the tracepoint has a third argument, and may pass no socket. */
	if (bpf_core_type_exists(enum sk_rst_reason))
		reason = reset_reason((__u32)ctx[2]);
	return UNPREEMPTED(reset_sent(sk, reason));
}

SEC("fentry/tcp_close")
int BPF_PROG(fentry_tcp_close, struct sock *sk)
{
	return UNPREEMPTED(sock_closing(sk));
}

SEC("kprobe/tcp_close")
int kprobe_tcp_close(struct pt_regs *ctx)
{
	return UNPREEMPTED(sock_closing((struct sock *)PROBE_ARG1(ctx)));
}

SEC("fentry/eventpoll_release_file")
int BPF_PROG(fentry_eventpoll_release_file, struct file *file)
{
	return UNPREEMPTED(watched_file_closing(file));
}

SEC("kprobe/eventpoll_release_file")
int kprobe_eventpoll_release_file(struct pt_regs *ctx)
{
	return UNPREEMPTED(watched_file_closing((struct file *)PROBE_ARG1(ctx)));
}

/* Processes. */

SEC("tp_btf/sched_process_fork")
int BPF_PROG(tp_sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	return UNPREEMPTED(process_forked(parent, child));
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(tp_sched_process_exec)
{
	return UNPREEMPTED(process_executed());
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(tp_sched_process_exit, struct task_struct *task)
{
	return UNPREEMPTED(thread_exited(task));
}

/* The second witness; it must run second, so it is not perf's. The threads of a process that is killed all end at once. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(tp_sched_process_exit_again, struct task_struct *task)
{
	return UNPREEMPTED(thread_exited_again(task));
}

SEC("tp_btf/sched_process_free")
int BPF_PROG(tp_sched_process_free, struct task_struct *task)
{
	return UNPREEMPTED(task_freed(task));
}

SEC("tp_btf/signal_deliver")
int BPF_PROG(tp_signal_deliver, int signal)
{
	return UNPREEMPTED(signal_delivered(signal));
}

/* Segments. */

SEC("tp_btf/net_dev_queue")
int BPF_PROG(tp_net_dev_queue, struct sk_buff *skb)
{
	return UNPREEMPTED(segment_sent(skb));
}

SEC("tp_btf/netif_receive_skb")
int BPF_PROG(tp_netif_receive_skb, struct sk_buff *skb)
{
	return UNPREEMPTED(segment_received(skb));
}

/* What exists. */

SEC("iter/task_file")
int iter_own_files(struct bpf_iter__task_file *ctx)
{
	return list_own_file(ctx);
}

SEC("iter/task_file")
int iter_target_files(struct bpf_iter__task_file *ctx)
{
	return snapshot_file(ctx);
}

const struct listed_file *unused_listed_file __attribute__((unused));

/* The wire's enums, kept in BTF for the test that compares them with internal/event. */
const enum event_kind *unused_event_kind __attribute__((unused));
const enum event_flag *unused_event_flag __attribute__((unused));
const enum call_id *unused_call_id __attribute__((unused));
const enum reset_reason *unused_reset_reason __attribute__((unused));
const enum drop_place *unused_drop_place __attribute__((unused));
