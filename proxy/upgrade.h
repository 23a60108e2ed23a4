/*
 * The upgrade of the binary in place, as a talk between two processes. The old one starts its own
 * path anew, with the same arguments, and goes on serving. The new one inherits the listening
 * sockets (inheritance.h), builds its configuration, serves too, and says "ready", or says why it
 * cannot. Then the old one names it to the service manager, says "go", drains, and ends; until it
 * has ended the new one keeps its side of the talk open to know, and hears how many connections are
 * left there. A new process that fails, or takes
 * longer than UPGRADE_S, is ended, and nothing has changed.
 *
 * One process may play both parts: it had a predecessor, and has a successor. What is handed over
 * besides, and what draining means, is for the owner. Main thread.
 */
#pragma once

#include <ev.h>
#include <jansson.h>
#include <sys/types.h>

#include "proxy/inheritance.h"

#define UPGRADE_S 30.0

struct upgrade_handlers {
	void *ctx;
	void (*on_successor)(void *ctx, pid_t pid); /* it serves: time to go */
	void (*on_failed)(void *ctx, const char *why, bool started);
	void (*on_go)(void *ctx);    /* we are the one now */
	void (*on_alone)(void *ctx); /* the predecessor has ended */
};

struct upgrade;
/* argv: of this process; borrows. Takes `talk` (-1: there was no predecessor). NULL with err. */
struct upgrade *upgrade_new(struct ev_loop *loop, char *const *argv, int talk,
	const struct upgrade_handlers *h, struct err *err);
/* Ends a successor that is not ready yet. */
void upgrade_free(struct upgrade *u);

/* Starts the successor; -1 with err, which status shows as well. */
int upgrade_begin(struct upgrade *u, const struct worker_socket *sockets, unsigned count,
	const json_t *state, struct err *err);
/* A successor is being started: what it knows must not change. */
bool upgrade_is_on(const struct upgrade *u);
/* For the successor's status: so many connections are not its own. Now and then. */
void upgrade_tell_left(struct upgrade *u, uint64_t connections);
/* So many the predecessor still has, and those before it. */
uint64_t upgrade_left(const struct upgrade *u);
/* There is no time for it: the successor goes, and on_failed is not called. */
void upgrade_give_up(struct upgrade *u);

/* This process serves: its predecessor may go. Only the first call counts. */
void upgrade_ready(struct upgrade *u);
bool upgrade_has_predecessor(const struct upgrade *u);
/* A successor that cannot start says so, before it ends. */
void upgrade_refuse(int talk, const char *why);

/* {last: {ok, at, why} or null, failed_total, predecessor: pid or null, predecessor_connections,
 * successor: pid while it is not ready}; owned. */
json_t *upgrade_status(const struct upgrade *u);
