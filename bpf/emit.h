/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Filters, maps, and the way a record leaves: reserve, fill, submit. Nothing is reserved before the target was
 * checked, and what cannot be reserved is counted on its CPU and carried by that CPU's next record.
 */
#ifndef EPWATCH_EMIT_H
#define EPWATCH_EMIT_H

#include "event.h"

/* Set before loading, so that the verifier removes what this run does not use. */
const volatile __u64 ep_poll_callback_addr; /* 0 = the wait queue is not walked */
const volatile __u32 wake_bytes = 64 * 1024;
const volatile __u32 reset_reason_arg; /* position of the reason among tcp_send_active_reset's arguments, 0 = none */
const volatile bool follow_children;
const volatile __u64 wanted_kinds = ~0ull; /* a bit for each enum event_kind that is recorded */
const volatile __u32 only_port;            /* sockets with this local or peer port; 0 = all */
const volatile __s32 only_fds[8] = { -1, -1, -1, -1, -1, -1, -1, -1 };
const volatile __u32 number_of_fds;  /* of only_fds; 0 = all descriptors */
const volatile char target_comm[16]; /* programs of this name become targets when they are executed */
const volatile __u64 slow_turn;  /* ns; turns between two waits that last as long are reported; 0 = none is followed */
const volatile bool with_stacks; /* of the threads that slow_turn follows */
const volatile bool switch_has_state; /* sched_switch passes the state of who leaves */
const volatile bool preemptible;      /* a program of this run may be preempted */
const volatile bool queued_by_ready;  /* a listener's sk_data_ready stands for "connection queued" */

/* Set once, after loading and before ready. */
__u64 socket_fops;
__u64 eventpoll_fops;

/* Every program does nothing until this is 1, so that all begin at the same moment. */
volatile __u32 ready;

/*
 * How many threads are in a turn, by the low bits of their tid: for nearly every switch on a machine one look here says that
 * nobody who leaves or comes is followed.
 */
#define TURN_SLOTS 16384
__u32 in_turn[TURN_SLOTS];

struct instance {
	__u32 pid;
	__s32 epfd;
};

struct known_sock {
	__u32 pid;
	__u32 copied_seq; /* last seen; tells tcp_rcv_space_adjust how much was read */
	__u32 named;      /* a descriptor was reported */
	__u32 pad;
};

struct port_key {
	__u32 netns;
	__u32 port; /* host order */
};

/* One system call that a thread is in, or with CALL_NONE none. */
struct call {
	__u64 start;
	__u64 pointer; /* epoll_wait: the caller's event array */
	__u64 file;
	__u64 sock;
	__u64 epoll;
	__u64 data;
	__s32 fd;
	__s32 epfd;
	__u32 events;
	__u16 flags;
	__u8 call;
	__u8 op;
	/* The last receive inside the call. */
	__u64 rx_sock;
	__s32 rx_ret;
	__u16 rx_flags;
	__u8 rx_open;  /* a receiving function was entered */
	__u8 rx_done;  /* rx_ret holds a result */
	__u32 number;  /* the architecture's number of the call */
	__u32 entered; /* which of the two programs have seen its entry, as bits */
	/* Receives inside the call: seen by each of two programs, and told. */
	__u32 rx_seen[2];
	__u32 rx_told;
	__u32 pad2;
};

/* A thread between the return of a wait on an epoll instance and its next wait. */
struct turn {
	__u64 since; /* the wait's return; 0 while it waits, and then nothing below holds */
	__u64 regs;  /* struct pt_regs * of its system calls: always at the same place of its stack */
	__u64 off;   /* since when it is off the processor; 0 = it is on one */
	__u64 woken; /* since when it wants one again; 0 = it sleeps */
	__u64 runnable;
	__u64 other;
	struct sleep sleeps[SLEEPS];
	__u32 call; /* which it sleeps in, as in struct sleep */
	__u32 pad;
};

/* Records on their way to user space. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024);
} events SEC(".maps");

/* Observed processes, by tgid; the value has a bit for each class of unseen calls that was told. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} targets SEC(".maps");

/*
 * Whether a process may be a target, by the low bits of its number: for nearly every call on a machine one look here says that
 * it is none. Nothing is ever taken out.
 */
#define MAYBE_SLOTS 65536
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAYBE_SLOTS);
	__type(key, __u32);
	__type(value, __u8);
} maybe_targets SEC(".maps");

/* Epoll instances of the targets, by struct eventpoll *. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct instance);
} instances SEC(".maps");

/* Sockets of the targets, by struct sock *; an entry leaves at tcp_destroy_sock. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct known_sock);
} socks SEC(".maps");

/* Ports that the targets listen on: how a connection is theirs before it is accepted. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct port_key);
	__type(value, __u32);
} ports SEC(".maps");

/* The call each thread of a target is in, by pid_tgid; an entry leaves at the thread's exit. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct call);
} calls SEC(".maps");

/* Threads whose end one of two programs has seen, by pid_tgid. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u8);
} exited SEC(".maps");

/* The turn of each thread that was seen to wait, by tid; an entry leaves at the thread's exit. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct turn);
} turns SEC(".maps");

/* The stacks of a turn, by tid; with one stack for the sleep that lasts and one for the longest before. */
struct turn_stacks {
	__u64 longest; /* ns, of the sleep whose stack is kept */
	__u64 sampled; /* when; 0 = not in this turn */
	__u32 kept;    /* which of the two it is */
	__u32 pad;
	struct stack asleep[2];
	struct stack computing;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct turn_stacks);
} stacks SEC(".maps");

