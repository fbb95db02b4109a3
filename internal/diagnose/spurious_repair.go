package diagnose

const spuriousWakeupC = `
/* threads that share an instance: one of them is told, and no other until it says so */
ev.events = EPOLLIN | EPOLLONESHOT;
epoll_ctl(epoll, EPOLL_CTL_ADD, conn->fd, &ev);

/* processes that share a listener */
ev.events = EPOLLIN | EPOLLEXCLUSIVE;
epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &ev);
`
