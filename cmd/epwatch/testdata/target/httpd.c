/*
 * A healthy edge-triggered HTTP server in C: each worker thread has an epoll instance of its own that watches the shared
 * listener with EPOLLEXCLUSIVE, accepts until EAGAIN, reads until EAGAIN, and answers every request with the same two bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORKERS 2
#define DESCRIPTORS 65536

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
static const char end_of_head[] = "\r\n\r\n";
static int listener;
static unsigned char matched[DESCRIPTORS]; /* by descriptor, how much of end_of_head was read */

static void fail(const char *doing)
{
	perror(doing);
	exit(1);
}

static void watch(int epoll, int fd, unsigned int events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		fail("watching");
}

static void accept_all(int epoll)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		matched[fd] = 0;
		watch(epoll, fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
	}
}

static void serve(int fd)
{
	char buffer[512];

	for (;;) {
		ssize_t n = read(fd, buffer, sizeof buffer);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			close(fd);
			return;
		}
		for (ssize_t i = 0; i < n; i++) {
			matched[fd] = buffer[i] == end_of_head[matched[fd]] ? matched[fd] + 1 : buffer[i] == '\r';
			if (matched[fd] < 4)
				continue;
			matched[fd] = 0;
			if (write(fd, answer, sizeof answer - 1) != sizeof answer - 1) {
				close(fd);
				return;
			}
		}
	}
}

static void *work(void *unused)
{
	struct epoll_event events[64];
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0)
		fail("creating an epoll instance");
	watch(epoll, listener, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE);
	for (;;) {
		int n = epoll_wait(epoll, events, 64, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == listener)
				accept_all(epoll);
			else
				serve(events[i].data.fd);
		}
	}
	return unused;
}

int main(void)
{
	struct sockaddr_in where = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof where;
	pthread_t thread;

	signal(SIGPIPE, SIG_IGN);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&where, size) || listen(listener, 128) ||
	    getsockname(listener, (struct sockaddr *)&where, &size))
		fail("listening");
	for (int i = 1; i < WORKERS; i++)
		if (pthread_create(&thread, NULL, work, NULL))
			fail("starting a thread");
	printf("listen on port %d\n", ntohs(where.sin_port));
	fflush(stdout);
	work(NULL);
}
