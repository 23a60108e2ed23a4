/*
 * A growing byte buffer with a ceiling given at init: what is [off, off+len) is content; bytes are
 * appended at the end and consumed from the front. For control traffic and text, not the data path.
 */
#pragma once

#include "shared/span.h"

struct buf {
	char *data;
	size_t off, len, cap, ceiling;
};

void buf_init(struct buf *b, size_t ceiling_bytes);
void buf_fini(struct buf *b);
/* -1 when the ceiling or memory does not allow it; the buffer is then unchanged. */
int buf_append(struct buf *b, struct span s);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Room for at least want bytes after the content; NULL as above. Follow with buf_grew. */
char *buf_reserve(struct buf *b, size_t want);
void buf_grew(struct buf *b, size_t by);
void buf_consume(struct buf *b, size_t by);
/* Takes back what was appended behind the first len bytes. */
void buf_shorten(struct buf *b, size_t len);
static inline struct span buf_span(const struct buf *b)
{
	return span_make(b->data ? b->data + b->off : "", b->len);
}
