#include "tests/fuzz/fake_net.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/units.h"

#define LISTENERS_MAX 4
#define FD_BASE 400 /* no file of the process itself is that high */
#define FD_LISTEN (FD_BASE + FAKE_CONNS_MAX)
#define FD_PIPE (FD_LISTEN + LISTENERS_MAX)
#define PIPES 8
#define PIPE_BYTES 65536
#define FD_END (FD_PIPE + 2 * PIPES)
#define WINDOW_BYTES (16 * 1024 * 1024)
#define WALL_NS (UINT64_C(1800000000) * NS_PER_S)

struct fake_net fake_net;

static struct listening {
	bool open, watched;
	uint64_t epoll_data;
	uint32_t events;
	unsigned queue[FAKE_CONNS_MAX], queued; /* indices of conns */
} listening[LISTENERS_MAX];

static struct pipe {
	bool open[2]; /* its two ends */
	size_t len;
	char data[PIPE_BYTES];
} pipes[PIPES];

static bool is_fake(int fd)
{
	return fd >= FD_BASE && fd < FD_END;
}

static struct fake_conn *conn_at(int fd)
{
	struct fake_conn *c;

	ASSERT(fd >= FD_BASE && fd < FD_LISTEN);
	c = &fake_net.conns[fd - FD_BASE];
	ASSERT(c->fd == fd);
	return c;
}

static void append(struct fake_bytes *b, const void *bytes, size_t len)
{
	if (b->len + len > b->room) {
		b->room = 2 * (b->len + len);
		fake_net.busy = true;
		b->data = realloc(b->data, b->room);
		fake_net.busy = false;
		ASSERT(b->data);
	}
	if (len)
		memcpy(b->data + b->len, bytes, len);
	b->len += len;
}

static int fail(int error)
{
	errno = error;
	return -1;
}

static struct fake_conn *conn_new(void)
{
	struct fake_conn *c;

	if (fake_net.conn_count == FAKE_CONNS_MAX)
		return NULL;
	c = &fake_net.conns[fake_net.conn_count++];
	*c = (struct fake_conn){.fd = -1, .window = WINDOW_BYTES, .in = c->in, .out = c->out};
	c->in.len = c->out.len = 0;
	return c;
}

/* --- the far end ---------------------------------------------------------------------------------
 */

int fake_net_listen(const struct addr *a)
{
	(void)a;
	for (int i = 0; i < LISTENERS_MAX; i++)
		if (!listening[i].open) {
			listening[i] = (struct listening){.open = true};
			return FD_LISTEN + i;
		}
	ASSERT(!"more listening sockets than a test needs");
}

void fake_net_reset(void)
{
	for (unsigned i = 0; i < fake_net.conn_count; i++)
		ASSERT(fake_net.conns[i].fd < 0);
	for (int i = 0; i < LISTENERS_MAX; i++)
		listening[i].queued = 0;
	fake_net.conn_count = 0;
	fake_net.read_max = SIZE_MAX;
	fake_net.next_connect = FAKE_CONNECT_GOOD;
	fake_net.next_socket_fails = false;
	/* Deadlines are rounded to a tick of the wheel (2^26 ns): the same way each time. */
	fake_net.now_ns = ((fake_net.now_ns >> 26) + 3) << 26;
	fake_net.started_ns = fake_net.now_ns;
}

struct fake_conn *fake_net_client(int listen_fd, const struct addr *peer)
{
	struct listening *l = &listening[listen_fd - FD_LISTEN];
	struct fake_conn *c = l->open ? conn_new() : NULL;

	if (!c)
		return NULL;
	c->from_client = true;
	c->peer = *peer;
	l->queue[l->queued++] = (unsigned)(c - fake_net.conns);
	return c;
}

void fake_net_say(struct fake_conn *c, const void *bytes, size_t len)
{
	if (!c->in_end && !c->in_reset)
		append(&c->in, bytes, len);
}

