/*
 * Between h2.c (the connection and what nghttp2 calls) and h2_stream.c (one stream as a
 * connection).
 */
#pragma once

#include "proxy/net/h2.h"

/* The largest piece that nghttp2 makes at a time: a frame of 16 KiB with its head and padding. */
#define H2_PIECE_MAX (16384 + 16)

/* There is something to do in the next turn of the loop. */
void h2_wake(struct h2 *h);
/* It cannot send, or is out of memory: it is given up, as its owner hears in the next turn (here a
 * stream may be sending, whose exchange must not end under it). */
void h2_break(struct h2 *h);
/* Its owner is to hear of it. */
void h2_tell(struct h2_stream *s);
/* As much as the other side and the socket take goes out. */
void h2_pump(struct h2 *h);
void h2_set_nv(nghttp2_nv *nv, const struct http_list *list);

/* A server's connection carries answers to many clients: those who do not read theirs fill their
 * own streams' windows, and never the connection's, which would stop all others. A client's
 * connection is its own, and its window bounds what it may leave here. */
static inline bool h2_keeps_connection_open(const struct h2 *h)
{
	return !h->role->server;
}

/* What nghttp2 asks when there is room for content. */
ssize_t h2_read_content(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
	uint32_t *flags, nghttp2_data_source *source, void *ctx);
int h2_write_content(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
	size_t length, nghttp2_data_source *source, void *ctx);
