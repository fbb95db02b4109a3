/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The wire record between the programs and tracer/decode.go. Values are never reused; new ones go to the end.
 * internal/event/ holds the same numbers under the same names, and a test compares the two.
 */
#ifndef EPWATCH_EVENT_H
#define EPWATCH_EVENT_H

enum event_kind {
	KIND_NONE,
	KIND_WAKEUP,
	KIND_RECV,
	KIND_SEND,
	KIND_RESET,
	KIND_STATE,
	KIND_EPOLL_CREATE,
	KIND_EPOLL_CTL,
	KIND_WAIT_ENTER,
	KIND_WAIT_RETURN,
	KIND_DELIVER,
	KIND_READ,
	KIND_WRITE,
	KIND_ACCEPT,
	KIND_CLOSE,
	KIND_DUP,
	KIND_FORK,
	KIND_EXEC,
	KIND_EXIT,
	KIND_SIGNAL,
	KIND_SNAPSHOT,
	KIND_LOST,
	KIND_WOKEN,
	KIND_QUEUED,
	KIND_RELEASE,
	KIND_PACKET,
	KIND_SHUTDOWN,
	KIND_UNSEEN,
	KIND_SCHED,
};

enum event_flag {
	FLAG_HAS_UNREAD = 1 << 0,
	FLAG_COALESCED = 1 << 1,
	FLAG_DISARMED = 1 << 2,
	FLAG_FILTERED = 1 << 3,
	FLAG_OVERFLOW = 1 << 4,
	FLAG_LISTENER = 1 << 5,
	FLAG_FIN = 1 << 6,
	FLAG_FIN_UNREAD = 1 << 7,
	FLAG_PEEK = 1 << 8,
	FLAG_LAST = 1 << 9,
	FLAG_NONBLOCK = 1 << 10,
	FLAG_WAITER = 1 << 11,
	FLAG_IS_EPOLL = 1 << 12,
	FLAG_IS_SOCKET = 1 << 13,
	FLAG_DEAD = 1 << 14,
	FLAG_COMPAT = 1 << 15,
};

enum call_id {
	CALL_NONE,
	CALL_EPOLL_CREATE,
	CALL_EPOLL_CREATE1,
	CALL_EPOLL_CTL,
	CALL_EPOLL_WAIT,
	CALL_EPOLL_PWAIT,
	CALL_EPOLL_PWAIT2,
	CALL_READ,
	CALL_READV,
	CALL_RECVFROM,
	CALL_RECVMSG,
	CALL_RECVMMSG,
	CALL_PREADV2,
	CALL_SPLICE,
	CALL_TEE,
	CALL_SENDFILE,
	CALL_WRITE,
	CALL_WRITEV,
	CALL_SENDTO,
	CALL_SENDMSG,
	CALL_SENDMMSG,
	CALL_PWRITEV2,
	CALL_ACCEPT,
	CALL_ACCEPT4,
	CALL_CLOSE,
	CALL_CLOSE_RANGE,
	CALL_DUP,
	CALL_DUP2,
	CALL_DUP3,
	CALL_FCNTL,
	CALL_SHUTDOWN,
	CALL_SOCKET,
	CALL_CONNECT,
	CALL_IO_URING_ENTER,
};

enum reset_reason {
	RESET_UNKNOWN,
	RESET_ABORT_ON_CLOSE,
	RESET_ABORT_ON_LINGER,
	RESET_ABORT_ON_DATA,
	RESET_ABORT_ON_MEMORY,
	RESET_TCP_STATE,
	RESET_KEEPALIVE,
	RESET_DISCONNECT_WITH_DATA,
	RESET_OTHER,
};

/* Every record begins with this. */
struct event_header {
	__u64 ts;  /* CLOCK_MONOTONIC ns */
	__u32 pid; /* tgid, 0 = the context says nothing */
	__u32 tid;
	__u16 kind; /* enum event_kind */
	__u16 cpu;
	__u32 lost; /* records this CPU failed to send just before this one */
};

/*
 * A read with the receive inside it, two events in one record: data is what the receive returned, unread what it left, and
 * events its flags.
 */
#define OP_RECEIVED 1

/*
 * All kinds but state, snapshot of a socket, deliver and packet. The first 64 bytes stand alone ("short" records): they are
 * all that wait-enter, woken, fork, exec, exit and signal need.
 */
