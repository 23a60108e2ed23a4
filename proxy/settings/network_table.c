#include "proxy/settings/network_table.h"

#include <errno.h>
#include <stdlib.h>

#include "shared/assert.h"

#define NOBODY UINT32_MAX
enum { LEVELS = 129 /* networks within each other */ };

struct address { /* 128 bits, the upper half first: they sort as numbers do */
	uint64_t high, low;
};

struct network {
	struct address first, last;
	uint32_t tag, line;
};

struct range { /* from here to the next one */
	struct address first;
	uint32_t tag; /* NOBODY: a gap */
};

struct network_table {
	struct network *networks; /* until it is closed */
	size_t network_count, network_room;
	struct range *ranges;
	size_t range_count;
};

static int compare(struct address a, struct address b)
{
	if (a.high != b.high)
		return a.high < b.high ? -1 : 1;
	return (a.low > b.low) - (a.low < b.low);
}

static uint64_t read_64(const uint8_t *p)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static struct address address_of(sa_family_t family, const uint8_t *bytes)
{
	if (family == AF_INET)
		return (struct address){0, UINT64_C(0xffff00000000) | (uint64_t)bytes[0] << 24 |
						   (uint64_t)bytes[1] << 16 |
						   (uint64_t)bytes[2] << 8 | bytes[3]};
	return (struct address){read_64(bytes), read_64(bytes + 8)};
}

/* The bits behind the prefix. */
static struct address host_mask(unsigned bits)
{
	struct address m = {0, 0};

	ASSERT(bits <= 128);
	m.high = bits >= 64 ? 0 : UINT64_MAX >> bits;
	m.low = bits <= 64 ? UINT64_MAX : bits == 128 ? 0 : UINT64_MAX >> (bits - 64);
	return m;
}

struct network_table *network_table_new(void)
{
	return calloc(1, sizeof(struct network_table));
}

void network_table_free(struct network_table *t)
{
	if (!t)
		return;
	free(t->networks);
	free(t->ranges);
	free(t);
}

int network_table_add(
	struct network_table *t, const struct cidr *network, uint32_t tag, uint32_t line)
{
	struct address mask = host_mask(network->bits + (network->family == AF_INET ? 96 : 0));
	struct address a = address_of(network->family, network->bytes);

	ASSERT(tag != NOBODY && !t->ranges);
	if (t->network_count == NETWORKS_MAX) {
		errno = ENOSPC;
		return -1;
	}
	if (t->network_count == t->network_room) {
		size_t room = t->network_room ? 2 * t->network_room : 64;
		struct network *more = realloc(t->networks, room * sizeof(*more));

		if (!more)
			return -1;
		t->networks = more;
		t->network_room = room;
	}
	t->networks[t->network_count++] =
		(struct network){.first = {a.high & ~mask.high, a.low & ~mask.low},
			.last = {a.high | mask.high, a.low | mask.low},
			.tag = tag,
			.line = line};
	return 0;
}

/* By their first address, the widest first. */
static int by_place(const void *a, const void *b)
{
	const struct network *x = a, *y = b;
	int order = compare(x->first, y->first);

	if (order == 0)
		order = compare(y->last, x->last);
	if (order == 0)
		order = (x->line > y->line) - (x->line < y->line);
	return order;
}

static bool find_twice(const struct network_table *t, uint32_t ret_lines[2])
{
	for (size_t i = 1; i < t->network_count; i++) {
		const struct network *a = &t->networks[i - 1], *b = &t->networks[i];

		if (compare(a->first, b->first) == 0 && compare(a->last, b->last) == 0) {
			ret_lines[0] = a->line;
			ret_lines[1] = b->line;
			return true;
		}
	}
	return false;
}

/* From here on this one, until the next is put. */
static void put(struct network_table *t, struct address first, uint32_t tag)
{
	struct range *last = t->range_count ? &t->ranges[t->range_count - 1] : NULL;

	if (last && compare(last->first, first) == 0)
		last->tag = tag; /* of nothing: something narrower begins at the same place */
	else
		t->ranges[t->range_count++] = (struct range){first, tag};
}

static bool next_address(struct address *a)
{
	if (++a->low == 0)
		a->high++;
	return a->high || a->low;
}

/* Of the open networks those that end before `until` (NULL: all) end; what is around goes on. */
static unsigned end_open(struct network_table *t, const struct network *const *open, unsigned count,
	const struct address *until)
{
	while (count > 0 && (!until || compare(open[count - 1]->last, *until) < 0)) {
		struct address after = open[--count]->last;

		if (next_address(&after))
			put(t, after, count > 0 ? open[count - 1]->tag : NOBODY);
	}
	return count;
}

int network_table_close(struct network_table *t, uint32_t ret_lines[2])
{
	const struct network *open[LEVELS];
	unsigned count = 0;

	if (t->network_count)
		qsort(t->networks, t->network_count, sizeof(t->networks[0]), by_place);
	if (find_twice(t, ret_lines))
		return 1;
	t->ranges = calloc(2 * t->network_count + 1, sizeof(*t->ranges));
	if (!t->ranges)
		return -1;
	put(t, (struct address){0, 0}, NOBODY);
	for (size_t i = 0; i < t->network_count; i++) {
		const struct network *n = &t->networks[i];

		count = end_open(t, open, count, &n->first);
		ASSERT(count < LEVELS);
		open[count++] = n;
		put(t, n->first, n->tag);
	}
	end_open(t, open, count, NULL);
	free(t->networks);
	t->networks = NULL;
	t->network_count = 0;
	return 0;
}

bool network_table_find(const struct network_table *t, const struct addr *a, uint32_t *ret_tag)
{
	struct address at;
	size_t low = 0, high = t->range_count; /* the range is in [low, high) */

	ASSERT(t->ranges);
	if (a->sa.sa_family == AF_INET)
		at = address_of(AF_INET, (const uint8_t *)&a->in.sin_addr);
	else if (a->sa.sa_family == AF_INET6)
		at = address_of(AF_INET6, a->in6.sin6_addr.s6_addr);
	else
		return false;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (compare(t->ranges[middle].first, at) <= 0)
			low = middle;
		else
			high = middle;
	}
	*ret_tag = t->ranges[low].tag;
	return *ret_tag != NOBODY;
}
