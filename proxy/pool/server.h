/*
 * A server of a pool as all threads and all snapshots share it: its address, its counters, its
 * health. Kept in the server table by pool and name; a server whose address changed is a new one.
 */
#pragma once

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "proxy/observe/counts.h"
#include "proxy/pool/agent_word.h"
#include "proxy/pool/budget.h"
#include "proxy/pool/health.h"
#include "shared/addr.h"
#include "shared/list.h"
#include "shared/units.h"

/* The owner of servers and of the states that outlive snapshots. One lock: for building and freeing
 * snapshots and for a failure that is news, never for a request that goes well. */
struct server_table;

#define SERVER_TLS_FAULT_MAX 120

struct server {
	char *pool_name, *name;
	char *key; /* in the table */
	struct addr address;
	char address_text[ADDR_TEXT_MAX];
	struct server_table *table;
	unsigned refs;			      /* under the table's lock */
	uint64_t id;			      /* never given to another, unlike a slot */
	struct server *next_reported;	      /* under the table's lock */
	char tls_fault[SERVER_TLS_FAULT_MAX]; /* the last one; under the table's lock */
	struct answers *answered;	      /* what it was asked, by worker */

	/* Written by workers; the slot is not, but wanted together with the rest. */
	_Alignas(64) uint32_t slot; /* small, unique among living servers: index of workers' own
				       tables */
	_Atomic uint32_t in_flight;
	_Atomic uint32_t sessions; /* of those: tunnels, which may last */
	_Atomic uint32_t queued;   /* requests that wait, and would rather be here */
	/* It failed, and the main thread has yet to judge: until then those who wait do not run
	 * into it one after the other. Of pools with a limit only. */
	_Atomic bool suspect;
	_Atomic uint64_t requests_total;
	_Atomic uint64_t failures_total;
	_Atomic uint32_t consecutive_failures;
	_Atomic uint64_t phantoms; /* see server_phantoms() */
	_Atomic uint64_t answers;  /* see server_answer_us() */
	_Atomic unsigned
		reports; /* bits of enum server_report_bits that the main thread has yet to see */

	/* Written by the main thread, read by anyone. */
	_Alignas(64) _Atomic bool usable; /* what views are built from */
	_Atomic bool refused;		  /* the last failure was: nobody is there */
	_Atomic bool drains;		  /* its agent says so: nothing new */
	_Atomic uint32_t failures_max;	  /* in a row; then it is news */
	/* Main thread only. */
	uint64_t state_changes_total;
	uint64_t started_ns; /* since when its share grows; 0: it has all of it */
	struct health health;
	struct agent_word agent; /* what its agent said last */
	uint64_t agent_heard_ns; /* when; 0: never */
};

/* Main thread. */
static inline bool server_agent_allows(const struct server *s)
{
	return s->agent.state == AGENT_UP || s->agent.state == AGENT_DRAIN;
}

/* What the table knows of a state that outlives snapshots; in front of it. */
struct kept_state {
	char *name;
	uint64_t id;   /* of this table never given twice */
	unsigned refs; /* under the table's lock */
};

struct member_set;
#define QUEUE_PRIORITIES 10
#define QUEUE_LINES (QUEUE_PRIORITIES + 1)
struct pool_queue { /* see queue.h */
	_Alignas(64) _Atomic uint32_t length;
	_Atomic uint32_t bound; /* of them: who wait for one certain server */
	pthread_mutex_t lock;
	/* struct waiter: a line for each priority, the longest first, and the last for those who
	 * return; under the lock */
	struct list lines[QUEUE_LINES];
};

#define RETRY_REASONS_MAX 16

/* Shared by the snapshots of a pool of one name. */
struct pool_state {
	struct kept_state kept;
	_Alignas(64) _Atomic uint64_t ticket; /* of round robin */
	_Atomic uint64_t requests_total;
	_Atomic uint64_t retries_total;
	_Atomic uint64_t retries_denied_total;		/* allowed, but over the budget */
	_Atomic uint64_t retries_by[RETRY_REASONS_MAX]; /* of these, by enum retry_word */
	struct answers *answers;			/* of our own, where no server was tried */
	struct timings *connects, *first_bytes;		/* of its servers */
	struct scaled *scaled; /* of scaler.c, main thread; NULL: nothing yet */
	_Atomic uint64_t queue_full_total, queue_timeouts_total; /* answered with 503 */
	_Alignas(64) struct budget budget;			 /* of retries */
	struct pool_queue queue;
	/* Of the main thread. */
	struct member_set *set; /* the servers of now; holds a reference; NULL: not set up yet */
	bool view_is_old;	/* a new one is to be made (checks.c) */
};

#define SERVERS_MAX 16384

/* What a predecessor left of its servers (bequest.h), for those that are made from now on; borrows;
 * NULL: nothing any more. */
void server_table_inherit(struct server_table *t, const json_t *servers);
struct server_table *server_table_new(void); /* NULL when out of memory */
/* How many count, each in its own memory: before the first server. Only the first call counts. */
void server_table_workers(struct server_table *t, unsigned count);
/* After every reference was given back. */
void server_table_free(struct server_table *t);

/* Finds it, or makes it (health unknown, which is usable), with a reference for the caller. A
 * server of that name with another address stays with those who have it; the new one takes its
 * name. NULL when out of memory or slots (errno: ENOMEM,
 * ENOSPC). Any thread. */
struct server *server_get(struct server_table *t, struct span pool_name, struct span name,
	const struct addr *address);
struct server *server_ref(struct server *s);
void server_unref(struct server *s);
/* The same for what outlives a snapshot of a pool. */
struct pool_state *pool_state_get(struct server_table *t, struct span name);
void pool_state_unref(struct server_table *t, struct pool_state *s);

