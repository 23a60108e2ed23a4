#include "proxy/net/tally.h"

#include <pthread.h>
#include <stdlib.h>

#include "shared/assert.h"
#include "shared/map.h"
#include "shared/rng.h"

#define PARTS 16

struct part {
	_Alignas(64) pthread_mutex_t lock;
	struct map counts; /* uintptr_t by address */
};

struct tally {
	uint64_t seed[2]; /* not the maps': a part would fill some of its slots only */
	struct part parts[PARTS];
};

struct tally *tally_new(void)
{
	struct tally *t = aligned_alloc(_Alignof(struct tally), sizeof(*t));

	if (!t)
		return NULL;
	random_bytes(t->seed, sizeof(t->seed));
	for (unsigned i = 0; i < PARTS; i++) {
		pthread_mutex_init(&t->parts[i].lock, NULL);
		map_init(&t->parts[i].counts, TALLY_MAX / PARTS);
	}
	return t;
}

void tally_free(struct tally *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < PARTS; i++) {
		pthread_mutex_destroy(&t->parts[i].lock);
		map_fini(&t->parts[i].counts);
	}
	free(t);
}

/* An IPv6 client has a whole /64 to itself. */
static struct span key_of(const struct addr *who)
{
	if (who->sa.sa_family == AF_INET6)
		return span_make((const char *)&who->in6.sin6_addr, 8);
	return span_make((const char *)&who->in.sin_addr, 4);
}

static struct part *part_of(struct tally *t, struct span key)
{
	return &t->parts[hash_bytes(key, t->seed) % PARTS];
}

bool tally_enter(struct tally *t, const struct addr *who, uint32_t max)
{
	struct span key = key_of(who);
	struct part *p = part_of(t, key);
	uintptr_t count;
	bool in;

	pthread_mutex_lock(&p->lock);
	count = (uintptr_t)map_get(&p->counts, key);
	in = count < max && map_put(&p->counts, key, (void *)(count + 1)) == 0;
	pthread_mutex_unlock(&p->lock);
	return in;
}

void tally_leave(struct tally *t, const struct addr *who)
{
	struct span key = key_of(who);
	struct part *p = part_of(t, key);
	uintptr_t count;

	pthread_mutex_lock(&p->lock);
	count = (uintptr_t)map_get(&p->counts, key);
	ASSERT(count > 0);
	if (count > 1)
		map_put(&p->counts, key, (void *)(count - 1)); /* it is there: cannot fail */
	else
		map_take(&p->counts, key);
	pthread_mutex_unlock(&p->lock);
}
