package diagnose

const ghostEventC = `
epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);      /* while fd still names the file */
close(fd);                                      /* a duplicate may live on, unwatched */
`

func ghostEventRuntimes() []Advice {
	return []Advice{
		{"libuv", "close what a handle watches by uv_close, or after it in the close callback, and never behind the handle's back: then it " +
			"is off the interest list first."},
		{"tokio", "a registration ends when its owner is dropped. Give AsyncFd the descriptor's owner, such as an OwnedFd, and not a number that " +
			"somebody else closes."},
		{"Go", "the runtime takes a descriptor off its list before it closes it. What is found was registered by hand."},
		{"asyncio", "call loop.remove_reader and loop.remove_writer before closing what add_reader and add_writer were given."},
	}
}