struct call_event {
	struct event_header h;
	__u64 epoll;  /* struct eventpoll *; accept and dup: struct file * of the new descriptor */
	__u64 data;   /* epoll_data; wait-enter: timeout in ns, -1 for ever */
	__s32 fd;     /* -1 = none */
	__s32 epfd;   /* -1 = none */
	__u32 events; /* mask; wait-enter: maxevents */
	__u32 key;    /* wakeup: poll key; reset: enum reset_reason; signal: number */
	__u32 unread; /* TCP: bytes; UDP and UNIX: messages; a listener: connections */
	__u16 flags;  /* enum event_flag */
	__u8 call;    /* enum call_id */
	__u8 op;      /* epoll_ctl operation, shutdown direction; read: OP_RECEIVED */
	/* 64 */
	__u64 file;  /* struct file * */
	__u64 sock;  /* struct sock * */
	__u64 start; /* entry of the call, 0 = no length */
	__s64 ret;
};

/* A socket with its addresses: state changes and the first sight of a socket. */
struct sock_event {
	struct event_header h;
	__u64 sock;
	__u64 file;     /* 0 = not known */
	__u8 local[16]; /* IPv4 in the first four bytes */
	__u8 peer[16];
	__u16 local_port;
	__u16 peer_port;
	__u16 family;
	__u8 old_state;
	__u8 new_state;
	__u32 unread;
	__s32 fd; /* -1 = not known */
	__u16 flags;
	__u16 protocol;
	__u32 netns; /* inode number of the network namespace */
};

/*
 * A file that is no socket, from before the observation, is a short call_event of kind snapshot: fd and flags, epoll
 * where it is an epoll instance, and struct file * in data.
 */

/* One TCP segment, headers only. */
struct packet_event {
	struct event_header h;
	__u64 sock; /* 0 = not known */
	__u8 src[16];
	__u8 dst[16];
	__u32 seq;
	__u32 ack;
	__u32 len; /* payload bytes */
	__u16 sport;
	__u16 dport;
	__u16 family;
	__u16 window;
	__u8 tcp_flags;
	__u8 pad[3];
	__u32 netns;
	__u32 pad2;
};

/*
 * What one epoll_wait handed out, as it lies in the caller's memory (struct epoll_event): several items in one
 * record, because they have all but their mask and data in common; and the wait's return, where that is wanted. The record
 * is as long as the smallest size class that holds the number.
 */
struct deliver_event {
	struct event_header h;
	__u64 epoll;
	__u64 start; /* entry of the wait; 0 = its return is not told */
	__s32 epfd;
	__s32 ret;
	__u16 number;
	__u8 call; /* enum call_id */
	__u8 pad[5];
	/* The items follow. */
};

/* Sleeps of one turn in one call. */
struct sleep {
	__u64 time;   /* ns */
	__u32 number; /* the architecture's number of the call, SLEEP_NO_CALL or SLEEP_STOPPED */
	__u32 times;
};

#define SLEEPS 3
#define SLEEP_NO_CALL 0xffffffffu /* outside any call: in a page fault, say. The number that the kernel gives there */
#define SLEEP_STOPPED 0xfffffffeu /* by a signal or a debugger */

/* What became of the time between a wait's return and the next wait's entry; what is left was on a processor. */
struct sched_event {
	struct event_header h;
	__u64 start;    /* the wait's return */
	__u64 runnable; /* ns without a processor although it wanted one */
	struct sleep sleeps[SLEEPS];
	__u64 other; /* ns asleep in further calls */
};

#define USER_FRAMES 64
#define KERNEL_FRAMES 32

/* Where a thread was. Addresses only: names are found in user space. */
struct stack {
	__u32 call;       /* which it slept in, as in struct sleep */
	__s32 user_bytes; /* 0 and less: none */
	__s32 kernel_bytes;
	__u32 pad;
	__u64 user[USER_FRAMES];
	__u64 kernel[KERNEL_FRAMES];
};

/* The same with stacks: of the longest sleep, and of a sample while it was on a processor. */
struct sched_stack_event {
	struct sched_event turn;
	struct stack asleep;
	struct stack computing;
};

_Static_assert(sizeof(struct sched_event) == 96, "sched_event");
_Static_assert(sizeof(struct deliver_event) == 56, "deliver_event");
_Static_assert(sizeof(struct event_header) == 24, "header");
_Static_assert(sizeof(struct call_event) == 96, "call_event");
_Static_assert(sizeof(struct sock_event) == 96, "sock_event");
_Static_assert(sizeof(struct packet_event) == 96, "packet_event");

#endif
