#include "tests/bench/stream.h"

#include <errno.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "shared/assert.h"

enum { PATTERN_BYTES = 256 << 10, DISCARD_MAX = 4 << 20 };

/* Text that no proxy could take for anything, made once. */
static const char *pattern(void)
{
	static char bytes[PATTERN_BYTES];

	if (!bytes[0])
		for (unsigned i = 0; i < PATTERN_BYTES; i++)
			bytes[i] = (char)('a' + (i * 7 + i / 26) % 26);
	return bytes;
}

enum stream_rc stream_send(struct stream *s, int fd)
{
	uint64_t total = s->head_len + s->body_bytes;

	while (s->sent < total) {
		struct iovec parts[2];
		struct msghdr message = {.msg_iov = parts};
		uint64_t off = 0, left;
		ssize_t n;

		if (s->sent < s->head_len)
			parts[message.msg_iovlen++] = (struct iovec){
				(void *)(uintptr_t)(s->head + s->sent), s->head_len - s->sent};
		else
			off = (s->sent - s->head_len) % PATTERN_BYTES;
		left = s->sent < s->head_len ? s->body_bytes : total - s->sent;
		if (left > PATTERN_BYTES - off)
			left = PATTERN_BYTES - off;
		if (left > 0)
			parts[message.msg_iovlen++] =
				(struct iovec){(void *)(uintptr_t)(pattern() + off), left};
		n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == ENOTCONN))
			return STREAM_BLOCKED;
		if (n < 0)
			return STREAM_BROKEN;
		s->sent += (uint64_t)n;
	}
	return STREAM_DONE;
}

ptrdiff_t stream_discard(int fd, uint64_t max_bytes)
{
	/* MSG_TRUNC on TCP: taken off the queue, copied nowhere (tcp(7)). */
	return recv(fd, NULL, max_bytes < DISCARD_MAX ? max_bytes : DISCARD_MAX,
		MSG_TRUNC | MSG_DONTWAIT);
}

int source_add(int epoll, int fd, uint32_t events, struct source *s)
{
	struct epoll_event event = {.events = events, .data.ptr = s};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

void source_change(int epoll, int fd, uint32_t events, struct source *s)
{
	struct epoll_event event = {.events = events, .data.ptr = s};
	int rc = epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);

	ASSERT(rc == 0);
}

const char *head_field(const char *head, const char *name)
{
	size_t len = strlen(name);

	for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n"))
		if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':')
			return line + 3 + len + strspn(line + 3 + len, " \t");
	return NULL;
}
