#include "proxy/pool/probe.h"

#include <errno.h>
#include <unistd.h>

#include "shared/assert.h"

enum {
	REQUEST_MAX = 8192,
	ANSWER_MAX = 16384, /* a longer head is no answer to a check */
	READ_BYTES = 4096
};

static void close_quietly(struct probe *p)
{
	ev_io_stop(p->loop, &p->io);
	ev_timer_stop(p->loop, &p->deadline);
	close(p->fd);
	p->fd = -1;
	buf_fini(&p->in);
}

void probe_cancel(struct probe *p)
{
	if (probe_running(p))
		close_quietly(p);
}

static void done(struct probe *p, enum probe_verdict verdict, const char *reason)
{
	char text[200] = "";

	if (reason) /* it may point into what goes away now */
		snprintf(text, sizeof(text), "%s", reason);
	probe_cancel(p);
	p->on_done(p, verdict, reason ? text : NULL);
}

static void failed(struct probe *p, const char *what, int error)
{
	char text[200];

	if (error == ECONNREFUSED) {
		done(p, PROBE_REFUSED, "connection refused");
		return;
	}
	if (error == EADDRNOTAVAIL || error == EMFILE || error == ENFILE || error == ENOBUFS ||
		error == ENOMEM) {
		snprintf(text, sizeof(text), "%s: %s", what, strerror(error));
		done(p, PROBE_POSTPONED, text);
		return;
	}
	snprintf(text, sizeof(text), "%s: %s", what, strerror(error));
	done(p, PROBE_FAILED, text);
}

/* --- http --------------------------------------------------------------------------------------
 */

static bool expected(const struct check_conf *c, unsigned status)
{
	for (unsigned i = 0; i < c->expect_count; i++)
		if (status >= c->expect[i].from && status <= c->expect[i].to)
			return true;
	return false;
}

static void judge(struct probe *p, unsigned status)
{
	const struct check_conf *c = p->conf;
	char text[256];
	size_t at;

	if (expected(c, status)) {
		done(p, PROBE_PASSED, NULL);
		return;
	}
	at = (size_t)snprintf(text, sizeof(text), "status %u, expected", status);
	for (unsigned i = 0; i < c->expect_count; i++) {
		const char *before = i ? ", " : " ";

		at += (size_t)snprintf(
			text + at, sizeof(text) - at, "%s%u", before, c->expect[i].from);
		if (c->expect[i].to != c->expect[i].from)
			at += (size_t)snprintf(
				text + at, sizeof(text) - at, "-%u", c->expect[i].to);
		ASSERT(at < sizeof(text)); /* 16 ranges of three digits do fit */
	}
	done(p, PROBE_FAILED, text);
}

static enum http_method method_of(struct span text)
{
	return span_eq(text, SPAN("HEAD")) ? HTTP_HEAD : HTTP_GET;
}

/* True when it is decided. */
static bool read_answer(struct probe *p)
{
	static const struct http_limits limits = {.line_bytes = ANSWER_MAX,
		.head_bytes = ANSWER_MAX,
		.field_bytes = ANSWER_MAX,
		.fields = HTTP_FIELDS_MAX};
	struct http_head head;
	struct http_fault fault = {0};
	char text[200];

	for (;;) {
		http_head_init(&head);
		switch (http1_parse_response(
			&head, buf_span(&p->in), &limits, method_of(p->conf->method), &fault)) {
		case PARSE_MORE:
			return false;
		case PARSE_BAD:
			snprintf(text, sizeof(text), "not an HTTP answer: %s",
				fault.why ? fault.why : "garbage");
			done(p, PROBE_FAILED, text);
			return true;
		case PARSE_DONE:
			break;
		}
		if (head.status >= 200) {
			judge(p, head.status);
			return true;
		}
		buf_consume(&p->in, head.head_bytes); /* 1xx: the answer is still to come */
	}
}

static void on_readable(struct probe *p)
{
	char *room = buf_reserve(&p->in, READ_BYTES);
	ssize_t n;

	if (!room) {
		done(p, PROBE_FAILED, "the head of the answer is too long");
		return;
	}
	n = recv(p->fd, room, READ_BYTES, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		failed(p, "no answer", errno);
		return;
	}
	if (n == 0) {
		done(p, PROBE_FAILED,
			p->in.len ? "closed in the head of the answer"
				  : "closed without an answer");
		return;
	}
	buf_grew(&p->in, (size_t)n);
	read_answer(p);
}

