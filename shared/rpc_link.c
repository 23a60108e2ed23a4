/*
 * The client's link that stays open: connects from the loop, tries again 100 ms after it failed or
 * was lost, and keeps a bounded output. The read watcher is always on while the link is open, so
 * that it is the one place that notices its end.
 */
#include "shared/rpc.h"

#include <errno.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/log.h"
#include "shared/rpc_wire.h"

enum {
	IN_MAX = RPC_LINE_MAX + 1,
	OUT_MAX = 256 * 1024,
	READ_CHUNK = 8192,
};
static const double retry_s = 0.1;

struct rpc_link {
	struct ev_loop *loop;
	struct rpc_link_options o;
	char *path;
	struct sockaddr_un address;
	int fd; /* -1: not open */
	ev_io readable, writable;
	ev_timer retry;
	struct buf in, out;
	size_t scanned;
	uint64_t lost;
	bool in_callback;
};

static void link_drop(struct rpc_link *l)
{
	ev_io_stop(l->loop, &l->readable);
	ev_io_stop(l->loop, &l->writable);
	close(l->fd);
	l->fd = -1;
	buf_fini(&l->in);
	buf_fini(&l->out);
	l->scanned = 0;
}

static void link_lost(struct rpc_link *l, const char *reason)
{
	log_event(LOG_INFO, "link.closed", "lost the link: trying again each 100 ms",
		F_TEXT("path", l->path), F_TEXT("reason", reason));
	link_drop(l);
	ev_timer_set(&l->retry, retry_s, 0.0);
	ev_timer_start(l->loop, &l->retry);
	if (l->o.on_closed) {
		l->in_callback = true;
		l->o.on_closed(l->o.ctx);
		l->in_callback = false;
	}
}

/* Answers to requests are not awaited here; notifications are handed on. */
static bool link_line(struct rpc_link *l, struct span line)
{
	json_error_t error;
	json_t *object = json_loadb(line.ptr, line.len, 0, &error);
	const char *method = json_string_value(json_object_get(object, "method"));

	if (method && l->o.on_notify) {
		l->in_callback = true;
		l->o.on_notify(l->o.ctx, method, json_object_get(object, "params"));
		l->in_callback = false;
	}
	json_decref(object);
	return object != NULL;
}

static const char *link_lines(struct rpc_link *l)
{
	struct span line;

	while (rpc_line_next(&l->in, &l->scanned, &line)) {
		bool good = link_line(l, line);

		buf_consume(&l->in, line.len + 1);
		l->scanned = 0;
		if (!good)
			return "a line was not JSON";
	}
	return l->in.len == IN_MAX ? "a line was over 64 KiB" : NULL;
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
	struct rpc_link *l = w->data;
	size_t want = IN_MAX - l->in.len < READ_CHUNK ? IN_MAX - l->in.len : READ_CHUNK;
	char *to = buf_reserve(&l->in, want);
	const char *fault = NULL;
	ssize_t n;

	(void)loop;
	(void)revents;
	if (!to) {
		link_lost(l, "out of memory");
		return;
	}
	n = read(l->fd, to, want);
	if (n > 0) {
		buf_grew(&l->in, (size_t)n);
		fault = link_lines(l);
	} else if (n == 0) {
		fault = "closed by the other side";
	} else if (errno != EAGAIN && errno != EINTR) {
		fault = strerror(errno);
	}
	if (fault)
		link_lost(l, fault);
}

/* A broken socket is readable too: on_readable ends the link. */
static void link_flush(struct rpc_link *l)
{
	if (rpc_flush(l->fd, &l->out) == RPC_BLOCKED)
		ev_io_start(l->loop, &l->writable);
	else
		ev_io_stop(l->loop, &l->writable);
}

static void on_writable(struct ev_loop *loop, ev_io *w, int revents)
{
	(void)loop;
	(void)revents;
	link_flush(w->data);
}

static void on_retry(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct rpc_link *l = w->data;

	(void)revents;
	ASSERT(l->fd < 0);
	l->fd = rpc_connect(&l->address);
	if (l->fd < 0) {
		log_event(LOG_DEBUG, "link.retry", "cannot connect yet", F_TEXT("path", l->path),
			F_TEXT("reason", strerror(errno)));
		ev_timer_set(w, retry_s, 0.0);
		ev_timer_start(loop, w);
		return;
	}
	ev_io_set(&l->readable, l->fd, EV_READ);
	ev_io_set(&l->writable, l->fd, EV_WRITE);
	ev_io_start(loop, &l->readable);
	log_event(LOG_INFO, "link.open", "the link is open", F_TEXT("path", l->path));
	if (l->o.on_open) {
		l->in_callback = true;
		l->o.on_open(l->o.ctx);
		l->in_callback = false;
	}
}

struct rpc_link *rpc_link_new(
	struct ev_loop *loop, const struct rpc_link_options *o, struct err *err)
{
	struct rpc_link *l = calloc(1, sizeof(*l));

	if (!l) {
		err_set(err, "out of memory");
		return NULL;
	}
	l->loop = loop;
	l->o = *o;
	l->fd = -1;
	l->path = span_dup(span_of(o->path));
	buf_init(&l->in, IN_MAX);
	buf_init(&l->out, OUT_MAX);
	ev_io_init(&l->readable, on_readable, -1, EV_READ);
	ev_io_init(&l->writable, on_writable, -1, EV_WRITE);
	ev_timer_init(&l->retry, on_retry, 0.0, 0.0);
	l->readable.data = l->writable.data = l->retry.data = l;
	if (!l->path || rpc_address(o->path, &l->address, err) < 0) {
		if (!l->path)
			err_set(err, "out of memory");
		rpc_link_free(l);
		return NULL;
	}
	ev_timer_start(loop, &l->retry);
	return l;
}

void rpc_link_free(struct rpc_link *l)
{
	if (!l)
		return;
	ASSERT(!l->in_callback);
	ev_timer_stop(l->loop, &l->retry);
	if (l->fd >= 0)
		link_drop(l);
	free(l->path);
	free(l);
}

int rpc_link_notify(struct rpc_link *l, const char *method, json_t *params)
{
	if (l->fd < 0) {
		json_decref(params);
		l->lost++;
		return -1;
	}
	if (rpc_put_request(&l->out, method, params, 0) < 0) {
		l->lost++;
		return -1;
	}
	link_flush(l);
	return 0;
}

uint64_t rpc_link_lost(const struct rpc_link *l)
{
	return l->lost;
}

size_t rpc_link_unsent(const struct rpc_link *l)
{
	return l->out.len;
}
