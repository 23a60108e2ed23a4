/*
 * A small HTTP/1.1 server on the main loop, for the admin address: few clients, short requests,
 * answers made at once and whole. Parses with http/ like the data path, on which it never is; what
 * a client may hold is bounded (connections, bytes, time), and one that asks more than its turn
 * makes room for others.
 */
#pragma once

#include <ev.h>

#include "proxy/http/http1.h"
#include "shared/addr.h"
#include "shared/buf.h"

#define HTTPD_CLIENTS_MAX 64
#define HTTPD_TARGET_MAX 1024
#define HTTPD_BODY_MAX 16384	     /* of a request: 413 */
#define HTTPD_ANSWER_MAX (64u << 20) /* content of an answer: 500 */
#define HTTPD_AUTHORIZATION_MAX 512  /* a longer one is as good as none */

struct httpd_request {
	enum http_method method;
	struct span path, query; /* the path normalised */
	struct span authorization;
	struct span body;
	struct addr client;
};
struct httpd_answer { /* to be filled in: 404 without content to begin with */
	uint16_t status;
	const char *type;  /* of the content; "text/plain; charset=utf-8" to begin with */
	const char *allow; /* for 405, such as "GET, HEAD"; NULL: none */
	struct buf body;   /* may be sent whatever it is: HEAD is seen to */
};

struct httpd_options {
	void *ctx;
	/* Borrows both for the call. GET and HEAD are to be answered alike. */
	void (*on_request)(
		void *ctx, const struct httpd_request *request, struct httpd_answer *answer);
	/* As acceptor_open(), or what was inherited. */
	int (*open_socket)(void *ctx, const struct addr *bind, int *ret_fd, struct err *err);
};

struct httpd;
struct httpd *httpd_new(struct ev_loop *loop, const struct httpd_options *o); /* NULL: memory */
void httpd_free(struct httpd *h);
/* It hears no newcomers any more, but who was let in. */
void httpd_stop(struct httpd *h);
/* Calls each for the sockets on which it listens. */
void httpd_each_socket(
	const struct httpd *h, void *ctx, void (*each)(void *ctx, const struct addr *bind, int fd));

/*
 * Where it listens is changed in two steps: all that can fail, then what cannot. Sockets of binds
 * that stay are kept. `allow`: only clients from there are heard; with none everybody. What is
 * given is copied.
 */
struct httpd_change;
struct httpd_change *httpd_prepare(struct httpd *h, const struct addr *binds, unsigned bind_count,
	const struct cidr *allow, unsigned allow_count, struct err *err);
void httpd_apply(struct httpd *h, struct httpd_change *c); /* takes c */
void httpd_drop(struct httpd_change *c);		   /* instead; NULL is fine */
