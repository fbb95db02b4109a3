/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* System calls of the target: remembered at entry, reported at return with what the kernel did in between. */
#ifndef EPWATCH_CALLS_H
#define EPWATCH_CALLS_H

#include "sched.h"
#include "socket.h"
#include "syscalls.h"

#define DELIVER_MAX 1024 /* items of one epoll_wait that are reported; more are counted as lost */
#define EPOLL_CTL_ADD 1
#define EPOLL_CTL_DEL 2
#define F_DUPFD 0
#define CLOSE_RANGE_CLOEXEC 4
#define F_DUPFD_CLOEXEC 1030
#define NSEC_PER_MSEC 1000000ll
#define NSEC_PER_SEC 1000000000ll

/* Until 5.12 (commit 319c15174757) a file held the list head itself. */
struct file___list {
	struct list_head f_ep_links;
} __attribute__((preserve_access_index));

struct file___head {
	void *f_ep;
} __attribute__((preserve_access_index));

/* Whether any epoll instance watches the file. */
static __always_inline bool is_watched(struct file *file)
{
	struct file___head *now = (void *)file;

	if (bpf_core_field_exists(now->f_ep))
		return READ(now, f_ep) != 0;
	if (bpf_core_field_exists(((struct file___list *)0)->f_ep_links)) {
		struct list_head *head = (void *)file + bpf_core_field_offset(struct file___list, f_ep_links);

		return READ(head, next) != head;
	}
	return 0;
}

static __always_inline struct file *file_of(__s32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = READ(task, files, fdt);
	struct list_head *slot;

	if (!table || fd < 0 || (__u32)fd >= READ(table, max_fds))
		return 0;
	/* A struct that begins with a pointer, because READ wants one. */
	slot = (struct list_head *)(READ(table, fd) + fd);
	return (struct file *)READ(slot, next);
}

/*
 * Who holds the epoll instance behind a file. The first to be seen with it stays its owner, unless it is new: then what is known
 * of its address belongs to an instance that ended unseen, as those of a process do that was killed.
 */
static __always_inline __u64 instance_of(struct file *file, __u32 pid, __s32 epfd, bool is_new)
{
	struct instance instance = { .pid = pid, .epfd = epfd };
	__u64 ep;

	if (!file || (__u64)READ(file, f_op) != eventpoll_fops)
		return 0;
	ep = (__u64)READ(file, private_data);
	if (!ep || (!is_new && bpf_map_lookup_elem(&instances, &ep)))
		return ep;
	if (bpf_map_update_elem(&instances, &ep, &instance, BPF_ANY))
		count_drop(DROP_INSTANCES, 1);
	return ep;
}

static __always_inline void name_file(struct call *c, __s32 fd)
{
	struct file *file = file_of(fd);
	struct sock *sk;

	c->fd = fd;
	c->file = (__u64)file;
	if (!file)
		return;
	sk = file_sock(file);
	if (sk) {
		c->sock = (__u64)sk;
		c->flags |= FLAG_IS_SOCKET;
	}
	if ((__u64)READ(file, f_op) == eventpoll_fops) {
		c->flags |= FLAG_IS_EPOLL;
		c->epoll = (__u64)READ(file, private_data);
	}
	if (READ(file, f_flags) & O_NONBLOCK)
		c->flags |= FLAG_NONBLOCK;
}

/* Log files and the like are nobody's concern here. */
static __always_inline bool is_interesting(struct call *c)
{
	struct sock *sk = (struct sock *)c->sock;

	if (!is_wanted_fd(c->fd))
		return 0;
	if (only_port && !(c->flags & FLAG_IS_EPOLL) && !(sk && is_inet(sk) && is_wanted_port(sk)))
		return 0;
	if (c->flags & (FLAG_IS_SOCKET | FLAG_IS_EPOLL))
		return 1;
	return c->file && is_watched((struct file *)c->file);
}

static __always_inline void read_wanted_event(struct call *c, __u64 user)
{
	if (bpf_probe_read_user(&c->events, sizeof(c->events), (void *)user) ||
	    bpf_probe_read_user(&c->data, sizeof(c->data), (void *)(user + USER_EPOLL_DATA_OFFSET)))
		count_drop(DROP_READS, 1);
}

