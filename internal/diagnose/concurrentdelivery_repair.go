package diagnose

const concurrentDeliveryC = `
struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT, .data.ptr = conn };
epoll_ctl(epoll, EPOLL_CTL_ADD, conn->fd, &ev);

/* in whichever thread is handed the connection; nobody else is until the MOD */
handle(conn);
epoll_ctl(epoll, EPOLL_CTL_MOD, conn->fd, &ev);
`

func concurrentDeliveryRuntimes() []Advice {
	return []Advice{
		{"libuv", "a loop and its handles belong to one thread. Two threads that read one connection have a loop each and a duplicate " +
			"of its descriptor, or one reads behind its loop's back."},
		{"netty", "a channel belongs to one event loop for life. The other reader is outside of netty."},
		{"Go", "Read calls on one Conn take turns, and who gets which bytes is chance: let one goroutine read and hand on."},
	}
}
