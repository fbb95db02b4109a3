/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel's own types, cut down to the fields that are read; CO-RE finds each by name on the running kernel, so
 * neither order nor size here means anything. What differs between kernels hides behind one accessor each.
 */
#ifndef EPWATCH_KERNEL_H
#define EPWATCH_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;

/* The part of <linux/bpf.h> that is used; it is uapi, so the numbers never change. */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
	BPF_F_USER_STACK = 1 << 8,
};

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

/*
 * READ(p, a, b) is p->a->b, and zero where a pointer leads nowhere. Kernels that let a program follow their pointers (since
 * 6.2) do it with a load for each arrow, the others with a call.
 */
#define READ(p, ...)                                                                                                   \
	(bpf_rdonly_cast                                                                                               \
		 ? ___arrow(((typeof(p))bpf_rdonly_cast(p, bpf_core_type_id_kernel(typeof(*(p))))), __VA_ARGS__)       \
		 : BPF_CORE_READ(p, __VA_ARGS__))

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di, si, dx, cx, r8, r9, r10, ax, orig_ax, cs;
};
struct thread_info {
	__u32 status;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
};
struct pt_regs {
	__u64 regs[31];
	__u64 orig_x0;
	__s32 syscallno;
};
struct thread_info {
	unsigned long flags;
};
#endif

/* The records that perf's tracepoints pass. */
struct trace_event_raw_sys_enter {
	long id;
};
struct trace_event_raw_sys_exit {
	long ret;
};
struct trace_event_raw_sock_msg_length {
	struct sock *sk;
	int ret;
	int flags;
};

struct list_head {
	struct list_head *next;
};

struct wait_queue_entry {
	void *private;
	void *func;
	struct list_head entry;
};

struct wait_queue_head {
	struct list_head head;
};

struct socket_wq {
	struct wait_queue_head wait;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	__u8 bytes[16]; /* never relocated by itself: only its address is taken */
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned long skc_flags;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sk_buff_head {
	__u32 qlen;
};

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	struct socket_wq *sk_wq;
	struct socket *sk_socket;
	__u8 sk_shutdown;
	__u32 sk_ack_backlog;
	__u16 sk_type;
	__u16 sk_protocol;
};

struct tcp_sock {
	__u32 rcv_nxt;
	__u32 copied_seq;
};

struct udp_sock {
	struct sk_buff_head reader_queue;
};

struct mptcp_sock {
	struct sock *first;
};

struct file {
	const void *f_op;
	void *private_data;
	unsigned int f_flags;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct epoll_event {
	__u32 events;
	__u64 data;
} __attribute__((packed));

/* Renamed to epoll_key in 7.x, same members; CO-RE goes by the member's name in struct epitem. */
struct epoll_filefd {
	struct file *file;
	int fd;
} __attribute__((packed));

struct eventpoll;

struct epitem {
	struct list_head rdllink;
	struct epoll_filefd ffd;
	struct eventpoll *ep;
	struct epoll_event event;
};

struct eppoll_entry {
	struct epitem *base;
	struct wait_queue_entry wait;
};

struct eventpoll {
	struct wait_queue_head wq;
	struct epitem *ovflist;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int __state;
	unsigned int flags;
	int exit_code;
	int pid;
	int tgid;
	struct signal_struct *signal;
	struct files_struct *files;
};

/* Before 5.14 (commit 2f064a59a11f). */
struct task_struct___long {
	long state;
};

struct net_device {
	unsigned int flags;
	possible_net_t nd_net;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned int len;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	unsigned char *head;
	unsigned char *data;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

enum sock_flags {
	SOCK_DEAD,
	SOCK_DONE,
};

enum sk_rst_reason {
	SK_RST_REASON_TCP_ABORT_ON_DATA = 8,
	SK_RST_REASON_TCP_ABORT_ON_CLOSE = 11,
	SK_RST_REASON_TCP_ABORT_ON_LINGER,
	SK_RST_REASON_TCP_ABORT_ON_MEMORY,
	SK_RST_REASON_TCP_STATE,
	SK_RST_REASON_TCP_KEEPALIVE_TIMEOUT,
	SK_RST_REASON_TCP_DISCONNECT_WITH_DATA,
};

#pragma clang attribute pop

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_DGRAM 2
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_MPTCP 262
#define IFF_LOOPBACK 0x8
#define PF_EXITING 0x4
#define MSG_PEEK 0x2
#define O_NONBLOCK 04000
#define EAGAIN 11

/* include/linux/sched.h: what a signal or a debugger stops is in neither of the sleeping states. */
#define TASK_STOPPED_OR_TRACED (0x4 | 0x8)

static __always_inline __u32 task_state(struct task_struct *task)
{
	if (bpf_core_field_exists(task->__state))
		return READ(task, __state);
	return READ((struct task_struct___long *)task, state);
}

enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
	TCP_NEW_SYN_RECV,
};

#if defined(__TARGET_ARCH_x86)
#define TS_COMPAT 0x2 /* arch/x86/include/asm/thread_info.h: a 32-bit call is running */

static __always_inline bool compat_call(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return READ(task, thread_info.status) & TS_COMPAT;
}

static __always_inline void call_arguments(struct pt_regs *regs, __u64 *a)
{
	a[0] = READ(regs, di);
	a[1] = READ(regs, si);
	a[2] = READ(regs, dx);
	a[3] = READ(regs, r10);
}

static __always_inline __u32 call_number(struct pt_regs *regs)
{
	return READ(regs, orig_ax);
}

/* What a function was called with; a probe's context, so read directly. */
#define PROBE_ARG1(ctx) ((ctx)->di)
#define PROBE_ARG2(ctx) ((ctx)->si)
#define PROBE_ARG3(ctx) ((ctx)->dx)
#define PROBE_ARG4(ctx) ((ctx)->cx)
/* EPOLL_PACKED, include/uapi/linux/eventpoll.h: only x86-64 packs struct epoll_event. */
#define USER_EPOLL_EVENT_SIZE 12
#define USER_EPOLL_DATA_OFFSET 4
#elif defined(__TARGET_ARCH_arm64)
#define TIF_32BIT (1 << 22) /* arch/arm64/include/asm/thread_info.h */

static __always_inline bool compat_call(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return READ(task, thread_info.flags) & TIF_32BIT;
}

static __always_inline void call_arguments(struct pt_regs *regs, __u64 *a)
{
	a[0] = READ(regs, orig_x0);
	a[1] = READ(regs, regs[1]);
	a[2] = READ(regs, regs[2]);
	a[3] = READ(regs, regs[3]);
}

static __always_inline __u32 call_number(struct pt_regs *regs)
{
	return READ(regs, syscallno);
}

#define PROBE_ARG1(ctx) (((struct user_pt_regs *)(ctx))->regs[0])
#define PROBE_ARG2(ctx) (((struct user_pt_regs *)(ctx))->regs[1])
#define PROBE_ARG3(ctx) (((struct user_pt_regs *)(ctx))->regs[2])
#define PROBE_ARG4(ctx) (((struct user_pt_regs *)(ctx))->regs[3])
#define USER_EPOLL_EVENT_SIZE 16
#define USER_EPOLL_DATA_OFFSET 8
#endif

#endif
