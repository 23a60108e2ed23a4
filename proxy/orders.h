/*
 * What operators order of servers while the proxy runs: keeps the book of it (pool/overrides.h) on
 * disk and the same on both nodes, reconciles it with each configuration, and ends drains whose
 * time is over. server_methods.c writes in it.
 *
 * On disk it is STATE_DIR/servers.json. A disk that takes nothing changes nothing for what runs: it
 * is said, and tried again with the next order. A file that makes no sense is set aside and said,
 * and the proxy starts without it. To the peer the book goes as a document of kind "servers"
 * through the agents; what comes from there is merged, so that it does not matter who said what
 * first. Main thread.
 */
#pragma once

#include "proxy/failover_link.h"
#include "proxy/pool/membership.h"

#define ORDERS_KIND "servers" /* of the document */

struct orders;
struct orders_options {
	struct ev_loop *loop;
	const char *state_dir, *node; /* borrows */
	void *ctx;
	/* For who follows events. Takes fields. */
	void (*on_event)(void *ctx, const char *event, json_t *fields);
	/* To the peer, if there is one. Takes book. */
	void (*share)(void *ctx, const struct failover_version *version, json_t *book);
};
/* Reads the book. NULL with err: out of memory or threads. */
struct orders *orders_new(const struct orders_options *o, struct err *err);
void orders_free(struct orders *o); /* waits until the last of it is on disk */
/* To be written in, followed by orders_commit(). */
struct overrides *orders_book(struct orders *o);
struct override_stamp orders_stamp(const struct orders *o, const char *by);
/* The book says something else of this pool: its servers, the disk and the peer follow. -1 with
 * err: the servers do not. */
int orders_commit(struct orders *o, struct span pool, struct err *err);

/* A snapshot runs now, and this is who is in its pools. */
void orders_follow(struct orders *o, struct membership *m, const struct settings *s);
/* What following it would drop: a line for each, owned. */
json_t *orders_conflicts(struct orders *o, const struct settings *s);
/* The agent listens from now on: it has the book to take to the peer. */
void orders_share(struct orders *o);
/* The pair's latest document. */
void orders_hear(struct orders *o, const struct failover_version *version, const json_t *book);

/* {servers, changes, saved, trouble}: how many servers differ, how many changes there were, how
 * many of them are on disk, and why not all. */
json_t *orders_status(const struct orders *o);
/* Adds to each server of the pool's status where it comes from, who took it out, since when and
 * until when, and what replaced its weight. */
void orders_describe(const struct orders *o, const struct pool *p, json_t *pool_status);