static __always_inline __s64 wait_timeout(__u8 call, __u64 argument)
{
	__s64 spec[2];

	if (call != CALL_EPOLL_PWAIT2)
		return (__s32)argument < 0 ? -1 : (__s32)argument * NSEC_PER_MSEC;
	if (!argument || bpf_probe_read_user(spec, sizeof(spec), (void *)argument))
		return -1;
	return spec[0] * NSEC_PER_SEC + spec[1];
}

static __always_inline void emit_wait_enter(struct call *c, __u32 pid, __u32 tid, __u32 maxevents)
{
	struct call_event *e = reserve_short(KIND_WAIT_ENTER, pid, tid);

	if (!e)
		return;
	e->epoll = c->epoll;
	e->epfd = c->epfd;
	e->data = c->data;
	e->events = maxevents;
	e->call = c->call;
	submit(e);
}

/* Fills what the return needs of the arguments; false when the call concerns nothing that is followed. */
static __always_inline bool remember_arguments(struct call *c, __u8 call, __u64 *a, __u32 pid)
{
	switch (call) {
	case CALL_EPOLL_CREATE:
	case CALL_EPOLL_CREATE1: return 1;
	case CALL_EPOLL_CTL:
		c->epfd = a[0];
		c->op = a[1];
		name_file(c, a[2]);
		c->epoll = instance_of(file_of(c->epfd), pid, c->epfd, 0);
		if (c->op != EPOLL_CTL_DEL)
			read_wanted_event(c, a[3]);
		return 1;
	case CALL_EPOLL_WAIT:
	case CALL_EPOLL_PWAIT:
	case CALL_EPOLL_PWAIT2:
		c->epfd = a[0];
		c->pointer = a[1];
		c->epoll = instance_of(file_of(c->epfd), pid, c->epfd, 0);
		c->data = wait_timeout(call, a[3]);
		return 1;
	case CALL_FCNTL:
		if (a[1] != F_DUPFD && a[1] != F_DUPFD_CLOEXEC)
			return 0;
		break;
	case CALL_RECVFROM:
	case CALL_RECVMMSG:
		if (a[3] & MSG_PEEK)
			c->flags |= FLAG_PEEK;
		break;
	case CALL_RECVMSG:
		if (a[2] & MSG_PEEK)
			c->flags |= FLAG_PEEK;
		break;
	case CALL_SENDFILE:
		/* sendfile(out, in): the socket is the written side. */
		break;
	case CALL_SHUTDOWN: c->op = a[1]; break;
	case CALL_CLOSE_RANGE:
		/* With CLOSE_RANGE_CLOEXEC nothing is closed yet. */
		c->fd = a[0];
		c->data = (__u32)a[1];
		return !(a[2] & CLOSE_RANGE_CLOEXEC);
	}
	name_file(c, a[0]);
	return is_interesting(c);
}

/* Says once for each process that it has calls which are not followed. */
static __always_inline void tell_unseen(__u32 pid, __u32 tid, __u8 call, __u16 flags)
{
	__u32 *told = bpf_map_lookup_elem(&targets, &pid);
	__u32 class = flags ? 2 : 1;
	struct call_event *e;

	if (!told || *told & class)
		return;
	*told |= class;
	e = reserve_short(KIND_UNSEEN, pid, tid);
	if (!e)
		return;
	e->call = call;
	e->flags = flags;
	submit(e);
}

/*
 * The queue is looked at after the record got its time, here and wherever a record tells what is left: so of two threads that
 * read at once the later record has the later look, and what comes in between has a wakeup of its own.
 */
static __always_inline void emit_recv(struct sock *sk, __u32 pid, __u32 tid, __s32 ret, __u16 flags)
{
	struct call_event *e = reserve_call(KIND_RECV, pid, tid);
	struct backlog b;

	if (!e)
		return;
	b = tcp_backlog(sk);
	e->sock = (__u64)sk;
	e->file = (__u64)READ(sk, sk_socket, file);
	e->ret = ret;
	e->unread = b.unread;
	e->flags = flags | b.flags | FLAG_IS_SOCKET;
	submit(e);
}

