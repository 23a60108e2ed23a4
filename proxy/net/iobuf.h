/*
 * I/O buffers of a worker, in two sizes, kept on free lists. A connection holds one only while it
 * has bytes in hand; an idle one holds none.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shared/span.h"

#define IOBUF_SMALL_BYTES (16 * 1024)
#define IOBUF_LARGE_BYTES (64 * 1024) /* takes the largest head that limits may allow, and bulk */

struct iobuf { /* content is data[start, end) */
	struct iobuf *next_free;
	uint32_t size, start, end;
	char data[];
};

struct iobuf_pool {
	struct iobuf *small, *large;
	unsigned small_free, large_free;
};

#define IOBUF_KEEP 256 /* free ones kept of each size; more go back to malloc */

void iobuf_pool_fini(struct iobuf_pool *p);
struct iobuf *iobuf_get(struct iobuf_pool *p, uint32_t size); /* NULL when out of memory */
void iobuf_put(struct iobuf_pool *p, struct iobuf *b);	      /* NULL is fine */
/* More room behind the content: it moves to the front, or else into a large buffer that takes the
 * place of *b. False when the buffer is as large as they get, or out of memory. */
bool iobuf_make_room(struct iobuf_pool *p, struct iobuf **b);

static inline struct span iobuf_span(const struct iobuf *b)
{
	return span_make(b->data + b->start, b->end - b->start);
}

static inline uint32_t iobuf_room(const struct iobuf *b)
{
	return b->size - b->end;
}
