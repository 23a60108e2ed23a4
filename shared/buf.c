/*
 * A growing byte buffer with a ceiling. One byte more than asked is always allocated, so that
 * printf has a place for its NUL even when the text fills the buffer to the ceiling.
 */
#include "shared/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "shared/assert.h"

enum { FIRST_BYTES = 256 };

void buf_init(struct buf *b, size_t ceiling_bytes)
{
	ASSERT(ceiling_bytes > 0 && ceiling_bytes < SIZE_MAX / 2);
	*b = (struct buf){.ceiling = ceiling_bytes};
}

void buf_fini(struct buf *b)
{
	free(b->data);
	buf_init(b, b->ceiling);
}

char *buf_reserve(struct buf *b, size_t want)
{
	size_t need, cap;
	char *data;

	ASSERT(b->off + b->len <= b->cap && b->cap <= b->ceiling);
	ASSERT(b->data || b->cap == 0);
	if (want > b->ceiling - b->len)
		return NULL;
	need = b->len + want;
	if (b->data && b->cap - b->off >= need)
		return b->data + b->off + b->len;
	if (b->data && b->cap >= need) {
		memmove(b->data, b->data + b->off, b->len);
		b->off = 0;
		return b->data + b->len;
	}
	cap = b->cap ? b->cap : FIRST_BYTES;
	while (cap < need)
		cap *= 2;
	if (cap > b->ceiling)
		cap = b->ceiling;
	data = malloc(cap + 1);
	if (!data)
		return NULL;
	if (b->len)
		memcpy(data, b->data + b->off, b->len);
	free(b->data);
	b->data = data;
	b->off = 0;
	b->cap = cap;
	return b->data + b->len;
}

void buf_grew(struct buf *b, size_t by)
{
	ASSERT(by <= b->cap - b->off - b->len);
	b->len += by;
}

void buf_shorten(struct buf *b, size_t len)
{
	ASSERT(len <= b->len);
	b->len = len;
}

void buf_consume(struct buf *b, size_t by)
{
	ASSERT(by <= b->len);
	b->off += by;
	b->len -= by;
	if (b->len == 0)
		b->off = 0;
}

int buf_append(struct buf *b, struct span s)
{
	char *to = buf_reserve(b, s.len);

	if (!to)
		return -1;
	if (s.len)
		memcpy(to, s.ptr, s.len);
	buf_grew(b, s.len);
	return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list args;
	char *to;
	int n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	to = n < 0 ? NULL : buf_reserve(b, (size_t)n);
	if (!to)
		return -1;
	va_start(args, fmt);
	n = vsnprintf(to, (size_t)n + 1, fmt, args);
	va_end(args);
	ASSERT(n >= 0);
	buf_grew(b, (size_t)n);
	return 0;
}
