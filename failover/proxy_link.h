/*
 * The agent's side of the proxy's Unix socket connection: is the proxy alive, who are its clients,
 * and what it must hear of its role and of addresses that are being moved away. The proxy says
 * proxy.hello, then proxy.beat as often as it says in it, proxy.clients as they come and go,
 * proxy.state when a document of its changes, and perhaps proxy.stopping. doc/shared.md has the
 * messages.
 *
 * Its exit is seen through a pidfd, in microseconds; a hang by PROXY_BEATS_MISSED beats that did
 * not come. One proxy at a time: the one that said hello last. Only a process of our own user or
 * root is believed. Runs on the agent's loop.
 *
 * A new binary takes over from the old one, which keeps its connections until they end: it is an
 * elder then, and goes on telling who its clients are, for they too are to be told should the node
 * die. Until it says proxy.retired it serves as well, and is the proxy again if the new one ends.
 */
#pragma once

#include <ev.h>

#include "failover/clients.h"
#include "shared/rpc.h"

#define PROXY_BEAT_MS 50 /* of one that does not say */
#define PROXY_BEAT_MAX_MS 1000
#define PROXY_BEATS_MISSED 5

#define PROXY_STATES(X)                                                \
	X(ABSENT, "absent")	/* not connected, though it may run */ \
	X(STARTING, "starting") /* said hello, no beat yet */          \
	X(OK, "ok")                                                    \
	X(HUNG, "hung")		/* connected, but its beats stopped */ \
	X(STOPPING, "stopping") /* beats, but is on its way out */     \
	X(DEAD, "dead")		/* its process ended */
enum proxy_state {
#define X(name, text) PROXY_##name,
	PROXY_STATES(X)
#undef X
};
const char *proxy_state_name(enum proxy_state s);

struct proxy_link_handlers {
	void *ctx;
	void (*on_state)(void *ctx, enum proxy_state from, enum proxy_state to);
	/* Each change of the list of its clients. May be NULL. */
	void (*on_client)(void *ctx, const struct client_key *k, bool there);
	/* Sends a notification to this connection. Takes params. */
	void (*tell)(void *ctx, uint64_t caller, const char *method, json_t *params);
};

struct proxy_drain {
	struct cidr vip;
	uint64_t until_ns;
};

/* A process that was the proxy before. */
struct proxy_elder {
	uint64_t caller; /* its connection; 0: none */
	pid_t pid;
	bool retired; /* it takes no new clients */
};

struct proxy_link {
	struct ev_loop *loop;
	struct proxy_link_handlers handlers;
	enum proxy_state state;
	uint64_t caller; /* the connection; 0: none */
	pid_t pid;
	int pidfd; /* -1: none */
	char version[32];
	uint64_t connections;  /* clients, as of the last beat */
	uint64_t last_beat_ns; /* 0: never */
	uint64_t beat_ms;      /* between two */
	uint64_t awaited_ns;   /* since when a beat is awaited */
	uint64_t beats_lost;   /* holes in the numbers of the beats */
	uint64_t seq;
	struct clients *clients;		    /* owned; of all processes */
	unsigned source;			    /* the proxy's among them */
	struct proxy_elder elders[CLIENTS_SOURCES]; /* by source */
	bool clients_known;			    /* the proxy's list is whole */
	struct proxy_drain drains[CLIENTS_VIPS_MAX];
	unsigned drain_count;
	uint64_t drain_seq;   /* of the last order, from 1 */
	uint64_t drain_heard; /* up to which one the proxy has told all clients */
	bool stopping;	      /* it said so: what it says after that changes nothing about it */
	bool late;	      /* the time for beats is over; one more look at the socket is due */
	ev_io exited;
	ev_timer silence;
	ev_timer parting; /* the connection closed: time for the exit to show */
};

/* -1: out of memory; _fini is right then too. */
int proxy_link_init(
	struct proxy_link *l, struct ev_loop *loop, const struct proxy_link_handlers *h);
void proxy_link_fini(struct proxy_link *l);
/* The notifications, as methods of the agent's socket. -1 with err: refused. */
int proxy_link_hello(
	struct proxy_link *l, const struct rpc_caller *who, const json_t *params, struct err *err);
int proxy_link_beat(struct proxy_link *l, const struct rpc_caller *who, const json_t *params,
	uint64_t now_ns, struct err *err);
int proxy_link_stopping(struct proxy_link *l, const struct rpc_caller *who, struct err *err);
int proxy_link_retired(struct proxy_link *l, const struct rpc_caller *who, struct err *err);
int proxy_link_clients(
	struct proxy_link *l, const struct rpc_caller *who, const json_t *params, struct err *err);
/* The rest of the agent may speak for the connection; proxy.state asks. */
int proxy_link_is(const struct proxy_link *l, const struct rpc_caller *who, struct err *err);
/* A connection of the socket closed; perhaps the proxy's. */
void proxy_link_closed(struct proxy_link *l, uint64_t caller_id);
/* What status shows; returns owned. */
json_t *proxy_link_status(const struct proxy_link *l, uint64_t now_ns);

/*
 * The proxy is to finish with these virtual addresses within limit_ns: it answers with "Connection:
 * close" there, and shows idle clients out before the end. Again with another limit: that holds.
 */
void proxy_link_drain(
	struct proxy_link *l, const struct cidr *vips, unsigned count, uint64_t limit_ns);
/* They are served as ever again. */
void proxy_link_undrain(struct proxy_link *l, const struct cidr *vips, unsigned count);
/*
 * No client is left on these addresses, which drain: the proxy has said so of all its threads,
 * after the last one left. A proxy that is gone has none.
 */
bool proxy_link_drained(const struct proxy_link *l, const struct cidr *vips, unsigned count);
