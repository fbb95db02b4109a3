package diagnose

const busyLoopC = `
/* output: ask for EPOLLOUT while something is left, and no longer */
ev.events = EPOLLIN | (conn->queued ? EPOLLOUT : 0);
epoll_ctl(epoll, EPOLL_CTL_MOD, conn->fd, &ev);

/* an error or a hang-up: reported whatever is asked for */
if (events & (EPOLLERR | EPOLLHUP)) {
	int error = 0;
	socklen_t size = sizeof error;
	getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	drop(conn);                     /* or EPOLL_CTL_DEL, to keep it */
}
`

func busyLoopRuntimes() []Advice {
	return []Advice{
		{"libuv", "of uv_poll: ask for UV_WRITABLE only while there is something to write, and call uv_poll_stop when the callback is told of an " +
			"error. Streams do so themselves."},
		{"tokio", "registers edge-triggered, so its sockets do not spin this way. What is found belongs to another library of the same process."},
		{"Go", "the runtime registers edge-triggered, so its sockets do not spin this way. What is found was registered by hand."},
		{"asyncio", "what add_writer was given is called whenever there is room: call remove_writer when all is written. Transports do so " +
			"themselves."},
	}
}
