/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Sockets: what is unread in them, whose they are, and their states, resets and last closes. */
#ifndef EPWATCH_SOCKET_H
#define EPWATCH_SOCKET_H

#include "emit.h"

struct backlog {
	__u32 unread;
	__u16 flags;
};

static __always_inline struct sock *file_sock(struct file *file)
{
	struct socket *socket;

	if (!file || (__u64)READ(file, f_op) != socket_fops)
		return 0;
	socket = READ(file, private_data);
	return socket ? READ(socket, sk) : 0;
}

static __always_inline bool is_inet(struct sock *sk)
{
	__u16 family = READ(sk, __sk_common.skc_family);

	return family == AF_INET || family == AF_INET6;
}

static __always_inline bool is_tcp(struct sock *sk)
{
	return is_inet(sk) && READ(sk, sk_protocol) == IPPROTO_TCP;
}

/* Whether it is in one of TCP's states; other sockets borrow their numbers for less. */
static __always_inline bool has_tcp_state(struct sock *sk)
{
	__u16 protocol = READ(sk, sk_protocol);

	return is_inet(sk) && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP);
}

/* tcp_inq() of include/net/tcp.h, less urgent data: the FIN takes a sequence number but is no byte to read. */
static __always_inline struct backlog tcp_backlog(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct backlog b = {};
	__u8 state = READ(sk, __sk_common.skc_state);

	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV)
		return b; /* a minisock has no queue */
	b.flags = FLAG_HAS_UNREAD;
	if (state == TCP_LISTEN) {
		b.unread = READ(sk, sk_ack_backlog);
		b.flags |= FLAG_LISTENER;
		return b;
	}
	if (state == TCP_SYN_SENT || state == TCP_SYN_RECV)
		return b;
	b.unread = READ(tp, rcv_nxt) - READ(tp, copied_seq);
	if (READ(sk, __sk_common.skc_flags) & (1ull << bpf_core_enum_value(enum sock_flags, SOCK_DONE))) {
		b.flags |= FLAG_FIN;
		if (b.unread) {
			b.unread--;
			b.flags |= FLAG_FIN_UNREAD;
		}
	}
	return b;
}

/* Counts messages and not bytes: that is what lies in the queue, and adding up their lengths would take its lock. */
static __always_inline struct backlog message_backlog(struct sock *sk)
{
	struct backlog b = { .flags = FLAG_HAS_UNREAD };

	b.unread = READ(sk, sk_receive_queue.qlen);
	if (READ(sk, __sk_common.skc_family) != AF_UNIX)
		b.unread +=
			READ((struct udp_sock *)sk, reader_queue.qlen); /* what a reader took over, net/ipv4/udp.c */
	else if (READ(sk, __sk_common.skc_state) == TCP_LISTEN)
		b.flags |= FLAG_LISTENER; /* each connection lies there as one message, net/unix/af_unix.c */
	return b;
}

static __always_inline bool is_udp(struct sock *sk)
{
	/* A raw socket may have UDP's number as well. */
	return is_inet(sk) && READ(sk, sk_protocol) == IPPROTO_UDP && READ(sk, sk_type) == SOCK_DGRAM;
}

static __always_inline struct backlog sock_backlog(struct sock *sk)
{
	struct backlog none = {};

	if (is_tcp(sk))
		return tcp_backlog(sk);
	if (READ(sk, __sk_common.skc_family) == AF_UNIX || is_udp(sk))
		return message_backlog(sk);
	/* A listening MPTCP socket is a shell: the connections wait at its first subflow (net/mptcp/protocol.h). */
	if (READ(sk, sk_protocol) == IPPROTO_MPTCP && bpf_core_type_exists(struct mptcp_sock)) {
		struct sock *first = READ((struct mptcp_sock *)sk, first);

		if (first && READ(first, __sk_common.skc_state) == TCP_LISTEN)
			return tcp_backlog(first);
	}
	return none;
}

/* The thread whose doing this is, if the context belongs to the process; interrupts borrow any thread's. */
static __always_inline __u32 own_thread(__u32 pid)
{
	__u64 id = bpf_get_current_pid_tgid();

	return id >> 32 == pid ? (__u32)id : 0;
}

static __always_inline __u16 exiting_flag(__u32 tid)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return tid && READ(task, flags) & PF_EXITING ? FLAG_DEAD : 0;
}