/* One more request in flight, if that makes no more than `limit` (0: any number). */
static inline bool server_reserve(struct server *s, uint32_t limit)
{
	uint32_t n;

	if (!limit) {
		atomic_fetch_add_explicit(&s->in_flight, 1, memory_order_relaxed);
		return true;
	}
	n = atomic_load_explicit(&s->in_flight, memory_order_relaxed);
	while (n < limit)
		if (atomic_compare_exchange_weak_explicit(
			    &s->in_flight, &n, n + 1, memory_order_relaxed, memory_order_relaxed))
			return true;
	return false;
}

#define SERVER_FAILURES_MAX 5 /* before the main thread has said what the pool wants */

/* How an attempt at a server ended, as the worker saw it. Cheap; any thread. */
enum server_outcome {
	SERVER_OK,	    /* a response head came */
	SERVER_REFUSED,	    /* connect: ECONNREFUSED and its kin: nobody is there */
	SERVER_UNREACHABLE, /* connect failed otherwise or timed out */
	SERVER_TLS,	    /* connected, but no TLS came of it; see server_tls_failed() */
	SERVER_BROKE,	    /* reset, closed early, garbage, timeout after the request was sent */
};
/* Counts the attempt (requests_total, failures_total, consecutive_failures). A refused one, and as
 * many broken ones in a row as the pool says, is a health event: it wakes the main thread (through
 * the table's wake function), which lets the health machine decide at once. */
void server_report(struct server *s, enum server_outcome outcome);
/* Logs why, and keeps it for the health machine: before SERVER_TLS is reported. Any thread. */
void server_tls_failed(struct server *s, const char *why);
/*
 * A failure counts as one more request in flight for the second that follows it, so that a server
 * that fails fast does not look idle. Kept in one word: how many, and until when (in about
 * milliseconds); those that came before live on with the last.
 */
#define PHANTOM_BITS 24
#define PHANTOM_TIME_SHIFT 20
static inline uint64_t server_phantoms(const struct server *s, uint64_t now_ns)
{
	uint64_t seen = atomic_load_explicit(&s->phantoms, memory_order_relaxed);

	return seen >> PHANTOM_BITS > now_ns >> PHANTOM_TIME_SHIFT
		       ? seen & ((UINT64_C(1) << PHANTOM_BITS) - 1)
		       : 0;
}
static inline void server_add_phantom(struct server *s, uint64_t now_ns)
{
	uint64_t until = (now_ns + NS_PER_S) >> PHANTOM_TIME_SHIFT;
	uint64_t seen = atomic_load_explicit(&s->phantoms, memory_order_relaxed), more;

	do
		more = until << PHANTOM_BITS | (server_phantoms(s, now_ns) + 1);
	while (!atomic_compare_exchange_weak_explicit(
		&s->phantoms, &seen, more, memory_order_relaxed, memory_order_relaxed));
}
/*
 * The mean time to a server's first byte, for least_time: an eighth of it is the last answer. Kept
 * in one word with the time of that (in about seconds), since it halves with every 8 seconds in
 * which nothing is heard. Workers that answer at the same moment may lose one of two answers, and
 * that is all right. 0: not known.
 */
#define ANSWER_TIME_SHIFT 30
#define ANSWER_HALVES_SHIFT 3
static inline uint64_t server_answer_us(const struct server *s, uint64_t now_ns)
{
	uint64_t seen = atomic_load_explicit(&s->answers, memory_order_relaxed);
	uint64_t then = seen >> 32, now = now_ns >> ANSWER_TIME_SHIFT;
	uint64_t halvings = now > then ? (now - then) >> ANSWER_HALVES_SHIFT : 0;
	uint64_t us = (uint32_t)seen >> (halvings < 31 ? halvings : 31);

	return us || !seen ? us : 1;
}
static inline void server_answer_took(struct server *s, uint64_t took_ns, uint64_t now_ns)
{
	uint64_t us = took_ns / NS_PER_US + 1, mean = server_answer_us(s, now_ns);

	if (us > UINT32_MAX)
		us = UINT32_MAX;
	mean = mean ? (mean * 7 + us + 7) / 8 : us;
	atomic_store_explicit(
		&s->answers, now_ns >> ANSWER_TIME_SHIFT << 32 | mean, memory_order_relaxed);
}
/* What it has to do, as far as that counts when a server is chosen. */
static inline uint64_t server_load(const struct server *s, uint64_t now_ns)
{
	return (uint64_t)atomic_load_explicit(&s->in_flight, memory_order_relaxed) +
	       atomic_load_explicit(&s->queued, memory_order_relaxed) + server_phantoms(s, now_ns);
}
/* After the report of a failure, in a pool with a limit: nobody else goes there before the main
 * thread has judged, which takes it no longer than one turn of its loop. */
void server_suspect(struct server *s);
/* Called from any thread when a report wants the main thread's attention (an ev_async_send). */
void server_table_on_wake(struct server_table *t, void (*wake)(void *ctx), void *ctx);

/* --- for the main thread (checks.c) ------------------------------------------------------------
 */
enum server_report_bits {
	REPORT_REFUSED = 1,
	REPORT_BROKE = 2,
	REPORT_SUSPECT = 4,
	REPORT_TLS = 8 /* the last failure was: beside BROKE */
};
/* Takes one server that was reported since, with a reference for the caller, and its bits; NULL:
 * none left. */
struct server *server_table_take_report(struct server_table *t, unsigned *ret_bits);
/* What server_tls_failed() was told last. */
void server_tls_fault(struct server *s, char *out, size_t size);
