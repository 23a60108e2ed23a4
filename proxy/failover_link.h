/*
 * The proxy's side of the connection to the failover agent: says hello and beats, hears its role.
 * Main thread, main loop. Whether an agent runs at all is not our business: without one the link
 * keeps trying and the role is "single".
 *
 * Messages (notifications both ways, over RUN_DIR/failover.sock):
 *   to the agent    proxy.hello {"pid", "version"} when the link opens; proxy.beat {"connections",
 * "seq"} every 50 ms while all event loops turn; proxy.stopping {} when draining begins from the
 * agent  role {"role": "active" | "standby", "groups": {...}}
 */
#pragma once

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "shared/err.h"

#define FAILOVER_ROLES(X)                               \
	X(SINGLE, "single") /* no agent speaks to us */ \
	X(ACTIVE, "active")                             \
	X(STANDBY, "standby")
enum failover_role {
#define X(name, text) FAILOVER_##name,
	FAILOVER_ROLES(X)
#undef X
};
const char *failover_role_name(enum failover_role role);

struct failover_link_options {
	void *ctx;
	/* Has every event loop turned since the last call? If not, this beat is not sent. */
	bool (*alive)(void *ctx);
	uint64_t (*connections)(void *ctx); /* open clients, for the beat */
	void (*on_role)(
		void *ctx, enum failover_role from, enum failover_role to); /* may be NULL */
};

struct failover_link;
struct failover_link *failover_link_new(struct ev_loop *loop, const char *run_dir,
	const struct failover_link_options *o, struct err *err);
void failover_link_free(struct failover_link *l);
/* Draining begins: said at once, and again whenever the link reopens. */
void failover_link_stopping(struct failover_link *l);
enum failover_role failover_link_role(const struct failover_link *l);
/* What the agent said last of each group (an object), or NULL. Borrows until the loop runs on. */
const json_t *failover_link_groups(const struct failover_link *l);
