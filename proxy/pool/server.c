#include "proxy/pool/server.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "proxy/net/tally.h"
#include "proxy/pool/bequest.h"
#include "proxy/pool/queue.h"
#include "proxy/settings/settings.h"
#include "shared/assert.h"
#include "shared/log.h"
#include "shared/map.h"
#include "shared/units.h"

enum { NAMES_MAX = 65536 };

struct server_table {
	pthread_mutex_t lock;
	struct map servers;	 /* by pool/name */
	struct map pools;	 /* struct pool_state by name */
	struct map listeners;	 /* struct listener_state by name */
	struct server *reported; /* each holds a reference */
	const json_t *inherited; /* for new servers; may be NULL */
	unsigned workers;
	uint64_t ids;	     /* given out */
	uint32_t slots_used; /* slots below were given out at some time */
	uint32_t free_slots[SERVERS_MAX];
	uint32_t free_slot_count;
	void (*wake)(void *ctx);
	void *wake_ctx;
};

struct server_table *server_table_new(void)
{
	struct server_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	map_init(&t->servers, SERVERS_MAX);
	map_init(&t->pools, NAMES_MAX);
	map_init(&t->listeners, NAMES_MAX);
	return t;
}

void server_table_inherit(struct server_table *t, const json_t *servers)
{
	t->inherited = servers;
}

void server_table_workers(struct server_table *t, unsigned count)
{
	if (!t->workers)
		t->workers = count;
}

