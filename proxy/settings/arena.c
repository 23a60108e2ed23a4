#include "proxy/settings/arena.h"

#include <stdlib.h>

#include "proxy/settings/regex.h"
#include "shared/assert.h"

enum { CHUNK_BYTES = 16384, ALIGN = 16 };

struct arena_chunk {
	struct arena_chunk *next;
	size_t used, size;
	_Alignas(ALIGN) char bytes[];
};

void arena_init(struct arena *a)
{
	*a = (struct arena){0};
}

void arena_fini(struct arena *a)
{
	struct arena_chunk *next;

	for (struct arena_chunk *c = a->chunks; c; c = next) {
		next = c->next;
		free(c);
	}
	regex_free_all(a->regexes);
	arena_init(a);
}

void *arena_alloc(struct arena *a, size_t count, size_t size)
{
	struct arena_chunk *c = a->chunks;
	size_t bytes;
	char *at;

	ASSERT(size > 0);
	if (__builtin_mul_overflow(count ? count : 1, size, &bytes) || bytes > SIZE_MAX / 2) {
		a->out_of_memory = true;
		return NULL;
	}
	bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
	if (!c || c->size - c->used < bytes) {
		size_t room = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;

		c = calloc(1, sizeof(*c) + room);
		if (!c) {
			a->out_of_memory = true;
			return NULL;
		}
		c->size = room;
		c->next = a->chunks;
		a->chunks = c;
	}
	at = c->bytes + c->used;
	c->used += bytes;
	return at;
}

struct span arena_keep(struct arena *a, struct span text)
{
	char *at = arena_alloc(a, text.len, 1);

	if (!at)
		return (struct span){0};
	if (text.len)
		memcpy(at, text.ptr, text.len);
	return span_make(at, text.len);
}

struct regex *arena_regex(
	struct arena *a, struct span pattern, char *why, size_t why_size, size_t *ret_at)
{
	struct regex *r = regex_new(pattern, why, why_size, ret_at);

	if (r)
		regex_chain(r, &a->regexes);
	return r;
}
