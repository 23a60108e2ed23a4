/*
 * What the JSON-RPC tests share: a server with a few methods on a socket in a directory of its own,
 * and a loop that is turned until something holds or two seconds are over.
 */
#pragma once

#include <errno.h>
#include <ev.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shared/rpc.h"
#include "shared/span.h"
#include "shared/units.h"
#include "tests/unit/check.h"

struct bench {
	char dir[64], path[96];
	struct ev_loop *loop;
	struct rpc_server *server;
	unsigned calls, closed;
	unsigned calls_before_say;
	struct rpc_caller last;
	char said[64]; /* the text of the last `say` */
};

static int bench_echo(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct bench *b = ctx;

	(void)err;
	b->calls++;
	b->last = *who;
	*ret_result = json_pack("{s:O?}", "params", params);
	return 0;
}

static int bench_fail(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct bench *b = ctx;

	(void)who;
	(void)params;
	(void)ret_result;
	b->calls++;
	return err_set(err, "no group '%s'", "wob");
}

static int bench_nap(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	(void)usleep(1000);
	return bench_echo(ctx, who, params, ret_result, err);
}

/* A result of params.size bytes and a few. */
static int bench_big(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	size_t size = (size_t)json_integer_value(json_object_get(params, "size"));
	char *text = malloc(size + 1);

	(void)ctx;
	(void)who;
	if (!text)
		return err_set(err, "out of memory");
	memset(text, 'x', size);
	text[size] = '\0';
	*ret_result = json_stringn(text, size);
	free(text);
	return 0;
}

static int bench_say(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct bench *b = ctx;
	const char *text = json_string_value(json_object_get(params, "text"));

	(void)err;
	b->last = *who;
	b->calls_before_say = b->calls;
	snprintf(b->said, sizeof(b->said), "%s", text ? text : "");
	*ret_result = json_null();
	return 0;
}

static void bench_on_closed(void *ctx, uint64_t caller_id)
{
	struct bench *b = ctx;

	(void)caller_id;
	b->closed++;
}

static const struct rpc_method bench_methods[] = {
	{"echo", bench_echo},
	{"fail", bench_fail},
	{"nap", bench_nap},
	{"big", bench_big},
	{"say", bench_say},
	{NULL, NULL},
};

static inline struct rpc_server *bench_serve(struct bench *b, struct err *err)
{
	const struct rpc_server_options o = {
		.path = b->path, .methods = bench_methods, .ctx = b, .on_closed = bench_on_closed};

	return rpc_server_new(b->loop, &o, err);
}

static inline void bench_open(struct bench *b)
{
	struct err err;

	memset(b, 0, sizeof(*b));
	snprintf(b->dir, sizeof(b->dir), "/tmp/tandem-test.XXXXXX");
	CHECK_TRUE(mkdtemp(b->dir) != NULL);
	snprintf(b->path, sizeof(b->path), "%s/proxy.sock", b->dir);
	b->loop = ev_loop_new(EVFLAG_AUTO);
	CHECK_TRUE(b->loop != NULL);
	b->server = bench_serve(b, &err);
	CHECK_TRUE(b->server != NULL);
}

static inline void bench_shut(struct bench *b)
{
	rpc_server_free(b->server);
	ev_loop_destroy(b->loop);
	CHECK(access(b->path, F_OK) < 0); /* the socket file went with the server */
	CHECK(rmdir(b->dir) == 0);	  /* and left nothing else */
}

/* Turns the loop until cond holds; false after two seconds. */
#define bench_until(b, cond)                                            \
	({                                                              \
		uint64_t end_ns_ = monotonic_ns() + 2 * NS_PER_S;       \
		bool held_;                                             \
		while (!(held_ = (cond)) && monotonic_ns() < end_ns_) { \
			ev_run((b)->loop, EVRUN_NOWAIT);                \
			usleep(200);                                    \
		}                                                       \
		held_;                                                  \
	})

/* --- a raw client ---------------------------------------------------------------------------- */
static inline int raw_open(const struct bench *b)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	CHECK_TRUE(span_copy(span_of(b->path), address.sun_path, sizeof(address.sun_path)) == 0);
	CHECK_TRUE(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

/* Sends all of it, turning the loop when the socket is full. */
static inline void raw_send(struct bench *b, int fd, struct span s)
{
	while (s.len) {
		ssize_t n = send(fd, s.ptr, s.len, MSG_NOSIGNAL);

		if (n > 0)
			s = span_from(s, (size_t)n);
		else if (errno == EAGAIN)
			ev_run(b->loop, EVRUN_NOWAIT);
		else
			return;
	}
}

/* One line into out, without its newline, byte by byte so that nothing after it is lost. False when
 * the line was closed, or none came in two seconds. */
static inline bool raw_line(struct bench *b, int fd, char *out, size_t size)
{
	size_t len = 0;
	ssize_t n = -1;

	for (;;) {
		if (!bench_until(b, (n = read(fd, out + len, 1)) >= 0) || n == 0)
			break;
		if (out[len] == '\n') {
			out[len] = '\0';
			return true;
		}
		CHECK_TRUE(++len < size);
	}
	out[len] = '\0';
	return false;
}

/* The same as JSON, owned; NULL when there was no line. */
static inline json_t *raw_json(struct bench *b, int fd)
{
	static char line[17 * 1024 * 1024];

	return raw_line(b, fd, line, sizeof(line)) ? json_loads(line, JSON_DECODE_ANY, NULL) : NULL;
}

static inline bool raw_closed(struct bench *b, int fd)
{
	char byte;
	ssize_t n;

	return bench_until(b, (n = read(fd, &byte, 1)) == 0 || (n < 0 && errno != EAGAIN));
}

static inline json_int_t error_code(const json_t *answer)
{
	return json_integer_value(json_object_get(json_object_get(answer, "error"), "code"));
}

static inline const char *error_text(const json_t *answer)
{
	const char *text =
		json_string_value(json_object_get(json_object_get(answer, "error"), "message"));

	return text ? text : "";
}
