/*
 * The state copy between the agents of a pair: keeps one connection to the peer (copy_session.h
 * says what goes over it), over the first heartbeat path that works, on the heartbeats' port of
 * TCP.
 *
 * The node with the lower id connects, and tries the paths and the secrets in turn, with a pause
 * that grows to 5 s; the other listens on its address of each path, and a connection that has
 * shown the pair's secret replaces the one before. What was copied outlives connections. Losing all
 * of it is harmless: clients of a dead node then find out by themselves.
 */
#pragma once

#include "failover/copy_session.h"
#include "failover/net/paths.h"

struct peer_copy_options {
	uint8_t node, peer;
	const struct path_config *paths; /* copied */
	unsigned path_count;
	struct span secrets[PATHS_KEYS_MAX]; /* used during _new */
	unsigned secret_count;
	/* Borrowed until _free. `theirs` is filled here. */
	const struct clients *own;
	bool own_known; /* else a peer_copy_known() follows */
	struct clients *theirs;
	struct states *states;
	void *ctx;
	void (*on_state)(void *ctx, unsigned index); /* the peer had a newer one */
};

struct peer_copy;
/* An address or port that cannot be had is tried again each 5 s, and shown in status. NULL with
 * err: out of memory. */
struct peer_copy *peer_copy_new(
	struct ev_loop *loop, const struct peer_copy_options *o, struct err *err);
void peer_copy_free(struct peer_copy *p);
/* `own` has changed, or will have within the turn. */
void peer_copy_client(struct peer_copy *p, const struct client_key *k, bool there);
/* `own` is all that the proxy has. */
void peer_copy_known(struct peer_copy *p);
/* states->list[index] is newer than what the peer was sent. */
void peer_copy_state(struct peer_copy *p, unsigned index);
/* What status shows; returns owned. */
json_t *peer_copy_status(const struct peer_copy *p);
