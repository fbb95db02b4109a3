package diagnose

const etUnreadC = `
for (;;) {
	ssize_t n = read(fd, buf, sizeof buf);
	if (n > 0)
		handle(conn, buf, n);
	else if (n < 0 && errno == EINTR)
		continue;
	else if (n < 0 && errno == EAGAIN)
		break;                  /* drained: the next arrival wakes us */
	else
		return drop(conn);      /* 0: the peer has closed; else an error */
}
`

func etUnreadRuntimes() []Advice {
	return []Advice{
		{"libuv", "watches level-triggered, so its own handles cannot be found. What is found belongs to another library of the same " +
			"process, or to a loop of the program's own."},
		{"netty", "the epoll transport is edge-triggered and reads on by itself. Input that stays belongs to a channel with autoRead " +
			"off on which nobody calls read() again."},
		{"tokio", "registers edge-triggered and clears a socket's readiness when a read would block. Input that stays has no task " +
			"that reads it: look for one that awaits a full channel or a lock. With AsyncFd, call clear_ready only after " +
			"the call returned WouldBlock; try_io does."},
		{"Go", "the runtime registers edge-triggered, and a Read tries before it parks. Input that stays has no goroutine in Read: " +
			"a goroutine dump shows where its reader is."},
		{"asyncio", "watches level-triggered, as uvloop does. What is found was registered with select.epoll and EPOLLET by hand."},
	}
}