static __always_inline void flush_received(struct call *c, __u32 pid, __u32 tid)
{
	if (c->rx_done)
		emit_recv((struct sock *)c->rx_sock, pid, tid, c->rx_ret, c->rx_flags);
	c->rx_done = 0;
	c->rx_open = 0;
}

/* Where a target's thread has its calls written down, one after the other. */
static __always_inline struct call *place_of_calls(__u64 id)
{
	struct call *c = bpf_map_lookup_elem(&calls, &id);
	struct call none = {};

	if (c)
		return c;
	if (!is_target(id >> 32))
		return 0;
	if (bpf_map_update_elem(&calls, &id, &none, BPF_NOEXIST))
		count_drop(DROP_CALLS, 1);
	return bpf_map_lookup_elem(&calls, &id);
}

/*
 * Where a program may be skipped two of them see each entry, in an order that is not ours to choose: perf's comes first where
 * another tool uses the tracepoint already. Neither sees an entry twice, so an open call that one has seen is over for it.
 */
static __always_inline bool entered_already(struct call *c, long number, const __u32 witness)
{
	if (!preemptible || !c->call || c->number != number || c->entered & 1 << witness)
		return 0;
	c->entered |= 1 << witness;
	return 1;
}

static __always_inline int call_entered(struct pt_regs *regs, long number, const __u32 witness)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 pid = id >> 32;
	struct call *c;
	__u64 a[4];
	__u8 call;

	if (!ready || !maybe_target(pid))
		return 0;
	if (compat_call()) {
		tell_unseen(pid, id, CALL_NONE, FLAG_COMPAT);
		return 0;
	}
	call = call_of(number);
	if (!call)
		return 0;
	if (call == CALL_IO_URING_ENTER) {
		tell_unseen(pid, id, call, 0);
		return 0;
	}
	c = place_of_calls(id);
	if (!c || entered_already(c, number, witness))
		return 0;
	if (c->rx_done)
		flush_received(c, pid, id); /* the return from that call was not seen */
	__builtin_memset(c, 0, sizeof(*c));
	c->number = number;
	c->entered = 1 << witness;
	c->fd = -1;
	c->epfd = -1;
	call_arguments(regs, a);
	if (!remember_arguments(c, call, a, pid))
		return 0;
	c->start = bpf_ktime_get_ns();
	/* Last: whoever wakes the thread reads the rest. That is after the thread went to sleep, so it sees all of it. */
	c->call = call;
	if (is_wait(call)) {
		turn_ends(pid, id);
		emit_wait_enter(c, pid, id, a[2]);
	}
	return 0;
}

/*
 * A receive that is reported by the function that made it, with its result. Two programs may see each, and either may be
 * skipped (see perf_sys_enter): the one that counts further than what was told tells it.
 */
static __always_inline int received(struct sock *sk, __s32 ret, __u32 msg_flags, const __u32 witness)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u16 flags = msg_flags & MSG_PEEK ? FLAG_PEEK : 0;
	struct call *c;

	if (!ready || !sk || !maybe_target(id >> 32) || !is_tcp(sk) || !is_wanted_port(sk))
		return 0;
	c = open_call(id);
	if (!c && (number_of_fds || witness || !is_target(id >> 32)))
		return 0; /* a call on a descriptor that is not wanted, or none: then one witness has to do */
	if (!c) {
		emit_recv(sk, id >> 32, id, ret, flags);
		return 0;
	}
	if (++c->rx_seen[witness] <= c->rx_told)
		return 0;
	c->rx_told = c->rx_seen[witness];
	flush_received(c, id >> 32, id);
	c->rx_sock = (__u64)sk;
	c->rx_ret = ret;
	c->rx_flags = flags;
	c->rx_done = 1;
	return 0;
}

/*
 * Receives put together from parts: the entry of the receiving function, then one or more results, of which the last
 * before the call's return counts (a blocking reader cleans up each time before it sleeps, net/ipv4/tcp.c).
 */
static __always_inline int receive_entered(struct sock *sk)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call *c;

	if (!ready || !maybe_target(id >> 32))
		return 0;
	c = open_call(id);
	if (!c)
		return 0;
	flush_received(c, id >> 32, id);
	c->rx_sock = (__u64)sk;
	c->rx_open = 1;
	return 0;
}