void fake_net_hang_up(struct fake_conn *c)
{
	if (!c->deaf)
		c->out_heard = c->out.len;
	c->in_end = c->deaf = true;
}

/* --- the program's system calls
 * ---------------------------------------------------------------------- */

int __real_close(int fd);
int __wrap_close(int fd);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags);
int __wrap_pipe2(int fds[2], int flags);
int __real_fcntl(int fd, int command, int value);
int __wrap_fcntl(int fd, int command, int value);
int __wrap_shutdown(int fd, int how);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
uint64_t __wrap_realtime_ns(void);

int __wrap_close(int fd)
{
	struct fake_conn *c;

	if (!is_fake(fd))
		return __real_close(fd);
	if (fd >= FD_PIPE) {
		bool *end = &pipes[(fd - FD_PIPE) / 2].open[(fd - FD_PIPE) % 2];

		ASSERT(*end);
		*end = false;
		return 0;
	}
	if (fd >= FD_LISTEN) {
		ASSERT(listening[fd - FD_LISTEN].open);
		listening[fd - FD_LISTEN].open = false;
		return 0;
	}
	c = conn_at(fd);
	c->fd = -1;
	c->watched = false;
	if (c->reset_on_close || c->in_read < c->in.len)
		c->out_reset = true;
	else
		c->out_end = true;
	return 0;
}

int __wrap_socket(int domain, int type, int protocol)
{
	struct fake_conn *c;

	(void)domain;
	(void)type;
	(void)protocol;
	if (fake_net.next_socket_fails) {
		fake_net.next_socket_fails = false;
		return fail(EMFILE);
	}
	c = conn_new();
	if (!c)
		return fail(EMFILE);
	c->fd = FD_BASE + (int)(c - fake_net.conns);
	return c->fd;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
	struct fake_conn *c = conn_at(fd);

	fake_net.calls++;
	ASSERT(len <= sizeof(c->peer));
	memcpy(&c->peer, address, len);
	c->state = fake_net.next_connect == FAKE_CONNECT_GOOD	   ? FAKE_CONNECTED
		   : fake_net.next_connect == FAKE_CONNECT_REFUSED ? FAKE_REFUSED
								   : FAKE_CONNECTING;
	fake_net.next_connect = FAKE_CONNECT_GOOD;
	return fail(EINPROGRESS);
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
	struct listening *l = &listening[fd - FD_LISTEN];
	struct fake_conn *c;

	(void)flags;
	ASSERT(fd >= FD_LISTEN && l->open);
	if (!l->queued)
		return fail(EAGAIN);
	c = &fake_net.conns[l->queue[0]];
	memmove(l->queue, l->queue + 1, --l->queued * sizeof(l->queue[0]));
	memcpy(address, &c->peer, addr_len(&c->peer));
	*len = addr_len(&c->peer);
	c->fd = FD_BASE + (int)(c - fake_net.conns);
	return c->fd;
}

static ssize_t do_recv(int fd, void *out, size_t size)
{
	struct fake_conn *c = conn_at(fd);
	size_t n = c->in.len - c->in_read;

	fake_net.calls++;
	if (n) {
		n = n < size ? n : size;
		n = n < fake_net.read_max ? n : fake_net.read_max;
		memcpy(out, c->in.data + c->in_read, n);
		c->in_read += n;
		return (ssize_t)n;
	}
	if (c->in_reset)
		return fail(ECONNRESET);
	return c->in_end ? 0 : fail(EAGAIN);
}

/* How many of len bytes are taken; -1 with errno. */
static ssize_t take(struct fake_conn *c, size_t len)
{
	fake_net.calls++;
	ASSERT(c->state == FAKE_CONNECTED);
	if (c->in_reset)
		return fail(c->deaf ? EPIPE : ECONNRESET);
	if (c->out_end)
		return fail(EPIPE);
	if (c->deaf) /* the reset comes back for these bytes */
		c->in_reset = true;
	len = len < c->window ? len : c->window;
	c->window -= len;
	return len ? (ssize_t)len : fail(EAGAIN);
}

