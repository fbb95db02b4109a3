package diagnose

const thunderingHerdC = `
/* in each worker, with an epoll instance of its own */
struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.fd = listener };
epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &ev);

/* or a listener for each: the kernel spreads the connections */
int yes = 1;
setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);       /* before bind */
`

func thunderingHerdRuntimes() []Advice {
	return []Advice{
		{"netty", "bind once for each event loop, with EpollChannelOption.SO_REUSEPORT."},
		{"tokio", "TcpSocket::set_reuseport before bind, and a listener for each worker."},
		{"Go", "set SO_REUSEPORT in net.ListenConfig's Control, and listen in each process."},
		{"asyncio", "loop.create_server with reuse_port=True in each process, in place of a listener from before the fork."},
	}
}