static __always_inline int receive_result(struct sock *sk, __s32 copied)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call *c;

	if (!ready || !is_target(id >> 32))
		return 0;
	c = open_call(id);
	if (!c) {
		/* No call of this thread: io_uring, or a program that began before. */
		emit_recv(sk, id >> 32, id, copied, 0);
		return 0;
	}
	if (!c->rx_open || c->rx_sock != (__u64)sk)
		return 0;
	c->rx_ret = copied;
	c->rx_flags = c->flags & FLAG_PEEK;
	c->rx_done = 1;
	return 0;
}

/* tcp_rcv_space_adjust comes after each piece copied; how much it was shows in copied_seq. */
static __always_inline int receive_progress(struct sock *sk)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct known_sock *known;
	__u32 copied_seq, moved;
	struct call *c;

	if (!ready || !is_target(id >> 32))
		return 0;
	known = find_sock(sk);
	c = open_call(id);
	if (!known || !c)
		return 0;
	copied_seq = READ((struct tcp_sock *)sk, copied_seq);
	moved = copied_seq - known->copied_seq;
	known->copied_seq = copied_seq;
	if (c->rx_done && c->rx_sock != (__u64)sk)
		flush_received(c, id >> 32, id);
	c->rx_ret = (c->rx_done ? c->rx_ret : 0) + moved;
	c->rx_sock = (__u64)sk;
	c->rx_flags = c->flags & FLAG_PEEK;
	c->rx_done = 1;
	return 0;
}

/* Always inlined with a constant room, which the ring buffer and the verifier both need. */
static __always_inline void emit_deliveries_in(const __u32 room, struct call *c, __u32 pid, __u32 tid, __s32 ret,
					       __u32 n)
{
	struct deliver_event *e = bpf_ringbuf_reserve(&events, sizeof(*e) + room * USER_EPOLL_EVENT_SIZE, 0);
	__u64 bytes = (__u64)n * USER_EPOLL_EVENT_SIZE;

	if (!e) {
		count_lost_records(n + is_wanted(KIND_WAIT_RETURN));
		return;
	}
	fill_header(&e->h, KIND_DELIVER, pid, tid);
	e->epoll = c->epoll;
	e->start = is_wanted(KIND_WAIT_RETURN) ? c->start : 0;
	e->epfd = c->epfd;
	e->ret = ret;
	e->number = n;
	e->call = c->call;
	/* The compiler knows the bound and would drop the check that the verifier needs. */
	asm volatile("" : "+r"(bytes));
	if (bytes > room * USER_EPOLL_EVENT_SIZE)
		bytes = room * USER_EPOLL_EVENT_SIZE;
	if (bpf_probe_read_user(e + 1, bytes, (void *)c->pointer)) {
		e->number = 0;
		count_drop(DROP_READS, n);
	}
	submit(e);
}

static __always_inline void emit_deliveries(struct call *c, __u32 pid, __u32 tid, __s32 ret)
{
	__u32 n = ret;

	if (n > DELIVER_MAX) {
		count_drop(DROP_DELIVERIES, n - DELIVER_MAX);
		n = DELIVER_MAX;
	}
	if (n <= 4)
		emit_deliveries_in(4, c, pid, tid, ret, n);
	else if (n <= 32)
		emit_deliveries_in(32, c, pid, tid, ret, n);
	else if (n <= 128)
		emit_deliveries_in(128, c, pid, tid, ret, n);
	else
		emit_deliveries_in(DELIVER_MAX, c, pid, tid, ret, n);
}