static ssize_t do_send(int fd, const void *data, size_t len, int flags)
{
	struct fake_conn *c = conn_at(fd);
	ssize_t n = take(c, len);

	ASSERT(flags & MSG_NOSIGNAL && len > 0);
	if (n > 0)
		append(&c->out, data, (size_t)n);
	return n;
}

static ssize_t do_sendmsg(int fd, const struct msghdr *m, int flags)
{
	struct fake_conn *c = conn_at(fd);
	size_t total = 0, left;
	ssize_t n;

	ASSERT(flags & MSG_NOSIGNAL);
	for (size_t i = 0; i < m->msg_iovlen; i++)
		total += m->msg_iov[i].iov_len;
	ASSERT(total > 0);
	n = take(c, total);
	left = n > 0 ? (size_t)n : 0;
	for (size_t i = 0; i < m->msg_iovlen; i++) {
		size_t part = left < m->msg_iov[i].iov_len ? left : m->msg_iov[i].iov_len;

		append(&c->out, m->msg_iov[i].iov_base, part);
		left -= part;
	}
	return n;
}

int __wrap_pipe2(int fds[2], int flags)
{
	(void)flags;
	for (int i = 0; i < PIPES; i++)
		if (!pipes[i].open[0] && !pipes[i].open[1]) {
			pipes[i].open[0] = pipes[i].open[1] = true;
			pipes[i].len = 0;
			fds[0] = FD_PIPE + 2 * i;
			fds[1] = FD_PIPE + 2 * i + 1;
			return 0;
		}
	return fail(EMFILE);
}

/* Only to make pipes larger, which these are not. */
int __wrap_fcntl(int fd, int command, int value)
{
	return fd >= FD_PIPE && fd < FD_END ? 0 : __real_fcntl(fd, command, value);
}

/* From a socket to a pipe, or from a pipe to a socket. */
static ssize_t do_splice(int from, int to, size_t len, unsigned flags)
{
	struct pipe *p = &pipes[((from >= FD_PIPE ? from : to) - FD_PIPE) / 2];
	ssize_t n;

	ASSERT(flags & SPLICE_F_NONBLOCK && len > 0);
	if (to >= FD_PIPE) {
		len = len < PIPE_BYTES - p->len ? len : PIPE_BYTES - p->len;
		n = len ? do_recv(from, p->data + p->len, len) : fail(EAGAIN);
		p->len += n > 0 ? (size_t)n : 0;
		return n;
	}
	ASSERT(p->len > 0);
	len = len < p->len ? len : p->len;
	n = take(conn_at(to), len);
	if (n > 0) {
		append(&conn_at(to)->out, p->data, (size_t)n);
		p->len -= (size_t)n;
		memmove(p->data, p->data + n, p->len);
	}
	return n;
}

/* The calls that move bytes come by number (net/rawio.h). */
long __wrap_syscall(long number, ...)
{
	bool moves = number == SYS_recvfrom || number == SYS_sendto || number == SYS_splice;
	long a[6] = {0};
	va_list args;

	va_start(args, number);
	for (unsigned i = 0; i < (moves ? 6 : 3); i++) /* nobody passes more than three to others */
		a[i] = va_arg(args, long);
	va_end(args);
	if (is_fake((int)a[0])) {
		if (number == SYS_recvfrom)
			return do_recv((int)a[0], (void *)a[1], (size_t)a[2]);
		if (number == SYS_sendto)
			return do_send((int)a[0], (const void *)a[1], (size_t)a[2], (int)a[3]);
		if (number == SYS_sendmsg)
			return do_sendmsg((int)a[0], (const struct msghdr *)a[1], (int)a[2]);
		if (number == SYS_splice)
			return do_splice(
				(int)a[0], (int)a[2], (size_t)a[4], (unsigned)(unsigned long)a[5]);
		ASSERT(!"a call that this network has");
	}
	return __real_syscall(number, a[0], a[1], a[2]);
}

