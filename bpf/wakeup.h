/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Wakeups of epoll items. They run in softirq or in the sender's context, so whose wakeup it is follows from the
 * item's epoll instance and never from the current task.
 */
#ifndef EPWATCH_WAKEUP_H
#define EPWATCH_WAKEUP_H

#include "socket.h"

#define EP_PRIVATE_BITS 0xf0000000u /* fs/eventpoll.c: EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE */
#define WALK_MAX 16                 /* watchers of one socket that a walk looks at */

static __always_inline struct eppoll_entry *entry_of(struct wait_queue_entry *wait)
{
	return (void *)wait - bpf_core_field_offset(struct eppoll_entry, wait);
}

/*
 * Classifies as ep_poll_callback is about to (fs/eventpoll.c), without its lock: another CPU may link the item in
 * between, so "coalesced" is what was true a moment before.
 */
static __always_inline __u16 classify(struct epitem *epi, struct eventpoll *ep, __u32 mask, __u32 key)
{
	struct list_head *ready_link = (void *)epi + bpf_core_field_offset(struct epitem, rdllink);
	struct list_head *sleepers = (void *)ep + bpf_core_field_offset(struct eventpoll, wq.head);
	__u16 flags = 0;

	if (READ(sleepers, next) != sleepers)
		flags |= FLAG_WAITER;
	if (!(mask & ~EP_PRIVATE_BITS))
		return flags | FLAG_DISARMED;
	if (key && !(key & mask))
		return flags | FLAG_FILTERED;
	if (READ(ready_link, next) != ready_link)
		flags |= FLAG_COALESCED;
	if (READ(ep, ovflist) != (void *)-1)
		flags |= FLAG_OVERFLOW;
	return flags;
}

static __always_inline void item_wakeup(struct epitem *epi, __u32 key)
{
	struct eventpoll *ep = READ(epi, ep);
	__u64 ep_key = (__u64)ep;
	struct instance *instance = bpf_map_lookup_elem(&instances, &ep_key);
	struct call_event *e;
	struct file *file;
	struct sock *sk;
	__u32 mask;

	if (!instance || !is_wanted_fd(READ(epi, ffd.fd)))
		return;
	file = READ(epi, ffd.file);
	sk = file_sock(file);
	if (only_port && !(sk && is_inet(sk) && is_wanted_port(sk)))
		return;
	e = reserve_call(KIND_WAKEUP, instance->pid, 0);
	if (!e)
		return;
	mask = READ(epi, event.events);
	e->epoll = ep_key;
	e->epfd = instance->epfd;
	e->data = READ(epi, event.data);
	e->fd = READ(epi, ffd.fd);
	e->events = mask;
	e->key = key;
	e->file = (__u64)file;
	e->flags = classify(epi, ep, mask, key);
	if (sk) {
		struct backlog b = sock_backlog(sk);

		e->sock = (__u64)sk;
		e->unread = b.unread;
		e->flags |= b.flags | FLAG_IS_SOCKET;
	}
	submit(e);
}

static __always_inline int wakeup(struct wait_queue_entry *wait, __u32 key)
{
	if (!ready)
		return 0;
	item_wakeup(READ(entry_of(wait), base), key);
	return 0;
}

/*
 * Where function probes are not to be had: the wait queue of the socket names its watchers just before they are
 * called. It misses write-space wakeups and files that are no sockets.
 */
static __always_inline void walk_watchers(struct sock *sk, __u32 key)
{
	struct list_head *head, *at;
	struct socket_wq *wq;
	int i;

	if (!ep_poll_callback_addr)
		return;
	wq = READ(sk, sk_wq);
	if (!wq)
		return; /* orphaned: nobody watches */
	head = (void *)wq + bpf_core_field_offset(struct socket_wq, wait.head);
	at = READ(head, next);
	for (i = 0; i < WALK_MAX; i++) {
		struct wait_queue_entry *entry;

		if (!at || at == head)
			return;
		entry = (void *)at - bpf_core_field_offset(struct wait_queue_entry, entry);
		if ((__u64)READ(entry, func) == ep_poll_callback_addr)
			item_wakeup(READ(entry_of(entry), base), key);
		at = READ(at, next);
	}
}

static __always_inline int sleeper_woken(struct task_struct *task)
{
	__u32 pid, tid;
	__u64 key;
	struct call *call;
	struct call_event *e;

	if (!ready || !task)
		return 0;
	pid = READ(task, tgid);
	if (!is_target(pid))
		return 0;
	tid = READ(task, pid);
	key = (__u64)pid << 32 | tid;
	call = open_call(key);
	if (!call || !is_wait(call->call))
		return 0;
	e = reserve_short(KIND_WOKEN, pid, tid);
	if (!e)
		return 0;
	e->epoll = call->epoll;
	e->epfd = call->epfd;
	submit(e);
	return 0;
}

#endif