void server_table_free(struct server_table *t)
{
	struct server *s;
	unsigned bits;

	if (!t)
		return;
	while ((s = server_table_take_report(t, &bits)))
		server_unref(s);
	ASSERT(t->servers.used == 0 && t->pools.used == 0 && t->listeners.used == 0);
	ASSERT(t->free_slot_count == t->slots_used);
	map_fini(&t->servers);
	map_fini(&t->pools);
	map_fini(&t->listeners);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void server_table_on_wake(struct server_table *t, void (*wake)(void *ctx), void *ctx)
{
	t->wake = wake;
	t->wake_ctx = ctx;
}

/* --- servers -----------------------------------------------------------------------------------
 */

/* "pool/name": neither has a slash in it. */
static char *server_key(struct span pool_name, struct span name)
{
	char *key = malloc(pool_name.len + name.len + 2);

	if (!key)
		return NULL;
	memcpy(key, pool_name.ptr, pool_name.len);
	key[pool_name.len] = '/';
	memcpy(key + pool_name.len + 1, name.ptr, name.len);
	key[pool_name.len + 1 + name.len] = '\0';
	return key;
}

static void free_server(struct server *s)
{
	answers_free(s->answered);
	free(s->key);
	free(s->pool_name);
	free(s->name);
	free(s);
}

/* An object whose counters have cache lines of their own. */
static void *new_zeroed(size_t size)
{
	void *p = aligned_alloc(64, size);

	if (p)
		memset(p, 0, size);
	return p;
}

static struct server *new_server(
	struct server_table *t, struct span pool_name, struct span name, const struct addr *address)
{
	struct server *s;

	if (t->free_slot_count == 0 && t->slots_used == SERVERS_MAX) {
		errno = ENOSPC;
		return NULL;
	}
	s = new_zeroed(sizeof(*s));
	if (!s)
		return NULL;
	s->key = server_key(pool_name, name);
	s->pool_name = span_dup(pool_name);
	s->name = span_dup(name);
	s->answered = answers_new(t->workers);
	if (!s->key || !s->pool_name || !s->name || !s->answered) {
		free_server(s);
		return NULL;
	}
	s->table = t;
	s->id = ++t->ids;
	s->refs = 1;
	s->address = *address;
	addr_format(address, s->address_text);
	atomic_init(&s->usable, true);
	atomic_init(&s->failures_max, SERVER_FAILURES_MAX);
	agent_word_init(&s->agent);
	health_init(&s->health, false, monotonic_ns(), realtime_ns());
	bequest_take(t->inherited, s);
	return s;
}

static uint32_t take_slot(struct server_table *t)
{
	if (t->free_slot_count)
		return t->free_slots[--t->free_slot_count];
	ASSERT(t->slots_used < SERVERS_MAX);
	return t->slots_used++;
}

struct server *server_get(
	struct server_table *t, struct span pool_name, struct span name, const struct addr *address)
{
	char *key = server_key(pool_name, name);
	struct server *s;

	errno = ENOMEM;
	if (!key)
		return NULL;
	pthread_mutex_lock(&t->lock);
	s = map_get(&t->servers, span_of(key));
	if (s && addr_eq(&s->address, address)) {
		s->refs++;
	} else {
		s = new_server(t, pool_name, name, address);
		if (s && map_put(&t->servers, span_of(key), s) < 0) {
			free_server(s);
			s = NULL;
		}
		if (s)
			s->slot = take_slot(t);
	}
	pthread_mutex_unlock(&t->lock);
	free(key);
	return s;
}

struct server *server_ref(struct server *s)
{
	pthread_mutex_lock(&s->table->lock);
	ASSERT(s->refs > 0);
	s->refs++;
	pthread_mutex_unlock(&s->table->lock);
	return s;
}

static void forget(struct server_table *t, struct server *s)
{
	if (map_get(&t->servers, span_of(s->key)) == s) /* else a newer one has the name */
		map_take(&t->servers, span_of(s->key));
	t->free_slots[t->free_slot_count++] = s->slot;
}

void server_unref(struct server *s)
{
	struct server_table *t;
	bool last;

	if (!s)
		return;
	t = s->table;
	pthread_mutex_lock(&t->lock);
	ASSERT(s->refs > 0);
	last = --s->refs == 0;
	if (last)
		forget(t, s);
	pthread_mutex_unlock(&t->lock);
	if (last)
		free_server(s);
}

/* --- reports -----------------------------------------------------------------------------------
 */

static void flag(struct server *s, unsigned bits)
{
	struct server_table *t = s->table;

	if (atomic_fetch_or(&s->reports, bits) != 0)
		return; /* it is on the list */
	pthread_mutex_lock(&t->lock);
	ASSERT(s->refs > 0);
	s->refs++;
	s->next_reported = t->reported;
	t->reported = s;
	pthread_mutex_unlock(&t->lock);
	if (t->wake)
		t->wake(t->wake_ctx);
}

void server_report(struct server *s, enum server_outcome outcome)
{
	uint32_t failures;
	bool usable;

	atomic_fetch_add_explicit(&s->requests_total, 1, memory_order_relaxed);
	if (outcome == SERVER_OK) {
		/* Reads before it writes: in good times the line stays shared. */
		if (atomic_load_explicit(&s->consecutive_failures, memory_order_relaxed) != 0)
			atomic_store_explicit(&s->consecutive_failures, 0, memory_order_relaxed);
		return;
	}
	atomic_fetch_add_explicit(&s->failures_total, 1, memory_order_relaxed);
	failures = atomic_fetch_add_explicit(&s->consecutive_failures, 1, memory_order_relaxed) + 1;
	usable = atomic_load_explicit(&s->usable, memory_order_relaxed);
	if (outcome == SERVER_REFUSED) {
		if (usable || !atomic_load_explicit(&s->refused, memory_order_relaxed))
			flag(s, REPORT_REFUSED);
	} else if (usable &&
		   failures >= atomic_load_explicit(&s->failures_max, memory_order_relaxed)) {
		flag(s, REPORT_BROKE | (outcome == SERVER_TLS ? REPORT_TLS : 0));
	}
}

void server_tls_failed(struct server *s, const char *why)
{
	log_event(LOG_WARNING, "server.tls_failed", "no TLS with a server",
		F_TEXT("pool", s->pool_name), F_TEXT("server", s->name),
		F_TEXT("address", s->address_text), F_TEXT("reason", why));
	pthread_mutex_lock(&s->table->lock);
	snprintf(s->tls_fault, sizeof(s->tls_fault), "%s", why);
	pthread_mutex_unlock(&s->table->lock);
}

void server_tls_fault(struct server *s, char *out, size_t size)
{
	pthread_mutex_lock(&s->table->lock);
	snprintf(out, size, "%s", s->tls_fault);
	pthread_mutex_unlock(&s->table->lock);
}

void server_suspect(struct server *s)
{
	atomic_store(&s->suspect, true);
	flag(s, REPORT_SUSPECT);
}

struct server *server_table_take_report(struct server_table *t, unsigned *ret_bits)
{
	struct server *s;

	pthread_mutex_lock(&t->lock);
	s = t->reported;
	if (s)
		t->reported = s->next_reported;
	pthread_mutex_unlock(&t->lock);
	if (s)
		*ret_bits = atomic_exchange(&s->reports, 0);
	return s;
}

/* --- states of pools and listeners -------------------------------------------------------------
 */

struct state_kind {
	size_t bytes; /* a struct kept_state in front */
	int (*init)(struct kept_state *s, unsigned workers);
	void (*free)(struct kept_state *s); /* also after init has failed */
};

/* Finds what has this name in the map, or makes it. */
static void *state_get(
	struct server_table *t, struct map *in, struct span name, const struct state_kind *kind)
{
	struct kept_state *s;

	pthread_mutex_lock(&t->lock);
	s = map_get(in, name);
	if (!s) {
		s = new_zeroed(kind->bytes);
		if (s)
			s->name = span_dup(name);
		if (s && (!s->name || map_put(in, name, s) < 0)) {
			free(s->name);
			free(s);
			s = NULL;
		}
		if (s)
			s->id = ++t->ids;
		if (s && kind->init(s, t->workers) < 0) {
			map_take(in, name);
			kind->free(s);
			s = NULL;
		}
	}
	if (s)
		s->refs++;
	pthread_mutex_unlock(&t->lock);
	return s;
}

static int init_pool_state(struct kept_state *kept, unsigned workers)
{
	struct pool_state *s = container_of(kept, struct pool_state, kept);

	queue_init(&s->queue);
	s->answers = answers_new(workers);
	s->connects = timings_new(workers);
	s->first_bytes = timings_new(workers);
	return s->answers && s->connects && s->first_bytes ? 0 : -1;
}

static void free_pool_state(struct kept_state *kept)
{
	struct pool_state *s = container_of(kept, struct pool_state, kept);

	queue_fini(&s->queue);
	member_set_unref(s->set);
	answers_free(s->answers);
	timings_free(s->connects);
	timings_free(s->first_bytes);
	free(s->scaled);
	free(kept->name);
	free(s);
}

static int init_listener_state(struct kept_state *kept, unsigned workers)
{
	struct listener_state *s = container_of(kept, struct listener_state, kept);

	s->answers = answers_new(workers);
	s->durations = timings_new(workers);
	return s->answers && s->durations ? 0 : -1;
}

static void free_listener_state(struct kept_state *kept)
{
	struct listener_state *s = container_of(kept, struct listener_state, kept);

	tally_free(s->tally);
	answers_free(s->answers);
	timings_free(s->durations);
	free(kept->name);
	free(s);
}

/* True: that was the last, and it is the caller's to free. */
static bool state_unref(struct server_table *t, struct map *in, struct kept_state *s)
{
	bool last;

	pthread_mutex_lock(&t->lock);
	ASSERT(s->refs > 0);
	last = --s->refs == 0;
	if (last)
		map_take(in, span_of(s->name));
	pthread_mutex_unlock(&t->lock);
	return last;
}

struct pool_state *pool_state_get(struct server_table *t, struct span name)
{
	static const struct state_kind kind = {
		sizeof(struct pool_state), init_pool_state, free_pool_state};

	return state_get(t, &t->pools, name, &kind);
}

void pool_state_unref(struct server_table *t, struct pool_state *s)
{
	if (s && state_unref(t, &t->pools, &s->kept))
		free_pool_state(&s->kept);
}

struct listener_state *listener_state_get(struct server_table *t, struct span name)
{
	static const struct state_kind kind = {
		sizeof(struct listener_state), init_listener_state, free_listener_state};

	return state_get(t, &t->listeners, name, &kind);
}

void listener_state_unref(struct server_table *t, struct listener_state *s)
{
	if (s && state_unref(t, &t->listeners, &s->kept))
		free_listener_state(&s->kept);
}
