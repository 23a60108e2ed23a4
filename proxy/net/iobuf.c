#include "proxy/net/iobuf.h"

#include "shared/assert.h"

void iobuf_pool_fini(struct iobuf_pool *p)
{
	for (struct iobuf *b = p->small, *next; b; b = next) {
		next = b->next_free;
		free(b);
	}
	for (struct iobuf *b = p->large, *next; b; b = next) {
		next = b->next_free;
		free(b);
	}
	*p = (struct iobuf_pool){0};
}

struct iobuf *iobuf_get(struct iobuf_pool *p, uint32_t size)
{
	struct iobuf **list = size == IOBUF_SMALL_BYTES ? &p->small : &p->large;
	struct iobuf *b = *list;

	ASSERT(size == IOBUF_SMALL_BYTES || size == IOBUF_LARGE_BYTES);
	if (b) {
		*list = b->next_free;
		--*(size == IOBUF_SMALL_BYTES ? &p->small_free : &p->large_free);
	} else {
		b = malloc(sizeof(*b) + size);
		if (!b)
			return NULL;
		b->size = size;
	}
	b->start = b->end = 0;
	return b;
}

bool iobuf_make_room(struct iobuf_pool *p, struct iobuf **b)
{
	struct iobuf *from = *b, *to = from;

	if (from->start == 0) {
		to = from->size < IOBUF_LARGE_BYTES ? iobuf_get(p, IOBUF_LARGE_BYTES) : NULL;
		if (!to)
			return false;
	}
	memmove(to->data, from->data + from->start, from->end - from->start);
	to->end = from->end - from->start;
	to->start = 0;
	if (to != from) {
		iobuf_put(p, from);
		*b = to;
	}
	return true;
}

void iobuf_put(struct iobuf_pool *p, struct iobuf *b)
{
	struct iobuf **list;
	unsigned *kept;

	if (!b)
		return;
	list = b->size == IOBUF_SMALL_BYTES ? &p->small : &p->large;
	kept = b->size == IOBUF_SMALL_BYTES ? &p->small_free : &p->large_free;
	if (*kept >= IOBUF_KEEP) {
		free(b);
		return;
	}
	b->next_free = *list;
	*list = b;
	++*kept;
}
