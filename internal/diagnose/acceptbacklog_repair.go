package diagnose

const acceptBacklogC = `
for (;;) {
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		start(fd);
	else if (errno == EINTR || errno == ECONNABORTED)
		continue;               /* one of them went; there may be more */
	else
		break;                  /* EAGAIN: the queue is empty */
}
`

func acceptBacklogRuntimes() []Advice {
	return []Advice{
		{"libuv", "watches listeners level-triggered, so its own cannot be found. One whose connection callback does not call uv_accept is " +
			"taken off the loop until somebody does."},
		{"netty", "the epoll transport accepts a few at a time and comes back by itself. Connections that wait belong to a server channel " +
			"with autoRead off."},
		{"tokio", "registers listeners edge-triggered. Connections that wait have no task in accept(): look for one that awaits something " +
			"else in its accept loop, such as a permit or a full channel."},
		{"Go", "the runtime registers listeners edge-triggered. Connections that wait have no goroutine in Accept."},
		{"asyncio", "watches listeners level-triggered, so its own cannot be found."},
	}
}
