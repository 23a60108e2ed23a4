/*
 * Active checks, on the main thread's loop: sends them, times them, feeds each server's health
 * machine (pool/health.h) with their results and with what the workers reported, and tells the
 * owner when a pool's usable set changed.
 */
#pragma once

#include <ev.h>

#include "proxy/pool/pool.h"

struct checks;
struct checks_options {
	void *ctx;
	/* The usable set of this pool changed: make a new view and hand it out. Called once for
	 * each pool at the end of the loop iteration in which it changed; never from within
	 * checks_apply. -1: it could not be done, or not for all; called again in a second. */
	int (*on_pool_changed)(void *ctx, const struct pool *p);
	/* A server went up, down, failing...: for events and the log (checks.c logs it itself too).
	 * Takes fields. */
	void (*on_event)(void *ctx, const char *event, json_t *fields);
};
struct checks *checks_new(
	struct ev_loop *loop, struct server_table *table, const struct checks_options *o);
/* Starts, stops and re-times checks so that they are those of this snapshot (keeps a reference to
 * it) and of what servers its pools have now (state->set). Health of servers that stay is kept; new
 * servers start as unknown, which is usable, and are checked at once. */
void checks_apply(struct checks *c, struct settings *s);
/* The servers of this pool of the snapshot are others now (p->state->set): the same for them. Its
 * view is made anew at the end of the loop iteration. */
void checks_follow(struct checks *c, const struct pool *p);
/* Pools that changed are told of now, and not only at the end of this turn of the loop. */
void checks_tell(struct checks *c);
/* A standby checks at a tenth of the rate, but for servers whose verdict hangs in the balance; when
 * it becomes active all are checked at once, and as often as they should be from then on. */
void checks_standby(struct checks *c, bool standby);
void checks_free(struct checks *c);
/* Workers reported servers (server_table_on_wake): lets the health machines decide at once. Call it
 * on the loop, from the ev_async that the wake function sends. */
void checks_wake(struct checks *c);
