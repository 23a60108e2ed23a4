/*
 * Who is in which pool: what the configuration says, and what comes and goes without a reload. The
 * rest comes from sources (DNS, a file, servers that register, an operator): each has a list for a
 * pool, which it replaces as a whole, and what a source says twice changes nothing. A name belongs
 * to whoever says it first: the configuration, then the sources in the order in which they
 * appeared.
 *
 * Each change makes a new set (members.h), puts it in the pool's state and tells the owner, who has
 * checks follow and views made. A server that leaves gets nothing new, ends what it has, and is
 * gone when the last of that is; its place is then free for another. Lists survive reloads, but for
 * those of pools that a reload removes.
 *
 * What people said of servers (overrides.h) goes on top: those whom they added come before the
 * sources, and their states and weights replace what a server has otherwise.
 *
 * Main thread. Names are keys of everything else (hashes, sticky sessions, overrides): a source
 * gives the same server the same name each time.
 */
#pragma once

#include "proxy/pool/overrides.h"

#define SOURCE_SERVERS_MAX 10000 /* of one source in a pool, as in the configuration */
#define SERVER_NAME_MAX 64	 /* with its NUL */

struct membership;
struct membership_options {
	void *ctx;
	const struct overrides *book; /* borrows; may be NULL */
	/* The servers of this pool of the running snapshot are others now: p->state->set. */
	void (*on_changed)(void *ctx, const struct pool *p);
	/* A server came or went: for events; the log has it already. Takes fields. May be NULL. */
	void (*on_event)(void *ctx, const char *event, json_t *fields);
};
/* NULL when out of memory. */
struct membership *membership_new(struct server_table *t, const struct membership_options *o);
void membership_free(struct membership *m);

struct membership_server {
	struct span name; /* letters, digits, '.', '_', '-', as in the file; or an address */
	struct addr address;
	uint32_t weight;  /* 1-256 */
	struct span zone; /* empty: none */
	bool backup;
};

/*
 * What this source (a word that lives on: "dns", "file") has for the pool is this and no more.
 * Copies it; count 0 ends it. -1 with err, and what was there before stays: there is no such pool,
 * the list is wrong or too long, or there is no room.
 */
int membership_source_set(struct membership *m, struct span pool, const char *source,
	const struct membership_server *list, unsigned count, struct err *err);
/* Does this source have servers for the pool? */
bool membership_source_has(const struct membership *m, struct span pool, const char *source);
/* Would such a list be taken? -1 with err. */
int membership_check(const struct membership_server *list, unsigned count, struct err *err);
/* The book says other things of this pool now, or its time has come. -1 with err: it stays as it
 * is. */
int membership_refresh(struct membership *m, struct span pool, struct err *err);
/* The pool of the running snapshot; NULL: there is none of that name. */
const struct pool *membership_pool(const struct membership *m, struct span name);
#define SOURCE_CONFIGURATION "configuration"
#define SOURCE_RUNTIME "runtime" /* added by somebody */
/* Calls each for those that have left this pool and still have something to end. */
void membership_each_leaving(const struct membership *m, const struct pool *p, void *ctx,
	void (*each)(void *ctx, const struct server *s));
/* Lets go of those that have nothing any more; now and then. */
void membership_sweep(struct membership *m);

/* --- for whoever applies snapshots -------------------------------------------------------------
 */
/* A set for each pool of a snapshot that is to run, made before anything changes. NULL with err. */
struct member_set **membership_sets_new(
	struct membership *m, const struct settings *s, struct err *err);
void membership_sets_free(struct member_set **sets, unsigned count);
/* The snapshot runs now. Takes sets. Keeps a reference to s. */
void membership_apply(struct membership *m, struct settings *s, struct member_set **sets);
