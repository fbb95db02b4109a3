/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What exists when observation begins: the open files of processes, one after the other, by the kernel's iterator. */
#ifndef EPWATCH_SNAPSHOT_H
#define EPWATCH_SNAPSHOT_H

#include "calls.h"

const volatile __u32 listed_pid;

struct listed_file {
	__u32 pid;
	__s32 fd;
	__u64 file;
	__u64 operations;
	__u64 private_data;
};

static long (*const seq_write)(struct seq_file *m, const void *data, __u32 len) = (void *)127; /* bpf_seq_write */

static __always_inline void list_file(struct bpf_iter__task_file *ctx, struct file *file, __u32 pid)
{
	struct listed_file listed = { .pid = pid };

	listed.fd = ctx->fd;
	listed.file = (__u64)file;
	listed.operations = (__u64)READ(file, f_op);
	listed.private_data = (__u64)READ(file, private_data);
	seq_write(ctx->meta->seq, &listed, sizeof(listed));
}

/*
 * The reader's own files, for which it learns how the kernel marks sockets and epoll instances: by f_op, whose symbols
 * are not in kallsyms everywhere.
 */
static __always_inline int list_own_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;

	if (!task || !file || READ(task, tgid) != listed_pid)
		return 0;
	list_file(ctx, file, listed_pid);
	return 0;
}

static __always_inline void emit_file(struct file *file, __u32 pid, __s32 fd, __u64 ep, __u16 flags)
{
	struct call_event *e = reserve_short(KIND_SNAPSHOT, pid, 0);

	if (!e)
		return;
	e->data = (__u64)file;
	e->fd = fd;
	e->epoll = ep;
	e->flags = flags;
	submit(e);
}

/* A target's file: from here on it is followed, and the reader learns that it exists. */
static __always_inline int snapshot_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock *sk;
	__u32 pid;

	if (!task || !file)
		return 0;
	pid = READ(task, tgid);
	if (!is_target(pid))
		return 0;
	sk = file_sock(file);
	if (!is_wanted_fd(ctx->fd) && (__u64)READ(file, f_op) != eventpoll_fops)
		return 0;
	if (sk && is_inet(sk) && !is_wanted_port(sk))
		return 0;
	if (sk && has_tcp_state(sk)) {
		follow_sock(sk, pid);
		name_sock(sk);
		emit_sock(KIND_SNAPSHOT, sk, pid, 0, READ(sk, __sk_common.skc_state), file, ctx->fd);
	} else if (sk) {
		tell_sock(sk, pid, file, ctx->fd);
	} else if ((__u64)READ(file, f_op) == eventpoll_fops) {
		emit_file(file, pid, ctx->fd, instance_of(file, pid, ctx->fd, 0), FLAG_IS_EPOLL);
	} else if (is_watched(file)) {
		emit_file(file, pid, ctx->fd, 0, 0);
	} else {
		return 0;
	}
	list_file(ctx, file, pid);
	return 0;
}

#endif