static __always_inline __u16 kind_of(__u8 call)
{
	switch (call) {
	case CALL_EPOLL_CREATE:
	case CALL_EPOLL_CREATE1: return KIND_EPOLL_CREATE;
	case CALL_EPOLL_CTL: return KIND_EPOLL_CTL;
	case CALL_EPOLL_WAIT:
	case CALL_EPOLL_PWAIT:
	case CALL_EPOLL_PWAIT2: return KIND_WAIT_RETURN;
	case CALL_READ:
	case CALL_READV:
	case CALL_RECVFROM:
	case CALL_RECVMSG:
	case CALL_RECVMMSG:
	case CALL_PREADV2:
	case CALL_SPLICE: return KIND_READ;
	case CALL_WRITE:
	case CALL_WRITEV:
	case CALL_SENDTO:
	case CALL_SENDMSG:
	case CALL_SENDMMSG:
	case CALL_PWRITEV2:
	case CALL_SENDFILE: return KIND_WRITE;
	case CALL_ACCEPT:
	case CALL_ACCEPT4: return KIND_ACCEPT;
	case CALL_CLOSE:
	case CALL_CLOSE_RANGE: return KIND_CLOSE;
	case CALL_DUP:
	case CALL_DUP2:
	case CALL_DUP3:
	case CALL_FCNTL: return KIND_DUP;
	case CALL_SHUTDOWN: return KIND_SHUTDOWN;
	default: return KIND_NONE;
	}
}

/* What a successful call added to the set of things that are followed. */
static __always_inline void adopt_result(struct call *c, __u32 pid, __s64 ret, __u64 *new_file)
{
	struct file *file;
	struct sock *sk;

	switch (c->call) {
	case CALL_EPOLL_CREATE:
	case CALL_EPOLL_CREATE1:
		c->epfd = ret;
		file = file_of(ret);
		c->file = (__u64)file;
		c->epoll = instance_of(file, pid, ret, 1);
		return;
	case CALL_EPOLL_CTL:
		if (!c->sock)
			return;
		sk = (struct sock *)c->sock;
		if (has_tcp_state(sk))
			adopt_sock(sk, pid, (struct file *)c->file, c->fd);
		else if (c->op == EPOLL_CTL_ADD)
			tell_sock(sk, pid, (struct file *)c->file, c->fd);
		return;
	case CALL_ACCEPT:
	case CALL_ACCEPT4:
		file = file_of(ret);
		*new_file = (__u64)file;
		c->sock = (__u64)file_sock(file);
		if (c->sock)
			adopt_sock((struct sock *)c->sock, pid, file, ret);
		return;
	case CALL_CLOSE:
		/* Should a duplicate live on, the next call on it brings the instance back. */
		if (c->flags & FLAG_IS_EPOLL) {
			__u64 ep = c->epoll;

			bpf_map_delete_elem(&instances, &ep);
		}
		return;
	}
}

/* Whether the read's record tells of the receive inside it, too. */
static __always_inline bool carries_receive(struct call *c)
{
	return c->rx_done && c->rx_sock == c->sock && kind_of(c->call) == KIND_READ && is_wanted(KIND_READ) &&
	       is_wanted(KIND_RECV);
}

/*
 * ADD and MOD queue an item that is readable already, without any wakeup (ep_insert, ep_modify). Messages have no receive that
 * tells what a call has left.
 */
static __always_inline bool tells_backlog(struct call *c, __s64 ret)
{
	if (c->call == CALL_EPOLL_CTL)
		return !ret;
	return ret >= 0 && kind_of(c->call) == KIND_READ && !is_tcp((struct sock *)c->sock);
}

static __always_inline void emit_call(struct call *c, __u32 pid, __u32 tid, __s64 ret, __u64 new_file)
{
	bool carries = carries_receive(c);
	struct call_event *e;

	if (!carries)
		flush_received(c, pid, tid);
	c->rx_done = 0;
	e = reserve_call(kind_of(c->call), pid, tid);
	if (!e) {
		if (carries)
			count_lost_records(1);
		return;
	}
	e->epoll = new_file ? new_file : c->epoll;
	e->data = c->data;
	e->fd = c->fd;
	e->epfd = c->epfd;
	e->events = c->events;
	e->flags = c->flags;
	e->call = c->call;
	e->op = c->op;
	e->file = c->file;
	e->sock = c->sock;
	e->start = c->start;
	e->ret = ret;
	if (carries) {
		struct backlog b = tcp_backlog((struct sock *)c->sock);

		e->op = OP_RECEIVED;
		e->data = (__s64)c->rx_ret;
		e->unread = b.unread;
		e->events = c->rx_flags | b.flags;
	} else if (c->sock && tells_backlog(c, ret)) {
		struct backlog b = sock_backlog((struct sock *)c->sock);

		e->unread = b.unread;
		e->flags |= b.flags;
	}
	submit(e);
}

