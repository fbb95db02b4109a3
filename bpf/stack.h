/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Where a thread is that is long in coming back. Who goes to sleep is still current at sched_switch; who computes is
 * sampled by a clock of each processor.
 */
#ifndef EPWATCH_STACK_H
#define EPWATCH_STACK_H

#include "emit.h"

static __always_inline struct turn_stacks *stacks_of(__u32 tid)
{
	return with_stacks ? bpf_map_lookup_elem(&stacks, &tid) : 0;
}

static __always_inline void take_stack(void *ctx, struct stack *s, __u32 call)
{
	s->call = call;
	s->user_bytes = bpf_get_stack(ctx, s->user, sizeof(s->user), BPF_F_USER_STACK);
	s->kernel_bytes = bpf_get_stack(ctx, s->kernel, sizeof(s->kernel), 0);
}

/* The stack of the longest sleep stays, so a new one goes to the other place. */
static __always_inline void stack_asleep(void *ctx, __u32 tid, __u32 call)
{
	struct turn_stacks *all = stacks_of(tid);

	if (!all)
		return;
	if (all->kept)
		take_stack(ctx, &all->asleep[0], call);
	else
		take_stack(ctx, &all->asleep[1], call);
}

static __always_inline void sleep_over(__u32 tid, __u64 time)
{
	struct turn_stacks *all = stacks_of(tid);

	if (!all || time <= all->longest)
		return;
	all->longest = time;
	all->kept = !all->kept;
}

/* The first sample after the threshold stays; before, the last one does. */
static __always_inline void sample(void *ctx, struct turn *t, __u32 tid)
{
	struct turn_stacks *all = stacks_of(tid);

	if (!all || all->sampled >= t->since + slow_turn)
		return;
	all->sampled = bpf_ktime_get_ns();
	take_stack(ctx, &all->computing, 0);
}

static __always_inline void stacks_begin(__u32 tid)
{
	struct turn_stacks *all = stacks_of(tid), *none;
	__u32 zero = 0;

	if (!with_stacks)
		return;
	if (all) {
		all->longest = 0;
		all->sampled = 0;
		return;
	}
	none = bpf_map_lookup_elem(&no_stacks, &zero);
	if (none && bpf_map_update_elem(&stacks, &tid, none, BPF_NOEXIST))
		count_drop(DROP_STACKS, 1);
}

/* Copies by a helper: it is longer than what the compiler unrolls. */
static __always_inline void copy_stack(struct stack *to, struct stack *from, bool there)
{
	if (there)
		bpf_probe_read_kernel(to, sizeof(*to), from);
	else
		to->user_bytes = to->kernel_bytes = 0;
}

static __always_inline void add_stacks(struct sched_stack_event *e, __u32 tid)
{
	struct turn_stacks *all = stacks_of(tid);

	if (!all) {
		e->asleep.user_bytes = e->asleep.kernel_bytes = 0;
		e->computing.user_bytes = e->computing.kernel_bytes = 0;
		return;
	}
	if (all->kept)
		copy_stack(&e->asleep, &all->asleep[1], all->longest);
	else
		copy_stack(&e->asleep, &all->asleep[0], all->longest);
	copy_stack(&e->computing, &all->computing, all->sampled);
}

#endif
