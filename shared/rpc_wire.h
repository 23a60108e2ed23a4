/*
 * What both ends of a JSON-RPC line share: the socket's address, bounded line splitting, requests
 * and answers as text. Internal to shared/rpc*.c.
 */
#pragma once

#include <jansson.h>
#include <sys/un.h>

#include "shared/buf.h"
#include "shared/err.h"

enum {
	RPC_LINE_MAX = 65536, /* without its newline */
	RPC_PARSE_ERROR = -32700,
	RPC_INVALID_REQUEST = -32600,
	RPC_METHOD_NOT_FOUND = -32601,
	RPC_INVALID_PARAMS = -32602,
	RPC_FAILED = -32000, /* what a method says when it refuses */
};

/* Fails when the path is too long for a socket's address. */
int rpc_address(const char *path, struct sockaddr_un *ret_address, struct err *err);
/* A connected, non-blocking socket, or -1 with errno as connect(2) left it. */
int rpc_connect(const struct sockaddr_un *address);
/* The daemon behind a socket by its name: "/run/tandem/proxy.sock" is "tandem-proxy". */
void rpc_peer_name(const char *path, char *out, size_t size);

/* The next whole line at the front of in, without its newline; *scanned remembers how far a partial
 * line was searched. The caller then consumes len + 1 and sets *scanned to 0. */
bool rpc_line_next(const struct buf *in, size_t *scanned, struct span *ret_line);

enum rpc_flush_rc { RPC_FLUSHED, RPC_BLOCKED, RPC_BROKEN };
/* Writes what the socket takes. */
enum rpc_flush_rc rpc_flush(int fd, struct buf *out);

/* Appends value as text and a newline. Takes value (NULL is "out of memory": -1). -1 when it does
 * not fit. */
int rpc_put_json(struct buf *out, json_t *value, size_t flags);

struct rpc_request {
	bool bare;	      /* a lone word: answered with indented JSON and no envelope */
	bool notification;    /* wants no answer */
	char word[64];	      /* storage of a bare word */
	const char *method;   /* borrows from word or body */
	const json_t *params; /* an object or NULL; borrows from body */
	json_t *id;	      /* owned; null when it could not be read */
	json_t *body;	      /* owned */
};
/* 0, or one of the codes above with err; the request can be answered and needs rpc_request_fini
 * either way. */
int rpc_request_parse(struct rpc_request *r, struct span line, struct err *err);
void rpc_request_fini(struct rpc_request *r);
/* The answer to r as text. Takes result. */
int rpc_put_result(struct buf *out, const struct rpc_request *r, json_t *result);
int rpc_put_error(struct buf *out, const struct rpc_request *r, int code, const char *text);
/* {"jsonrpc":"2.0","method":...,"params":...} with an id when that is not 0. Takes params (may be
 * NULL). */
int rpc_put_request(struct buf *out, const char *method, json_t *params, int id);
