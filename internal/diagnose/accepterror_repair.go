package diagnose

const acceptErrorC = `
int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
	close(spare);                   /* make room for one */
	fd = accept(listener, NULL, NULL);
	if (fd >= 0)
		close(fd);              /* the client is told, and the queue is shorter */
	spare = open("/", O_RDONLY | O_CLOEXEC);
}
`

func acceptErrorRuntimes() []Advice {
	return []Advice{
		{"netty", "ServerBootstrap stops accepting for a second after an error, so it does not spin; it stays at its limit all the same."},
		{"tokio", "accept() returns the error at once, and the connection stays: sleep a moment before the next accept() instead of only " +
			"logging it."},
		{"Go", "net/http's Serve waits from 5 ms up to 1 s after such an error. A loop of your own around Accept has to do the same."},
		{"asyncio", "takes the listener off the loop for a second after such an error, so it does not spin."},
	}
}
