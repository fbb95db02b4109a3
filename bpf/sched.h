/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a thread does between two waits: on a processor, waiting for one, or asleep, and in which call. It is added up
 * here, per turn, because a busy machine switches threads a hundred thousand times a second and only a slow turn is told.
 */
#ifndef EPWATCH_SCHED_H
#define EPWATCH_SCHED_H

#include "emit.h"
#include "stack.h"

static __always_inline struct turn *open_turn(__u32 tid)
{
	struct turn *t;

	if (!in_turn[tid % TURN_SLOTS])
		return 0;
	t = bpf_map_lookup_elem(&turns, &tid);
	return t && t->since ? t : 0;
}

/* Few calls put a thread to sleep in one turn. Where there are more, those with the longest sleeps keep their names. */
static __always_inline void add_sleep(struct turn *t, __u64 time)
{
	struct sleep *shortest = &t->sleeps[0];
	int i;

	for (i = 0; i < SLEEPS; i++) {
		struct sleep *s = &t->sleeps[i];

		if (!s->times || s->number == t->call) {
			s->number = t->call;
			s->time += time;
			s->times++;
			return;
		}
		if (s->time < shortest->time)
			shortest = s;
	}
	if (time < shortest->time) {
		t->other += time;
		return;
	}
	t->other += shortest->time;
	shortest->number = t->call;
	shortest->time = time;
	shortest->times = 1;
}

static __always_inline void went_off(struct turn *t, __u64 now, bool runnable, bool stopped)
{
	t->call = stopped ? SLEEP_STOPPED : call_number((struct pt_regs *)t->regs);
	t->woken = runnable ? now : 0;
	t->off = now;
}

static __always_inline void came_back(struct turn *t, __u32 tid, __u64 now)
{
	/* Whose waking was not seen counts as asleep. */
	__u64 woken = t->woken ? t->woken : now;

	t->runnable += now - woken;
	if (woken > t->off) {
		add_sleep(t, woken - t->off);
		sleep_over(tid, woken - t->off);
	}
	t->off = 0;
}

/* Runs for every switch of every thread of the machine, so it looks for followed threads first and reads the clock late. */
static __always_inline int task_switched(bool preempt, struct task_struct *prev, struct task_struct *next, __u64 *ctx)
{
	struct turn *t;
	__u64 now = 0;

	if (!ready)
		return 0;
	t = open_turn(prev->pid);
	if (t) {
		__u32 state = switch_has_state ? (__u32)ctx[3] : task_state(prev);

		now = bpf_ktime_get_ns();
		/* Who is preempted on the way to sleep stays runnable (kernel/sched/core.c, __schedule). */
		went_off(t, now, preempt || !state, state & TASK_STOPPED_OR_TRACED);
		if (!t->woken)
			stack_asleep(ctx, prev->pid, t->call);
	}
	t = open_turn(next->pid);
	if (t && t->off)
		came_back(t, next->pid, now ? now : bpf_ktime_get_ns());
	return 0;
}

/* sched_wakeup and not sched_waking: that may come before the switch of who is just going to sleep (try_to_wake_up). */
static __always_inline int task_woken(struct task_struct *task)
{
	struct turn *t;

	if (!ready)
		return 0;
	t = open_turn(task->pid);
	if (t && t->off && !t->woken)
		t->woken = bpf_ktime_get_ns();
	return 0;
}

static __always_inline void turn_begins(__u32 tid, struct pt_regs *regs)
{
	struct turn none = {}, *t;

	if (!slow_turn)
		return;
	t = bpf_map_lookup_elem(&turns, &tid);
	if (!t) {
		if (bpf_map_update_elem(&turns, &tid, &none, BPF_NOEXIST))
			count_drop(DROP_TURNS, 1);
		t = bpf_map_lookup_elem(&turns, &tid);
		if (!t)
			return;
	}
	if (!t->since)
		__sync_fetch_and_add(&in_turn[tid % TURN_SLOTS], 1);
	__builtin_memset(t, 0, sizeof(*t));
	stacks_begin(tid);
	t->regs = (__u64)regs;
	t->since = bpf_ktime_get_ns();
}

static __always_inline void fill_turn(struct sched_event *e, struct turn *t, __u32 pid, __u32 tid)
{
	int i;

	fill_header(&e->h, KIND_SCHED, pid, tid);
	e->start = t->since;
	e->runnable = t->runnable;
	e->other = t->other;
	for (i = 0; i < SLEEPS; i++)
		e->sleeps[i] = t->sleeps[i];
}

static __always_inline void emit_turn(struct turn *t, __u32 pid, __u32 tid)
{
	if (!is_wanted(KIND_SCHED))
		return;
	if (with_stacks) {
		struct sched_stack_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

		if (!e) {
			count_lost_records(1);
			return;
		}
		fill_turn(&e->turn, t, pid, tid);
		add_stacks(e, tid);
		submit(e);
	} else {
		struct sched_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

		if (!e) {
			count_lost_records(1);
			return;
		}
		fill_turn(e, t, pid, tid);
		submit(e);
	}
}

static __always_inline void turn_ends(__u32 pid, __u32 tid)
{
	struct turn *t;
	__u64 now;

	if (!slow_turn)
		return;
	t = open_turn(tid);
	if (!t)
		return;
	now = bpf_ktime_get_ns();
	if (t->off)
		came_back(t, tid, now); /* the switch back was not seen */
	if (now - t->since >= slow_turn)
		emit_turn(t, pid, tid);
	t->since = 0;
	__sync_fetch_and_add(&in_turn[tid % TURN_SLOTS], -1);
}

static __always_inline void turns_over(__u32 pid, __u32 tid)
{
	turn_ends(pid, tid);
	if (slow_turn)
		bpf_map_delete_elem(&turns, &tid);
	if (with_stacks)
		bpf_map_delete_elem(&stacks, &tid);
}

/* A tick of a processor's clock. */
static __always_inline int clock_ticked(void *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct turn *t;

	if (!ready)
		return 0;
	t = open_turn(tid);
	if (t)
		sample(ctx, t, tid);
	return 0;
}

#endif
