/*
 * What both ends of the load have in common: a message that leaves piece by piece, a body that is
 * thrown away without being copied, and a place in the one epoll loop that carries both ends.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first member of whatever an epoll event points to. */
struct source {
	void (*on_event)(struct source *s, uint32_t events);
};

/* A head, then body_bytes of a fixed pattern. Borrows the head until it was sent. */
struct stream {
	const char *head;
	size_t head_len;
	uint64_t body_bytes;
	uint64_t sent;
};

enum stream_rc { STREAM_DONE, STREAM_BLOCKED, STREAM_BROKEN };

/* Sends what the socket takes now. With STREAM_BROKEN errno says why. */
enum stream_rc stream_send(struct stream *s, int fd);
/* Throws away up to max_bytes of what came; returns as recv() does. */
ptrdiff_t stream_discard(int fd, uint64_t max_bytes);
/* Listens for events, EPOLLIN and EPOLLOUT. Returns 0, or -1 with errno. */
int source_add(int epoll, int fd, uint32_t events, struct source *s);
void source_change(int epoll, int fd, uint32_t events, struct source *s);
/* The value of a field in a NUL-terminated head, with the rest of the head after it; NULL if
 * missing. */
const char *head_field(const char *head, const char *name);
