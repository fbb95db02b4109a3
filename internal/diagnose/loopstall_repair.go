package diagnose

const loopStallC = `
/* long work goes in pieces, and the next wait does not sleep while some is left */
n = epoll_wait(epoll, events, MAX, job ? 0 : -1);
for (int i = 0; i < n; i++)
	handle(&events[i]);
if (job && !work_for(job, 5 /* ms */))
	job = NULL;                     /* done */
`

func loopStallRuntimes() []Advice {
	return []Advice{
		{"libuv", "uv_queue_work runs it on the thread pool and calls back on the loop. In Node.js: worker_threads, or the asynchronous form " +
			"of the call; names that end in Sync block the loop."},
		{"netty", "add the handler with an EventExecutorGroup of its own: pipeline.addLast(group, handler)."},
		{"tokio", "spawn_blocking for what blocks or computes; a task that computes for long without an await holds up its worker."},
		{"asyncio", "asyncio.to_thread, or loop.run_in_executor with a process pool for what computes. Debug mode names callbacks that " +
			"take longer than loop.slow_callback_duration."},
	}
}