int __wrap_shutdown(int fd, int how)
{
	struct fake_conn *c = conn_at(fd);

	ASSERT(how == SHUT_WR);
	if (c->in_reset)
		return fail(ENOTCONN);
	c->out_end = true;
	return 0;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	struct fake_conn *c = conn_at(fd);
	int error = c->state == FAKE_REFUSED ? ECONNREFUSED : 0;

	if (level != SOL_SOCKET || name != SO_ERROR || *len != sizeof(error))
		return fail(ENOPROTOOPT);
	memcpy(value, &error, sizeof(error));
	return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	struct fake_conn *c = conn_at(fd);
	struct linger l;

	if (level == SOL_SOCKET && name == SO_LINGER && len == sizeof(l)) {
		memcpy(&l, value, sizeof(l));
		c->reset_on_close = l.l_onoff && l.l_linger == 0;
	}
	return 0;
}

/* --- what libev calls
 * -------------------------------------------------------------------------------- */

static uint32_t readiness(const struct fake_conn *c)
{
	uint32_t ready = 0;

	if (c->state == FAKE_CONNECTING)
		return 0;
	if (c->state == FAKE_REFUSED)
		return EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP;
	if (c->in_read < c->in.len || c->in_end || c->in_reset)
		ready |= EPOLLIN;
	if (c->window || c->in_reset)
		ready |= EPOLLOUT;
	if (c->in_reset)
		ready |= EPOLLERR | EPOLLHUP;
	return ready;
}

int epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
	bool *watched;
	uint32_t *events;
	uint64_t *data;

	fake_net.calls++;
	if (!is_fake(fd))
		return (int)__real_syscall(SYS_epoll_ctl, epoll_fd, op, fd, event);
	if (fd >= FD_LISTEN) {
		struct listening *l = &listening[fd - FD_LISTEN];

		if (!l->open)
			return fail(EBADF);
		watched = &l->watched, events = &l->events, data = &l->epoll_data;
	} else {
		struct fake_conn *c = &fake_net.conns[fd - FD_BASE];

		if (c->fd != fd)
			return fail(EBADF);
		watched = &c->watched, events = &c->events, data = &c->epoll_data;
	}
	if (op == EPOLL_CTL_ADD && *watched)
		return fail(EEXIST);
	if (op != EPOLL_CTL_ADD && !*watched)
		return fail(ENOENT);
	*watched = op != EPOLL_CTL_DEL;
	if (event) {
		*events = event->events;
		*data = event->data.u64;
	}
	return 0;
}

int epoll_wait(int epoll_fd, struct epoll_event *out, int max, int timeout_ms)
{
	int n = 0;

	if (!fake_net.on)
		return (int)__real_syscall(SYS_epoll_wait, epoll_fd, out, max, timeout_ms);
	for (int i = 0; i < LISTENERS_MAX && n < max; i++)
		if (listening[i].open && listening[i].watched && listening[i].queued &&
			listening[i].events & EPOLLIN)
			out[n++] = (struct epoll_event){
				.events = EPOLLIN, .data.u64 = listening[i].epoll_data};
	for (unsigned i = 0; i < fake_net.conn_count && n < max; i++) {
		const struct fake_conn *c = &fake_net.conns[i];
		uint32_t ready = c->watched ? readiness(c) & (c->events | EPOLLERR | EPOLLHUP) : 0;

		if (ready)
			out[n++] = (struct epoll_event){.events = ready, .data.u64 = c->epoll_data};
	}
	fake_net.polled = (uint64_t)n;
	return n;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	if (!fake_net.on || id != CLOCK_MONOTONIC)
		return (int)__real_syscall(SYS_clock_gettime, id, ts);
	ts->tv_sec = (time_t)(fake_net.now_ns / NS_PER_S);
	ts->tv_nsec = (long)(fake_net.now_ns % NS_PER_S);
	return 0;
}

uint64_t __wrap_realtime_ns(void)
{
	return WALL_NS + (fake_net.now_ns - fake_net.started_ns);
}
