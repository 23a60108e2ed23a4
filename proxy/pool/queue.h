/*
 * Requests that wait because every server of their pool has as many as it may have. One line a
 * pool, over all workers; who has the higher priority goes first, and among equals who came first.
 * A step of priority is worth QUEUE_STEP_NS of waiting and no more: however many come with a higher
 * one, nobody waits longer than by that for those who came later.
 *
 * A slot that becomes free is not freed: whoever frees it finds the first in line that may use the
 * server and hands it over, still counted, so that nobody who came later can be faster, and no
 * waiter is woken in vain. A newcomer joins the line while there is one. A request that has been
 * with a server and is to be tried again goes to the front, whatever the line's limit: it was there
 * first, and there are never more of these than the servers have slots.
 *
 * The lock is taken only by requests that wait and by those that free a slot while some do; with
 * nobody waiting the price is one look at `length`. That no slot is missed: a waiter is counted in
 * `length` before it looks at the servers once more, and a slot is given back before `length` is
 * looked at.
 *
 * A waiter whose user has a cookie of a server that can be used waits for that one; others go past
 * it to the rest of the servers.
 *
 * A waiter belongs to a worker's thread. What happens to it on another is said through on_granted.
 */
#pragma once

#include <pthread.h>

#include "proxy/pool/pool.h"
#include "shared/list.h"

struct waiter {
	struct list link; /* of the queue; once granted, its owner's to use */
	bool queued;	  /* under the lock; false: granted */
	/* Called once, under the queue's lock, on any thread: passes the word on, no more. */
	void (*on_granted)(struct waiter *w);
	const struct pool *pool;      /* held by its owner's snapshot, as the set */
	const struct member_set *set; /* the servers that it may use: of the view it came with */
	struct server *const *tried;
	unsigned tried_count;
	bool has_key; /* as in struct pick */
	uint64_t key;
	uint64_t sticky;
	/* The one server that the user's cookie lets it go to; NULL: any. Under the lock. */
	const struct server *bound;
	unsigned priority;  /* below QUEUE_PRIORITIES; the highest goes first */
	bool returns;	    /* had a server before anyone in line had one: goes to the front */
	uint64_t queued_ns; /* for so long it was in a line before: it keeps its place by that */
	uint64_t since_ns;  /* as if all of its waiting were in one */
	struct server *prefers; /* where it would be if there were room: counted as queued there */
	/* Granted: counted as in flight for it. NULL: no server of the pool can be used any more;
	 * ask anew. */
	struct server *server;
};

#define QUEUE_STEP_NS (1 * NS_PER_S)

void queue_init(struct pool_queue *q);
void queue_fini(struct pool_queue *q);
static inline uint32_t queue_length(struct pool_queue *q)
{
	return atomic_load_explicit(&q->length, memory_order_seq_cst);
}

/* Joins the line (pool, tried and on_granted are filled in); `v` is the owner's view of the pool,
 * with at least one server that it has not tried. False: the line is as long as it may be. */
bool queue_enter(
	struct pool_queue *q, struct waiter *w, const struct pool_view *v, struct pick *what);
/* Leaves it. True: was not in it any more, on_granted has been called, and w->server is to be given
 * back. */
bool queue_leave(struct pool_queue *q, struct waiter *w);
/* Of them those who may go to any server. */
static inline uint32_t queue_unbound(struct pool_queue *q)
{
	return queue_length(q) - atomic_load_explicit(&q->bound, memory_order_relaxed);
}
/* The view is new: grants what it has room for. With no server in it all are told to ask anew. */
void queue_serve(struct pool_queue *q, const struct pool_view *v, const struct pick *what);
/* Servers came or went: who is in line for others than these is to ask anew. */
void queue_recall(struct pool_queue *q, const struct pool_view *v);
/* This server may have room: the first in line that can use it gets it. False: there is nobody, or
 * no room. */
bool queue_offer(struct pool_queue *q, struct server *s);