static __always_inline void copy_address(__u8 *to, struct sock *sk, bool peer)
{
	if (READ(sk, __sk_common.skc_family) == AF_INET6) {
		if (peer)
			BPF_CORE_READ_INTO((struct in6_addr *)to, sk, __sk_common.skc_v6_daddr);
		else
			BPF_CORE_READ_INTO((struct in6_addr *)to, sk, __sk_common.skc_v6_rcv_saddr);
		return;
	}
	if (peer)
		BPF_CORE_READ_INTO((__be32 *)to, sk, __sk_common.skc_daddr);
	else
		BPF_CORE_READ_INTO((__be32 *)to, sk, __sk_common.skc_rcv_saddr);
}

static __always_inline void emit_sock(__u16 kind, struct sock *sk, __u32 pid, __u8 old, __u8 new, struct file *file,
				      __s32 fd)
{
	__u32 tid = own_thread(pid);
	struct sock_event *e;
	struct backlog b;

	if (!is_wanted(kind))
		return;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		count_lost_records(1);
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	fill_header(&e->h, kind, pid, tid);
	b = sock_backlog(sk);
	e->sock = (__u64)sk;
	e->file = (__u64)file;
	if (is_inet(sk)) {
		copy_address(e->local, sk, 0);
		copy_address(e->peer, sk, 1);
		e->local_port = READ(sk, __sk_common.skc_num);
		e->peer_port = bpf_ntohs(READ(sk, __sk_common.skc_dport));
	}
	e->family = READ(sk, __sk_common.skc_family);
	e->old_state = old;
	e->new_state = new;
	e->unread = b.unread;
	e->fd = fd;
	e->flags = b.flags | exiting_flag(tid) | FLAG_IS_SOCKET;
	e->protocol = READ(sk, sk_protocol);
	e->netns = READ(sk, __sk_common.skc_net.net, ns.inum);
	submit(e);
}

static __always_inline struct port_key port_of(struct sock *sk)
{
	struct port_key key = {};

	key.netns = READ(sk, __sk_common.skc_net.net, ns.inum);
	key.port = READ(sk, __sk_common.skc_num);
	return key;
}

static __always_inline struct known_sock *find_sock(struct sock *sk)
{
	__u64 key = (__u64)sk;

	return bpf_map_lookup_elem(&socks, &key);
}

static __always_inline bool is_wanted_port(struct sock *sk)
{
	if (!only_port)
		return 1;
	return READ(sk, __sk_common.skc_num) == only_port || bpf_ntohs(READ(sk, __sk_common.skc_dport)) == only_port;
}

/* Notes that the reader knows a descriptor of the socket. */
static __always_inline void name_sock(struct sock *sk)
{
	struct known_sock *known = find_sock(sk);

	if (known)
		known->named = 1;
}

/* Makes a socket the target's; false if it was already. */
static __always_inline bool follow_sock(struct sock *sk, __u32 pid)
{
	struct known_sock known = { .pid = pid };
	__u64 key = (__u64)sk;

	if (READ(sk, __sk_common.skc_state) == TCP_LISTEN) {
		struct port_key port = port_of(sk);

		bpf_map_update_elem(&ports, &port, &pid, BPF_ANY);
	}
	if (find_sock(sk))
		return 0;
	known.copied_seq = READ((struct tcp_sock *)sk, copied_seq);
	if (bpf_map_update_elem(&socks, &key, &known, BPF_ANY))
		count_drop(DROP_SOCKS, 1);
	return 1;
}

/* Says what a socket is whose life is not followed. */
static __always_inline void tell_sock(struct sock *sk, __u32 pid, struct file *file, __s32 fd)
{
	emit_sock(KIND_SNAPSHOT, sk, pid, 0, 0, file, fd);
}

/* Makes a socket the target's and says who it is: when it is first met, and when its descriptor is. */
static __always_inline void adopt_sock(struct sock *sk, __u32 pid, struct file *file, __s32 fd)
{
	struct known_sock *known;
	bool tell;

	if (!sk || !has_tcp_state(sk) || !is_wanted_port(sk))
		return;
	tell = follow_sock(sk, pid);
	if (fd >= 0) {
		known = find_sock(sk);
		if (known && !known->named) {
			known->named = 1;
			tell = 1;
		}
	}
	if (tell)
		emit_sock(KIND_SNAPSHOT, sk, pid, 0, READ(sk, __sk_common.skc_state), file, fd);
}

