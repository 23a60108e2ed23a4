/*
 * The blocking client: one connection a call, and every wait has the caller's deadline (a stream's
 * has none).
 */
#include "shared/rpc.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "shared/rpc_wire.h"
#include "shared/units.h"

enum {
	ANSWER_MAX = 64 * 1024 * 1024,
	READ_CHUNK = 65536,
	REQUEST_ID = 1,
	CONNECT_RETRY_MS = 10,
};

struct client {
	const char *path;
	char peer[64];
	int fd;
	uint64_t deadline_ns; /* UINT64_MAX: none */
	struct buf in, out;
	size_t scanned;
};

static int no_answer(const struct client *c, struct err *err)
{
	return err_set(err, "%s does not answer on %s: no reply in time", c->peer, c->path);
}

/* Until the socket has events (a fd of -1 only waits), or the deadline. */
static int client_wait(
	const struct client *c, int fd, short events, int at_most_ms, struct err *err)
{
	struct pollfd p = {.fd = fd, .events = events};
	uint64_t now_ns = monotonic_ns(), left_ms;
	int timeout_ms = at_most_ms;

	if (now_ns >= c->deadline_ns)
		return no_answer(c, err);
	if (c->deadline_ns != UINT64_MAX) {
		left_ms = (c->deadline_ns - now_ns) / NS_PER_MS + 1;
		if (timeout_ms < 0 || (uint64_t)timeout_ms > left_ms)
			timeout_ms = left_ms > INT32_MAX ? INT32_MAX : (int)left_ms;
	}
	if (poll(&p, fd >= 0 ? 1 : 0, timeout_ms) < 0 && errno != EINTR)
		return err_set_errno(err, "poll");
	return 0;
}

static void unreachable(const struct client *c, int reason, struct err *err)
{
	const char *advice = "";

	errno = reason;
	err_set_errno(err, "cannot reach %s", c->path);
	if (reason == EACCES)
		advice = "; are you in group tandem?";
	if (reason == ECONNREFUSED || reason == ENOENT) {
		size_t at = strlen(err->text);

		snprintf(err->text + at, sizeof(err->text) - at, "; is %s running?", c->peer);
		return;
	}
	snprintf(
		err->text + strlen(err->text), sizeof(err->text) - strlen(err->text), "%s", advice);
}

static int client_open(struct client *c, struct err *err)
{
	struct sockaddr_un address;

	if (rpc_address(c->path, &address, err) < 0)
		return -1;
	for (;;) {
		c->fd = rpc_connect(&address);
		if (c->fd >= 0)
			return 0;
		if (errno != EAGAIN &&
			errno != EINTR) { /* EAGAIN: its backlog is full for the moment */
			unreachable(c, errno, err);
			return -1;
		}
		if (client_wait(c, -1, 0, CONNECT_RETRY_MS, err) < 0)
			return -1;
	}
}

static int client_send(struct client *c, struct err *err)
{
	for (;;) {
		switch (rpc_flush(c->fd, &c->out)) {
		case RPC_FLUSHED:
			return 0;
		case RPC_BROKEN:
			/* What it said before it hung up (too many connections) is still there to
			 * read. */
			return 0;
		case RPC_BLOCKED:
			if (client_wait(c, c->fd, POLLOUT, -1, err) < 0)
				return -1;
		}
	}
}

/* One line's JSON object. */
static int client_read(struct client *c, json_t **ret_object, struct err *err)
{
	struct span line;
	json_error_t error;

	while (!rpc_line_next(&c->in, &c->scanned, &line)) {
		size_t room =
			ANSWER_MAX - c->in.len < READ_CHUNK ? ANSWER_MAX - c->in.len : READ_CHUNK;
		char *to = room ? buf_reserve(&c->in, room) : NULL;
		ssize_t n;

		if (!to)
			return err_set(err, "%s: the answer is too large", c->peer);
		n = read(c->fd, to, room);
		if (n > 0)
			buf_grew(&c->in, (size_t)n);
		else if (n == 0)
			return err_set(err, "%s closed the line on %s", c->peer, c->path);
		else if (errno == EAGAIN && client_wait(c, c->fd, POLLIN, -1, err) < 0)
			return -1;
		else if (errno != EAGAIN && errno != EINTR)
			return err_set_errno(err, "%s", c->path);
	}
	*ret_object = json_loadb(line.ptr, line.len, 0, &error);
	buf_consume(&c->in, line.len + 1);
	c->scanned = 0;
	if (!*ret_object)
		return err_set(err, "%s answered what is not JSON: %s", c->peer, error.text);
	return 0;
}

/* Sends the request and reads up to its answer. Takes params. */
static enum rpc_rc client_ask(
	struct client *c, const char *method, json_t *params, json_t **ret_result, struct err *err)
{
	json_t *answer = NULL, *error, *result;

	if (rpc_put_request(&c->out, method, params, REQUEST_ID) < 0) {
		err_set(err, "the request to %s is over 64 KiB", c->peer);
		return RPC_REFUSED;
	}
	if (client_open(c, err) < 0 || client_send(c, err) < 0)
		return RPC_UNREACHABLE;
	for (;;) {
		if (client_read(c, &answer, err) < 0)
			return RPC_UNREACHABLE;
		error = json_object_get(answer, "error");
		result = json_object_get(answer, "result");
		if (error || result)
			break;
		json_decref(answer); /* a notification that came between */
	}
	if (error) {
		const char *text = json_string_value(json_object_get(error, "message"));

		err_set(err, "%s", text ? text : "refused without a reason");
		json_decref(answer);
		return RPC_REFUSED;
	}
	*ret_result = json_incref(result);
	json_decref(answer);
	return RPC_OK;
}

static void client_init(struct client *c, const char *path, uint64_t deadline_ns)
{
	*c = (struct client){.path = path, .fd = -1, .deadline_ns = deadline_ns};
	rpc_peer_name(path, c->peer, sizeof(c->peer));
	buf_init(&c->in, ANSWER_MAX);
	buf_init(&c->out, RPC_LINE_MAX + 1);
}

static void client_fini(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	buf_fini(&c->in);
	buf_fini(&c->out);
}

enum rpc_rc rpc_call(const char *path, const char *method, json_t *params, uint64_t timeout_ms,
	json_t **ret_result, struct err *err)
{
	struct client c;
	enum rpc_rc rc;

	client_init(&c, path, monotonic_ns() + timeout_ms * NS_PER_MS);
	rc = client_ask(&c, method, params, ret_result, err);
	client_fini(&c);
	return rc;
}

enum rpc_rc rpc_follow(const char *path, const char *method, json_t *params,
	bool (*on_line)(void *ctx, const json_t *object), void *ctx, struct err *err)
{
	json_t *object = NULL;
	struct client c;
	enum rpc_rc rc;

	client_init(&c, path, UINT64_MAX);
	rc = client_ask(&c, method, params, &object, err);
	while (rc == RPC_OK) {
		bool more;

		json_decref(object);
		object = NULL;
		if (client_read(&c, &object, err) < 0) {
			rc = RPC_UNREACHABLE;
			break;
		}
		more = on_line(ctx, object);
		if (!more)
			break;
	}
	json_decref(object);
	client_fini(&c);
	return rc;
}
