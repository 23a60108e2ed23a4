#include "tests/bench/origin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/assert.h"
#include "tests/bench/stream.h"

enum { IN_MAX = 8192, HEAD_MAX = 320, SERVERS_A_BYTE = 250 };

struct answer {
	const char *path;
	uint64_t body_bytes;
	char head[HEAD_MAX];
	size_t head_len;
};

struct listener {
	struct source source;
	struct origin *origin;
	int fd;
};

struct origin {
	int epoll;
	struct listener *listeners;
};

struct server_conn {
	struct source source;
	int epoll, fd;
	bool blocked; /* waits for EPOLLOUT, and only for that */
	const struct answer
		*asked;	    /* the request whose body is being read or that is being answered */
	uint64_t body_left; /* of the request */
	struct stream answer;
	size_t in_len;
	char in[IN_MAX + 1];
};

static struct answer answers[] = {
	{.path = "/0", .body_bytes = 0},
	{.path = "/1k", .body_bytes = 1 << 10},
	{.path = "/10k", .body_bytes = 10 << 10},
	{.path = "/100k", .body_bytes = 100 << 10},
	{.path = "/1m", .body_bytes = 1 << 20},
	{.path = "/100m", .body_bytes = 100 << 20},
};

enum { ANSWERS = sizeof(answers) / sizeof(answers[0]) };

static void answers_prepare(void)
{
	for (unsigned i = 0; i < ANSWERS; i++) {
		int len = snprintf(answers[i].head, HEAD_MAX,
			"HTTP/1.1 200 OK\r\n"
			"Date: Sun, 01 Nov 2026 10:00:00 GMT\r\n"
			"Content-Type: application/octet-stream\r\n"
			"Last-Modified: Sat, 31 Oct 2026 10:00:00 GMT\r\n"
			"ETag: \"bench-%u\"\r\n"
			"Content-Length: %llu\r\n\r\n",
			i, (unsigned long long)answers[i].body_bytes);

		ASSERT(len > 0 && len < HEAD_MAX);
		answers[i].head_len = (size_t)len;
	}
}

static const struct answer *answer_find(const char *path, size_t len)
{
	for (unsigned i = 0; i < ANSWERS; i++)
		if (strlen(answers[i].path) == len && memcmp(answers[i].path, path, len) == 0)
			return &answers[i];
	return NULL;
}

static void conn_free(struct server_conn *c)
{
	close(c->fd);
	free(c);
}

static void in_consume(struct server_conn *c, size_t n)
{
	c->in_len -= n;
	memmove(c->in, c->in + n, c->in_len);
}

/* Takes a request head off the buffer. 1: taken; 0: not whole yet; -1: not for us. */
static int head_take(struct server_conn *c)
{
	char *end, *path, *path_end;
	const char *length;

	c->in[c->in_len] = '\0';
	end = strstr(c->in, "\r\n\r\n");
	if (!end)
		return c->in_len == IN_MAX ? -1 : 0;
	end[2] = '\0';
	path = strchr(c->in, ' ');
	path_end = path ? strchr(path + 1, ' ') : NULL;
	if (!path_end || head_field(c->in, "transfer-encoding"))
		return -1;
	c->asked = answer_find(path + 1, (size_t)(path_end - path) - 1);
	if (!c->asked)
		return -1;
	length = head_field(c->in, "content-length");
	c->body_left = length ? strtoull(length, NULL, 10) : 0;
	in_consume(c, (size_t)(end - c->in) + 4);
	return 1;
}

/* Goes on sending the answer, and from then on waits for what comes next. */
static int answer_send(struct server_conn *c)
{
	enum stream_rc rc = stream_send(&c->answer, c->fd);
	bool blocked = rc == STREAM_BLOCKED;

	if (rc == STREAM_BROKEN)
		return -1;
	if (blocked != c->blocked)
		source_change(c->epoll, c->fd, blocked ? EPOLLOUT : EPOLLIN, &c->source);
	c->blocked = blocked;
	if (!blocked)
		c->asked = NULL;
	return 0;
}

static int body_taken(struct server_conn *c)
{
	ASSERT(c->asked && c->body_left == 0);
	c->answer = (struct stream){
		.head = c->asked->head,
		.head_len = c->asked->head_len,
		.body_bytes = c->asked->body_bytes,
	};
	return answer_send(c);
}

/* Does all that can be done with what has been read. */
static int requests_serve(struct server_conn *c)
{
	while (c->in_len > 0 && !c->blocked) {
		uint64_t n;
		int rc = c->asked ? 1 : head_take(c);

		if (rc <= 0)
			return rc;
		n = c->in_len < c->body_left ? c->in_len : c->body_left;
		in_consume(c, (size_t)n);
		c->body_left -= n;
		if (c->body_left > 0)
			return 0;
		if (body_taken(c) < 0)
			return -1;
	}
	return 0;
}

static int conn_read(struct server_conn *c)
{
	ssize_t n;

	if (c->asked) {
		n = stream_discard(c->fd, c->body_left);
		if (n > 0) {
			c->body_left -= (uint64_t)n;
			return c->body_left == 0 ? body_taken(c) : 0;
		}
	} else {
		n = recv(c->fd, c->in + c->in_len, IN_MAX - c->in_len, MSG_DONTWAIT);
		if (n > 0) {
			c->in_len += (size_t)n;
			return requests_serve(c);
		}
	}
	return n < 0 && errno == EAGAIN ? 0 : -1;
}

static void on_conn_event(struct source *s, uint32_t events)
{
	struct server_conn *c = (struct server_conn *)(void *)s;
	int rc;

	(void)events;
	if (c->blocked)
		rc = answer_send(c) < 0 ? -1 : requests_serve(c);
	else
		rc = conn_read(c);
	if (rc < 0)
		conn_free(c);
}

static void on_connection(struct source *s, uint32_t events)
{
	struct listener *l = (struct listener *)(void *)s;
	int fd, one = 1;

	(void)events;
	while ((fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct server_conn *c = calloc(1, sizeof(*c));

		if (!c) {
			close(fd);
			return;
		}
		c->source.on_event = on_conn_event;
		c->epoll = l->origin->epoll;
		c->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (source_add(c->epoll, fd, EPOLLIN, &c->source) < 0)
			conn_free(c);
	}
}

static int listener_open(struct listener *l, struct origin *o, uint32_t address, uint16_t port)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(address),
	};
	int one = 1;

	l->source.on_event = on_connection;
	l->origin = o;
	l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return -1;
	setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(l->fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(l->fd, 4096) < 0)
		return -1;
	return source_add(o->epoll, l->fd, EPOLLIN, &l->source);
}

struct origin *origin_new(int epoll, uint16_t port, unsigned servers)
{
	struct origin *o = calloc(1, sizeof(*o));
	int error;

	ASSERT(servers > 0 && servers <= SERVERS_A_BYTE * 255);
	answers_prepare();
	if (!o)
		return NULL;
	o->epoll = epoll;
	o->listeners = calloc(servers, sizeof(*o->listeners));
	for (unsigned i = 0; o->listeners && i < servers; i++) {
		uint32_t address = servers == 1
					   ? INADDR_LOOPBACK
					   : (127u << 24 | 1u << 16 | i / SERVERS_A_BYTE << 8) +
						     i % SERVERS_A_BYTE + 1;

		if (listener_open(&o->listeners[i], o, address, port) == 0)
			continue;
		error = errno; /* the process ends on it: the sockets go with it */
		free(o->listeners);
		free(o);
		errno = error;
		return NULL;
	}
	return o;
}
