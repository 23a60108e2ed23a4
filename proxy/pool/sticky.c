#include "proxy/pool/sticky.h"

#include <stdlib.h>

#include "shared/assert.h"
#include "shared/map.h"

struct sticky_slot {
	uint64_t value; /* 0: free */
	struct server *server;
};

struct sticky_table {
	size_t mask; /* at least half of the slots are free */
	struct sticky_slot slots[];
};

uint64_t sticky_value(const uint64_t key[2], const struct server *s)
{
	uint64_t value = hash_bytes(span_of(s->key), key);

	return value ? value : 1;
}

void sticky_format(uint64_t value, char out[STICKY_TEXT_LEN])
{
	for (unsigned i = 0; i < STICKY_TEXT_LEN; i++)
		out[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
}

uint64_t sticky_parse(struct span text)
{
	uint64_t value = 0;

	if (text.len != STICKY_TEXT_LEN)
		return 0;
	for (unsigned i = 0; i < STICKY_TEXT_LEN; i++) {
		char c = text.ptr[i];

		if (c >= '0' && c <= '9')
			value = value << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (uint64_t)(c - 'a' + 10);
		else
			return 0;
	}
	return value;
}

struct sticky_table *sticky_table_new(unsigned servers)
{
	struct sticky_table *t;
	size_t size = 2;

	while (size < 2 * (size_t)servers)
		size *= 2;
	t = calloc(1, sizeof(*t) + size * sizeof(t->slots[0]));
	if (t)
		t->mask = size - 1;
	return t;
}

/* Where the value is, or would be: values are as good as random. */
static size_t slot_of(const struct sticky_table *t, uint64_t value)
{
	size_t at = value & t->mask;

	while (t->slots[at].value && t->slots[at].value != value)
		at = (at + 1) & t->mask;
	return at;
}

void sticky_table_add(struct sticky_table *t, uint64_t value, struct server *s)
{
	ASSERT(value);
	t->slots[slot_of(t, value)] = (struct sticky_slot){value, s};
}

struct server *sticky_table_find(const struct sticky_table *t, uint64_t value)
{
	ASSERT(value);
	return t->slots[slot_of(t, value)].server;
}