/* Stacks without anything in them, because they are too large for a program's own. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct turn_stacks);
} no_stacks SEC(".maps");

enum drop_place {
	DROP_UNREPORTED, /* records lost since this CPU's last record: the next one carries it */
	DROP_RECORDS,    /* records lost in all */
	DROP_CALLS,      /* calls that found no place in the map */
	DROP_SOCKS,
	DROP_INSTANCES,
	DROP_DELIVERIES, /* items past the longest list that is read */
	DROP_READS,      /* user memory that could not be read */
	DROP_TURNS,      /* threads whose turns found no place in the map */
	DROP_STACKS,     /* threads whose stacks found none */
	DROP_PLACES,
};

/* What was lost, by place. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_PLACES);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

static __always_inline void count_drop(__u32 place, __u64 n)
{
	__u64 *value = bpf_map_lookup_elem(&drops, &place);

	if (value)
		__sync_fetch_and_add(value, n);
}

static __always_inline void count_lost_records(__u64 n)
{
	count_drop(DROP_UNREPORTED, n);
	count_drop(DROP_RECORDS, n);
}

static __always_inline __u32 take_unreported(void)
{
	__u32 place = DROP_UNREPORTED;
	__u64 *value = bpf_map_lookup_elem(&drops, &place);
	__u64 n;

	if (!value)
		return 0;
	n = *value;
	/* Subtracted, not stored: an interrupt may have added to it since the line above. */
	if (n)
		__sync_fetch_and_add(value, -n);
	return n;
}

static __always_inline void fill_header(struct event_header *h, __u16 kind, __u32 pid, __u32 tid)
{
	h->ts = bpf_ktime_get_ns();
	h->pid = pid;
	h->tid = tid;
	h->kind = kind;
	h->cpu = bpf_get_smp_processor_id();
	h->lost = take_unreported();
}

/* The first 64 bytes of struct call_event. */
#define SHORT_EVENT_SIZE 64

static __always_inline bool is_wanted(__u16 kind)
{
	return wanted_kinds >> kind & 1;
}

/* Null where the kind is not wanted, or where there is no room: then it has been counted. */
static __always_inline struct call_event *reserve_call(__u16 kind, __u32 pid, __u32 tid)
{
	struct call_event *e;

	if (!is_wanted(kind))
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		count_lost_records(1);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	fill_header(&e->h, kind, pid, tid);
	e->fd = -1;
	e->epfd = -1;
	return e;
}

static __always_inline struct call_event *reserve_short(__u16 kind, __u32 pid, __u32 tid)
{
	struct call_event *e;

	if (!is_wanted(kind))
		return 0;
	e = bpf_ringbuf_reserve(&events, SHORT_EVENT_SIZE, 0);

	if (!e) {
		count_lost_records(1);
		return 0;
	}
	__builtin_memset(e, 0, SHORT_EVENT_SIZE);
	fill_header(&e->h, kind, pid, tid);
	e->fd = -1;
	e->epfd = -1;
	return e;
}

/* Longer than most records, so that the reader is woken about once as each further wake_bytes fills. */
#define WAKE_SLACK 256

/*
 * Waking the reader costs about 1 us, so it happens once per wake_bytes of unread data; what waits for less than
 * that is fetched by the reader's own deadline.
 */
static __always_inline void submit(void *record)
{
	__u64 waiting = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
	bool wake = waiting >= wake_bytes && waiting % wake_bytes < WAKE_SLACK;

	bpf_ringbuf_submit(record, wake ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

static __always_inline bool is_wanted_fd(__s32 fd)
{
	int i;

	if (!number_of_fds)
		return 1;
	for (i = 0; i < 8; i++)
		if (only_fds[i] == fd)
			return 1;
	return 0;
}

static __always_inline bool maybe_target(__u32 pid)
{
	__u32 slot = pid % MAYBE_SLOTS;
	__u8 *maybe = bpf_map_lookup_elem(&maybe_targets, &slot);

	return maybe && *maybe;
}

static __always_inline bool is_target(__u32 pid)
{
	return maybe_target(pid) && bpf_map_lookup_elem(&targets, &pid);
}

static __always_inline void add_target(__u32 pid)
{
	__u32 slot = pid % MAYBE_SLOTS, none_told = 0;
	__u8 *maybe = bpf_map_lookup_elem(&maybe_targets, &slot);

	if (maybe)
		*maybe = 1;
	bpf_map_update_elem(&targets, &pid, &none_told, BPF_NOEXIST);
}

static __always_inline bool is_wait(__u8 call)
{
	return call >= CALL_EPOLL_WAIT && call <= CALL_EPOLL_PWAIT2;
}

/* The call that a thread is in. Only those of targets have any. */
static __always_inline struct call *open_call(__u64 id)
{
	struct call *c = bpf_map_lookup_elem(&calls, &id);

	return c && c->call ? c : 0;
}

#endif