static void watch(struct probe *p, int events)
{
	if (ev_is_active(&p->io) && p->io.events == events)
		return;
	ev_io_stop(p->loop, &p->io);
	ev_io_set(&p->io, p->fd, events);
	ev_io_start(p->loop, &p->io);
}

/* To servers that are told whose a connection is, this one is our own. */
static size_t write_header(const struct check_conf *c, char *out)
{
	return c->send_proxy ? proxy_header_write(out, c->send_proxy, NULL, NULL) : 0;
}

static void ask(struct probe *p)
{
	const struct check_conf *c = p->conf;
	char request[REQUEST_MAX], address[ADDR_TEXT_MAX];
	struct span host = c->host;
	size_t before;
	ssize_t sent;
	int len;

	if (host.len == 0)
		host = span_make(address, addr_format(&p->address, address));
	before = write_header(c, request);
	len = snprintf(request + before, sizeof(request) - before,
		"%.*s %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: tandem-check\r\n"
		"Connection: close\r\n\r\n",
		SPAN_ARG(c->method), SPAN_ARG(c->path), SPAN_ARG(host));
	len += (int)before;
	if ((size_t)len >= sizeof(request)) {
		done(p, PROBE_FAILED, "the path to ask for is too long");
		return;
	}
	ASSERT(p->sent_bytes < (size_t)len);
	sent = send(p->fd, request + p->sent_bytes, (size_t)len - p->sent_bytes, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN && errno != EINTR) {
		failed(p, p->connected ? "the request could not be sent" : "no connection", errno);
		return;
	}
	if (sent > 0) {
		p->connected = true;
		p->sent_bytes += (size_t)sent;
	}
	watch(p, p->sent_bytes < (size_t)len ? EV_WRITE : EV_READ);
}

/* --- both --------------------------------------------------------------------------------------
 */

static void on_writable(struct probe *p)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	char header[PROXY_HEADER_OUT_MAX];
	size_t header_bytes = write_header(p->conf, header);
	int error = 0;
	socklen_t len = sizeof(error);

	if (p->conf->kind == CHECK_HTTP) {
		ask(p); /* sending says whether it is connected */
		return;
	}
	ASSERT(p->conf->kind == CHECK_TCP);
	if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error) {
		failed(p, "no connection", error);
		return;
	}
	if (header_bytes) /* who expects a header complains of a connection without one */
		send(p->fd, header, header_bytes, MSG_NOSIGNAL);
	else /* nothing was said: a reset ends it on both sides, leaving no TIME_WAIT */
		setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	done(p, PROBE_PASSED, NULL);
}

static void on_io(struct ev_loop *loop, ev_io *w, int events)
{
	struct probe *p = w->data;

	(void)loop;
	if (events & EV_WRITE)
		on_writable(p);
	else
		on_readable(p);
}

static void on_deadline(struct ev_loop *loop, ev_timer *w, int events)
{
	struct probe *p = w->data;
	char text[100], limit[32];

	(void)loop;
	(void)events;
	duration_format(p->conf->timeout_ns, limit, sizeof(limit));
	snprintf(text, sizeof(text), "timeout after %s%s", limit,
		p->connected ? "" : ", not connected");
	done(p, PROBE_FAILED, text);
}

void probe_init(struct probe *p, struct ev_loop *loop,
	void (*on_done)(struct probe *p, enum probe_verdict verdict, const char *reason))
{
	*p = (struct probe){.loop = loop, .on_done = on_done, .fd = -1};
	ev_init(&p->io, on_io);
	ev_init(&p->deadline, on_deadline);
	p->io.data = p->deadline.data = p;
}

void probe_start(struct probe *p, const struct check_conf *conf, const struct addr *address)
{
	ASSERT(!probe_running(p));
	p->conf = conf;
	p->address = *address;
	p->connected = false;
	p->sent_bytes = 0;
	if (conf->port)
		addr_set_port(&p->address, conf->port);
	p->fd = socket(p->address.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0) {
		failed(p, "no socket", errno);
		return;
	}
	buf_init(&p->in, ANSWER_MAX);
	ev_timer_set(&p->deadline, (double)conf->timeout_ns / 1e9, 0);
	ev_timer_start(p->loop, &p->deadline);
	if (connect(p->fd, &p->address.sa, addr_len(&p->address)) < 0 && errno != EINPROGRESS &&
		errno != EINTR) {
		failed(p, "no connection", errno);
		return;
	}
	if (conf->kind == CHECK_HTTP)
		ask(p); /* to this very host it is often connected by now, which saves a turn */
	else
		watch(p, EV_WRITE);
}
