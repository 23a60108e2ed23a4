/*
 * JSON-RPC 2.0, one JSON value a line, over a Unix socket: the server that each daemon runs, the
 * blocking client of tandemctl, and the reconnecting link that the proxy keeps to the agent.
 *
 * The server runs on one libev loop and never blocks: a line is at most 64 KiB, a peer that does
 * not read is dropped when its output passes the ceiling (1 MiB; an answer that finds nothing
 * unread may have 16 MiB), at most 256 connections. A bare word on a line is that method without
 * parameters, answered with indented JSON. A peer that ends its side gets what was answered and is
 * closed. `events` is built in: answered with {"seq": last}, then the line streams what
 * rpc_publish() is given; {"since": N} first replays what the ring of the last 1,024 still holds
 * (all of it when N lies ahead: the daemon was started again). A bare `events` has no answer of its
 * own.
 */
#pragma once

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "shared/err.h"

struct rpc_server;
struct rpc_caller {  /* who is asking; valid during the call */
	uint64_t id; /* of the connection: for rpc_notify, never reused */
	pid_t pid;
	uid_t uid;
};

/* Root, or who runs this daemon: may have it do what others of the socket's group may not. */
bool rpc_caller_is_trusted(const struct rpc_caller *who);
/* May this file be checked for the caller? A report quotes what it reads, with our rights, so that
 * only those who have them choose the file; and a pipe without a writer would hold up the loop. */
int rpc_may_check(const struct rpc_caller *who, const char *file, struct err *err);

struct rpc_method {
	const char *name;
	/* Returns 0 and sets *ret_result (owned), or -1 with err (answered with code -32000).
	 * params is an object or NULL. Notifications (no id) are called too; their result is thrown
	 * away. */
	int (*call)(void *ctx, const struct rpc_caller *who, const json_t *params,
		json_t **ret_result, struct err *err);
};

struct rpc_server_options {
	const char *path;  /* socket file; a stale one is replaced, a live one is an error */
	const char *group; /* may be NULL: chgrp if that group exists */
	bool replaces;	   /* a live one, too: it is our predecessor's */
	const struct rpc_method *methods; /* borrows, ends with a NULL name */
	void *ctx;
	/* May be NULL. Called between callbacks of the loop, also for a caller that was dropped. */
	void (*on_closed)(void *ctx, uint64_t caller_id);
};

struct rpc_server *rpc_server_new(
	struct ev_loop *loop, const struct rpc_server_options *o, struct err *err);
/* Closes all connections (without on_closed) and removes the socket file. Not from within a method.
 */
void rpc_server_free(struct rpc_server *s);
/* A successor that came to nothing may have put its socket in place of ours: ours is put back. -1
 * with err: it could not be; who is connected stays. */
int rpc_server_reclaim(struct rpc_server *s, struct err *err);
/* Streams {"seq":N,"ts":"...","event":EVENT, ...fields} to all who follow. Takes fields (an object
 * or NULL). */
void rpc_publish(struct rpc_server *s, const char *event, json_t *fields);
/* A notification to one connection; -1 if it is gone. Takes params. */
int rpc_notify(struct rpc_server *s, uint64_t caller_id, const char *method, json_t *params);

/* --- blocking client ------------------------------------------------------------------------- */
enum rpc_rc { RPC_OK, RPC_REFUSED, RPC_UNREACHABLE };
/* err says in words what to do about it: is the daemon running, are you in group tandem. Takes
 * params (may be NULL). RPC_REFUSED: the daemon answered with an error, its words in err. */
enum rpc_rc rpc_call(const char *path, const char *method, json_t *params, uint64_t timeout_ms,
	json_t **ret_result, struct err *err);
/* Calls on_line with each object of a stream after the answer, for as long as it lasts: RPC_OK once
 * on_line returned false, RPC_UNREACHABLE when the daemon closed the line. Takes params (may be
 * NULL). */
enum rpc_rc rpc_follow(const char *path, const char *method, json_t *params,
	bool (*on_line)(void *ctx, const json_t *object), void *ctx, struct err *err);

/* --- a link that stays open (libev, never blocks, reconnects every 100 ms) ---------------------
 */
struct rpc_link;
struct rpc_link_options {
	const char *path;
	void *ctx;
	/* The callbacks may be NULL. on_closed follows each on_open, but for rpc_link_free. */
	void (*on_open)(void *ctx);
	void (*on_closed)(void *ctx);
	/* A notification from the server. */
	void (*on_notify)(void *ctx, const char *method, const json_t *params);
};
struct rpc_link *rpc_link_new(
	struct ev_loop *loop, const struct rpc_link_options *o, struct err *err);
/* Not from within one of its callbacks. */
void rpc_link_free(struct rpc_link *l);
/* Takes params. -1 when the link is not open or its output is full (the message is lost, counted).
 */
int rpc_link_notify(struct rpc_link *l, const char *method, json_t *params);
uint64_t rpc_link_lost(const struct rpc_link *l);
/* Bytes that the other side has not taken yet. */
size_t rpc_link_unsent(const struct rpc_link *l);
