/*
 * The proxy's side of the connection to the failover agent: says hello and beats, hears its role,
 * tells its clients. Main thread, main loop. Whether an agent runs at all is not our business:
 * without one the link keeps trying and the role is "single".
 *
 * Messages are notifications both ways, over RUN_DIR/failover.sock; doc/shared.md has them all. To
 * the agent go proxy.hello, proxy.beat while all event loops turn (every 50 ms, or as often as role
 * asks for), proxy.stopping, proxy.retired, proxy.clients and proxy.state; from it come role,
 * drain, state and counts.
 */
#pragma once

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "shared/addr.h"
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

#define FAILOVER_VIPS_MAX 1024
struct failover_vip {
	struct addr ip;
	uint64_t drain_until_ns; /* CLOCK_MONOTONIC: it is being moved away; 0: it is not */
};

/* A document that both nodes' proxies share, of a kind that one feature owns. */
#define FAILOVER_STATE_MAX (48 * 1024) /* bytes of a document as text */
struct failover_version {
	uint64_t value;	  /* the larger one wins; a tie goes by when, then by who */
	const char *who;  /* borrows */
	uint64_t when_ms; /* CLOCK_REALTIME */
};

struct failover_link_options {
	void *ctx;
	/* Has every event loop turned since the last call? If not, this beat is not sent. */
	bool (*alive)(void *ctx);
	uint64_t (*connections)(void *ctx); /* open clients, for the beat */
	void (*on_open)(void *ctx);	    /* the agent listens; hello was said. May be NULL. */
	void (*on_role)(
		void *ctx, enum failover_role from, enum failover_role to); /* may be NULL */
	/* Other virtual IPs, or other orders to drain, or (with the link closed) none. May be
	 * NULL. */
	void (*on_vips)(void *ctx, bool open);
	/* The pair's latest document of this kind, which may be our own again. May be NULL. */
	void (*on_state)(void *ctx, const char *kind, const struct failover_version *version,
		const json_t *doc);
};

struct failover_link;
struct failover_link *failover_link_new(struct ev_loop *loop, const char *run_dir,
	const struct failover_link_options *o, struct err *err);
/* From on_vips on, until the loop runs on. */
const struct failover_vip *failover_link_vips(const struct failover_link *l);
unsigned failover_link_vip_count(const struct failover_link *l);
/* The number of the agent's last order to drain, from 1; 0: it has given none. */
uint64_t failover_link_drain(const struct failover_link *l);
/* Sends proxy.clients, proxy.conditions, proxy.scale or proxy.state. Takes what is JSON. -1: it is
 * lost. */
int failover_link_clients(struct failover_link *l, json_t *params);
int failover_link_conditions(struct failover_link *l, json_t *params);
int failover_link_scale(struct failover_link *l, json_t *params);
int failover_link_state(struct failover_link *l, const char *kind,
	const struct failover_version *version, json_t *doc);
/* A beat which says that the next may take its time: before what keeps the loop for long. */
void failover_link_busy(struct failover_link *l);
/* Bytes that the agent has not taken yet. */
size_t failover_link_unsent(const struct failover_link *l);
void failover_link_free(struct failover_link *l);
/* Another process of ours may have said hello meanwhile, and came to nothing: it is we again. Roles
 * and orders follow. */
void failover_link_resume(struct failover_link *l);
/* Another process is the proxy now: said at once, and again whenever the link reopens. From then on
 * only our clients are told, until there are none. */
void failover_link_retire(struct failover_link *l);
/* Draining begins: said at once, and again whenever the link reopens. */
void failover_link_stopping(struct failover_link *l);
enum failover_role failover_link_role(const struct failover_link *l);
/* What the agent said last of each group (an object), or NULL. Borrows until the loop runs on. */
const json_t *failover_link_groups(const struct failover_link *l);
/* What it counted: {transitions: {GROUP: {REASON: N}}, peer_heard_ms: {PATH: MS}}, as of
 * *ret_at_ns; NULL: nothing is known. */
const json_t *failover_link_counts(const struct failover_link *l, uint64_t *ret_at_ns);