static __always_inline int sock_state(struct sock *sk, int old, int new)
{
	struct known_sock *known;
	__u32 pid;

	if (!ready || !has_tcp_state(sk))
		return 0;
	known = find_sock(sk);
	if (!known) {
		__u32 current_pid = bpf_get_current_pid_tgid() >> 32;

		if (new == TCP_ESTABLISHED && old == TCP_SYN_RECV) {
			struct port_key port = port_of(sk);
			__u32 *owner = bpf_map_lookup_elem(&ports, &port);

			if (!owner)
				return 0;
			pid = *owner;
		} else if ((new == TCP_LISTEN || new == TCP_SYN_SENT) && is_target(current_pid)) {
			/* Both are reached from the caller's own listen or connect, never from an interrupt. */
			pid = current_pid;
		} else {
			return 0;
		}
		adopt_sock(sk, pid, 0, -1);
		if (new == TCP_LISTEN) {
			struct port_key port = port_of(sk);

			bpf_map_update_elem(&ports, &port, &pid, BPF_ANY);
		}
	} else {
		pid = known->pid;
	}
	if (old == TCP_LISTEN && new == TCP_CLOSE) {
		struct port_key port = port_of(sk);

		bpf_map_delete_elem(&ports, &port);
	}
	emit_sock(KIND_STATE, sk, pid, old, new, 0, -1);
	return 0;
}

static __always_inline int sock_destroyed(struct sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_delete_elem(&socks, &key);
	return 0;
}

static __always_inline void emit_sock_call(__u16 kind, struct sock *sk, __u32 pid, __u32 key, struct backlog b)
{
	__u32 tid = own_thread(pid);
	struct call_event *e = reserve_call(kind, pid, tid);

	if (!e)
		return;
	e->sock = (__u64)sk;
	e->unread = b.unread;
	e->flags = b.flags | exiting_flag(tid);
	e->key = key;
	submit(e);
}

/* A number of enum sk_rst_reason (since 6.10) in our own words; its values have moved between releases. */
static __always_inline __u32 reset_reason(__u32 reason)
{
#define MAP_REASON(theirs, ours)                                                                                       \
	if (bpf_core_enum_value_exists(enum sk_rst_reason, SK_RST_REASON_##theirs) &&                                  \
	    reason == bpf_core_enum_value(enum sk_rst_reason, SK_RST_REASON_##theirs))                                 \
		return RESET_##ours;
	MAP_REASON(TCP_ABORT_ON_CLOSE, ABORT_ON_CLOSE)
	MAP_REASON(TCP_ABORT_ON_LINGER, ABORT_ON_LINGER)
	MAP_REASON(TCP_ABORT_ON_DATA, ABORT_ON_DATA)
	MAP_REASON(TCP_ABORT_ON_MEMORY, ABORT_ON_MEMORY)
	MAP_REASON(TCP_STATE, TCP_STATE)
	MAP_REASON(TCP_KEEPALIVE_TIMEOUT, KEEPALIVE)
	MAP_REASON(TCP_DISCONNECT_WITH_DATA, DISCONNECT_WITH_DATA)
#undef MAP_REASON
	return RESET_OTHER;
}

static __always_inline int reset_sent(struct sock *sk, __u32 reason)
{
	struct known_sock *known;
	__u8 state;

	if (!ready || !sk)
		return 0;
	/* A minisock is no struct sock beyond its common part, and none of ours any more. */
	state = READ(sk, __sk_common.skc_state);
	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV)
		return 0;
	known = find_sock(sk);
	if (!known)
		return 0;
	emit_sock_call(KIND_RESET, sk, known->pid, reason, tcp_backlog(sk));
	return 0;
}

static __always_inline int sock_closing(struct sock *sk)
{
	struct known_sock *known;

	if (!ready)
		return 0;
	known = find_sock(sk);
	if (known)
		emit_sock_call(KIND_RELEASE, sk, known->pid, 0, sock_backlog(sk));
	return 0;
}

/* The last reference to a watched file that is no TCP socket; those are seen at tcp_close. */
static __always_inline int watched_file_closing(struct file *file)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call_event *e;

	if (!ready || !is_target(id >> 32))
		return 0;
	if ((__u64)READ(file, f_op) == socket_fops) {
		struct sock *sk = file_sock(file);

		if (sk && is_tcp(sk))
			return 0;
	}
	e = reserve_call(KIND_RELEASE, id >> 32, id);
	if (!e)
		return 0;
	e->file = (__u64)file;
	e->flags = exiting_flag(id);
	submit(e);
	return 0;
}

/* coming: connections that the queue does not count yet. */
static __always_inline int connection_queued(struct sock *listener, struct sock *child, __u32 coming)
{
	struct port_key port;
	struct backlog b;
	__u32 *owner;

	if (!ready)
		return 0;
	port = port_of(listener);
	owner = bpf_map_lookup_elem(&ports, &port);
	if (!owner)
		return 0;
	if (child)
		adopt_sock(child, *owner, 0, -1);
	b = tcp_backlog(listener);
	b.unread += coming;
	emit_sock_call(KIND_QUEUED, listener, *owner, 0, b);
	return 0;
}

#endif