static __always_inline int call_returned(struct pt_regs *regs, __s64 ret)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 pid = id >> 32;
	__u64 new_file = 0;
	__u32 number;
	struct call *c;

	if (!ready || !maybe_target(pid))
		return 0;
	number = call_number(regs);
	if (!call_of(number))
		return 0; /* as most calls of many programs: cheaper than to look for one that is open */
	c = open_call(id);
	/* A call that was written down from outside, at the snapshot, may have returned before it was. */
	if (!c || c->number != number)
		return 0;
	if (ret >= 0)
		adopt_result(c, pid, ret, &new_file);
	if (is_wait(c->call) && ret > 0 && is_wanted(KIND_DELIVER))
		emit_deliveries(c, pid, id, ret);
	else if (c->call != CALL_CONNECT)
		emit_call(c, pid, id, ret, new_file);
	if (is_wait(c->call))
		turn_begins(id, regs);
	c->call = CALL_NONE;
	return 0;
}

/* The life of threads and processes. */

static __always_inline int process_forked(struct task_struct *parent, struct task_struct *child)
{
	__u32 pid = READ(parent, tgid);
	__u32 child_pid = READ(child, tgid);
	struct call_event *e;

	if (!ready || pid == child_pid || !is_target(pid))
		return 0;
	if (follow_children)
		add_target(child_pid);
	e = reserve_call(KIND_FORK, pid, READ(parent, pid));
	if (!e)
		return 0;
	e->ret = child_pid;
	submit(e);
	return 0;
}

/* Whether the thread runs a program of the name that was asked for. */
static __always_inline bool has_target_comm(void)
{
	char comm[16] = {};
	int i;

	if (!target_comm[0] || bpf_get_current_comm(comm, sizeof(comm)))
		return 0;
	for (i = 0; i < 16; i++) {
		if (comm[i] != target_comm[i])
			return 0;
		if (!comm[i])
			break;
	}
	return 1;
}

static __always_inline int process_executed(void)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 pid = id >> 32;
	struct call_event *e;

	if (!ready)
		return 0;
	if (has_target_comm())
		add_target(pid);
	if (!is_target(pid))
		return 0;
	e = reserve_short(KIND_EXEC, id >> 32, id);
	if (e)
		submit(e);
	return 0;
}

static __always_inline int thread_exited(struct task_struct *task)
{
	__u32 pid = READ(task, tgid);
	__u32 tid = READ(task, pid);
	__u64 id = (__u64)pid << 32 | tid;
	struct call_event *e;
	struct call *c;
	__u8 told = 1;

	if (!ready || !is_target(pid))
		return 0;
	c = open_call(id);
	if (c)
		flush_received(c, pid, tid); /* killed inside a call that had received */
	bpf_map_delete_elem(&calls, &id);
	turns_over(pid, tid);
	if (preemptible)
		bpf_map_update_elem(&exited, &id, &told, BPF_ANY);
	e = reserve_call(KIND_EXIT, pid, tid);
	if (!e)
		return 0;
	e->ret = READ(task, exit_code);
	/* do_exit lowers the count before it gets here. */
	if (!READ(task, signal, live.counter))
		e->flags = FLAG_LAST;
	submit(e);
	return 0;
}

static __always_inline int thread_exited_again(struct task_struct *task)
{
	__u64 id = (__u64)READ(task, tgid) << 32 | READ(task, pid);

	if (!ready || !is_target(id >> 32) || !bpf_map_delete_elem(&exited, &id))
		return 0;
	thread_exited(task);
	bpf_map_delete_elem(&exited, &id);
	return 0;
}

/* Sockets are closed after sched_process_exit, so the process stays a target until its leader is freed. */
static __always_inline int task_freed(struct task_struct *task)
{
	__u32 pid = READ(task, tgid);

	if (pid == READ(task, pid))
		bpf_map_delete_elem(&targets, &pid);
	return 0;
}

static __always_inline int signal_delivered(int signal)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call_event *e;

	if (!ready || !is_target(id >> 32))
		return 0;
	e = reserve_short(KIND_SIGNAL, id >> 32, id);
	if (!e)
		return 0;
	e->key = signal;
	submit(e);
	return 0;
}

#endif
