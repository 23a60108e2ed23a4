/*
 * A worker: one thread, one event loop, its own listening sockets, buffers, idle server connections
 * and timers. Workers share nothing on a request's path but the immutable snapshot and atomic
 * counters. The main thread speaks to a worker by posting to its inbox, never by touching it.
 */
#pragma once

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>

#include "proxy/client_list.h"
#include "proxy/http/http2.h"
#include "proxy/net/conn.h"
#include "proxy/net/acceptor.h"
#include "proxy/net/tls.h"
#include "proxy/observe/access_log.h"
#include "proxy/observe/faults.h"
#include "proxy/pool/pool.h"
#include "proxy/settings/regex.h"
#include "shared/rng.h"

/* A snapshot as one worker holds it: the settings and the current view of each pool. A view may be
 * replaced by a newer one of the same servers; when servers come or go there is a new snapshot of
 * the same settings, so that who still runs with the old one keeps its servers. Counted without
 * atomics, since one thread owns it. */
struct snapshot {
	unsigned refs;
	struct settings *settings; /* holds a reference */
	struct pool_view *views[]; /* by pool index; each held */
};

struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s);

/* What a worker keeps of a server: its idle connections, a session of TLS. By server slot. */
struct upstream {
	struct server *server; /* NULL: the current snapshot has none in this slot */
	struct list idle;      /* struct server_conn, the freshest first */
	unsigned idle_count;
	unsigned idle_wanted; /* as many as there was use for, beyond UPSTREAM_IDLE_MIN */
	struct list shared;   /* connections of HTTP/2 (h2_server.h) */
	struct tls_kept kept; /* where its pool has TLS */
	uint32_t streams_max; /* as the last of these was told; 0: not yet */
};

/* Deadlines that are met in one turn of the loop, each of which may close a connection: clients who
 * came together, and say nothing, run out of time together. */
#define WORKER_DUE_MAX 32

struct worker {
	unsigned index;
	pthread_t thread;
	struct ev_loop *loop;
	ev_async wake;
	ev_prepare prepare;
	ev_check check;
	ev_timer ticker; /* sweeps the wheel while it holds anything */
	ev_idle overdue; /* runs while any of those that are due wait for their turn */
	ev_timer drain_timer;

	pthread_mutex_t inbox_lock; /* posts of the main thread: reloads, health, beats; never per
				       request */
	struct list inbox;
	bool stop_posted; /* under the same lock: needs no memory */
	uint64_t stop_limit_ns, stop_goodbye_ns;
	struct list granted; /* struct waiter of ours that may go on; under inbox_lock */

	uint64_t now_ns;	 /* CLOCK_MONOTONIC, read once a loop iteration */
	uint64_t wall_offset_ns; /* CLOCK_REALTIME = now_ns + this */
	uint64_t wall_read_ns;
	char date[40]; /* "Date: ...\r\n" of this second */
	unsigned date_len;
	uint64_t date_s;

	struct iobuf_pool iobufs;
	struct pipe_pool pipes;
	struct wheel wheel;
	struct list due; /* timers whose time has come, a few of them each turn */
	struct tls_tally tls;
	struct rng rng;
	struct regex_room *regex_room;
	struct snapshot *snapshot;
	struct list acceptors, leaving;
	struct upstream *upstreams; /* room for SERVERS_MAX; the first upstream_count are in use */
	unsigned upstream_count;
	struct list reap, reap_exchanges;
	struct list free_exchanges;
	unsigned free_exchange_count;
	struct client_list list;   /* of our clients, for the agent */
	struct access_log *access; /* this worker's buffer; NULL: off */
	struct fault_log faults;
	bool stopping;
	uint64_t goodbye_ns; /* then: how long those stay on whose connections nothing happens */

	_Atomic uint64_t echo; /* the last ping that this loop answered */
	uint64_t clients_max;  /* more are left in the kernel's queue */
	_Atomic uint64_t clients, server_conns;
	_Atomic bool finished;		/* drained: the thread has ended or is about to */
	void (*on_finished)(void *ctx); /* any thread */
	void *ctx;

	struct stage stage;
	struct http_pair pairs[HTTP_LIST_MAX]; /* a head on its way into a stream */
};

struct worker *worker_new(
	unsigned index, void (*on_finished)(void *ctx), void *ctx, struct err *err);
int worker_start(struct worker *w, struct err *err);
/* Waits for the thread to end; before worker_free. */
void worker_join(struct worker *w);
void worker_free(struct worker *w);

/* --- posts: any thread -------------------------------------------------------------------------
 */
struct post;
struct worker_socket { /* a new listening socket for this worker */
	struct addr bind;
	int fd;
};
/* All that a worker needs to go over to s, made before anything changes, so that nothing can fail
 * then. Takes a reference to s and to each view. NULL when out of memory. */
struct post *worker_apply_new(struct settings *s, struct pool_view *const *views,
	const struct worker_socket *sockets, unsigned socket_count);
void worker_apply_free(struct post *p); /* if it is not posted; the sockets stay open */
/* Takes p, and the sockets, which go to the binds of s that have none yet. */
void worker_post_apply(struct worker *w, struct post *p);
/* A new view of a pool, if the worker still runs these settings. Takes a reference. */
int worker_post_view(struct worker *w, const struct settings *s, struct pool_view *v);
/* Stop listening, finish what runs within limit_ns, then end the thread. Connections on which
 * nothing happens are waited for no longer than goodbye_ns. */
#define WORKER_GOODBYE_NS (1 * NS_PER_S)
void worker_post_stop(struct worker *w, uint64_t limit_ns, uint64_t goodbye_ns);
/* What the agent wants to know of clients; NULL: nothing any more. Takes a reference. */
int worker_post_watch(struct worker *w, struct client_watch *watch);
/* The loop stores `number` in w->echo: proof that it turns. */
int worker_post_ping(struct worker *w, uint64_t number);

/* This waiter of the worker's has a server, or is to ask anew. Any thread; no allocation. */
void worker_hand(struct worker *w, struct list *waiter);

/* --- for the worker's own thread ---------------------------------------------------------------
 */
static inline uint64_t worker_wall_ns(const struct worker *w)
{
	return w->now_ns + w->wall_offset_ns;
}
/* A waiter that was handed over, and that it has not come to yet, goes. */
void worker_take_back(struct worker *w, struct list *waiter);
void worker_set_deadline(struct worker *w, struct wheel_timer *t, uint64_t after_ns);
static inline struct http_list worker_list(struct worker *w)
{
	return (struct http_list){.pairs = w->pairs, .max = HTTP_LIST_MAX};
}
/* "Date: ...\r\n" */
struct span worker_date(struct worker *w);
/* A client or listener has gone: the worker ends when it is the last and we are stopping. */
void worker_check_finished(struct worker *w);
