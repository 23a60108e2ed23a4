#include "proxy/pool/probe.h"

#include <errno.h>
#include <unistd.h>

#include "proxy/pool/probe_io.h"
#include "shared/assert.h"

enum {
	OUT_MAX = 16384,
	IN_MAX = 16384, /* a longer head is no answer to a check */
	READ_BYTES = 4096
};

void probe_cancel(struct probe *p)
{
	if (!probe_running(p))
		return;
	ev_io_stop(p->loop, &p->io);
	ev_timer_stop(p->loop, &p->deadline);
	probe_io_end(p);
	close(p->fd);
	p->fd = -1;
	if (p->speech && p->speech->forget)
		p->speech->forget(p);
	buf_fini(&p->out);
	buf_fini(&p->in);
}

void probe_done(struct probe *p, enum probe_verdict verdict, const char *reason)
{
	char text[256] = "";

	if (reason) /* it may point into what goes away now */
		snprintf(text, sizeof(text), "%s", reason);
	probe_cancel(p);
	p->on_done(p, verdict, reason ? text : NULL);
}

static void failed(struct probe *p, const char *what, int error)
{
	char text[200];

	if (error == ECONNREFUSED) {
		probe_done(p, PROBE_REFUSED, "connection refused");
		return;
	}
	if (error == EPROTO) {
		probe_done(p, PROBE_FAILED, probe_io_fault(p));
		return;
	}
	snprintf(text, sizeof(text), "%s: %s", what, strerror(error));
	if (error == EADDRNOTAVAIL || error == EMFILE || error == ENFILE || error == ENOBUFS ||
		error == ENOMEM)
		probe_done(p, PROBE_POSTPONED, text);
	else
		probe_done(p, PROBE_FAILED, text);
}

static void watch(struct probe *p, int events)
{
	if (ev_is_active(&p->io) && p->io.events == events)
		return;
	ev_io_stop(p->loop, &p->io);
	ev_io_set(&p->io, p->fd, events);
	ev_io_start(p->loop, &p->io);
}

/* A check that only connects has. */
static void reached(struct probe *p)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	/* Nothing was said: a reset ends it on both sides at once, leaving no TIME_WAIT. */
	if (!p->conf->send_proxy && !p->tls)
		setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	probe_done(p, PROBE_PASSED, NULL);
}

static void shake(struct probe *p);

/* All that comes before TLS has been sent. */
static void secure(struct probe *p)
{
	if (probe_io_secure(p) < 0)
		probe_done(p, PROBE_POSTPONED, "out of memory");
	else
		shake(p);
}

/* Sends what is there, as far as it goes; a socket that is still connecting takes nothing. */
static void flush(struct probe *p)
{
	while (p->out.len) {
		ssize_t sent = probe_io_send(p);

		if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
			watch(p, EV_WRITE);
			return;
		}
		if (sent < 0) {
			failed(p, p->connected ? "the request could not be sent" : "no connection",
				errno);
			return;
		}
		p->connected = true;
		buf_consume(&p->out, (size_t)sent);
	}
	if (p->conf->tls && !p->tls)
		secure(p);
	else if (p->speech)
		watch(p, EV_READ);
	else
		reached(p);
}

static void shake(struct probe *p)
{
	int wants;

	if (probe_io_shake(p, &wants) < 0) {
		if (errno == EAGAIN)
			watch(p, wants);
		else
			failed(p, "no TLS", errno);
		return;
	}
	p->secured = true;
	if (!p->speech || p->speech->begin(p) == 0)
		flush(p);
}

static void on_writable(struct probe *p)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (p->out.len) {
		flush(p); /* sending says whether it is connected */
		return;
	}
	if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error) {
		failed(p, "no connection", error);
		return;
	}
	p->connected = true;
	flush(p);
}

/* False: there is no more for now. */
static bool hear(struct probe *p)
{
	char *room = buf_reserve(&p->in, READ_BYTES);
	ssize_t n;

	if (!room) {
		probe_done(p, PROBE_FAILED, "the head of the answer is too long");
		return false;
	}
	n = probe_io_recv(p, room, READ_BYTES);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n < 0) {
		failed(p, "no answer", errno);
		return false;
	}
	if (n == 0) {
		p->speech->ended(p);
		return false;
	}
	buf_grew(&p->in, (size_t)n);
	p->speech->heard(p);
	if (probe_running(p) && p->out.len)
		flush(p);
	return probe_running(p) && probe_io_holds(p);
}

static void on_readable(struct probe *p)
{
	while (hear(p))
		;
}

static void on_io(struct ev_loop *loop, ev_io *w, int events)
{
	struct probe *p = w->data;

	(void)loop;
	if (p->tls && !p->secured)
		shake(p);
	else if (events & EV_WRITE)
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
	probe_done(p, PROBE_FAILED, text);
}

void probe_init(struct probe *p, struct ev_loop *loop, struct regex_room *room,
	void (*on_done)(struct probe *p, enum probe_verdict verdict, const char *reason))
{
	*p = (struct probe){.loop = loop, .on_done = on_done, .fd = -1, .room = room};
	ev_init(&p->io, on_io);
	ev_init(&p->deadline, on_deadline);
	p->io.data = p->deadline.data = p;
}

static const struct speech *speech_of(const struct check_conf *c)
{
	switch (c->kind) {
	case CHECK_NONE:
		break;
	case CHECK_TCP:
		return NULL;
	case CHECK_HTTP:
		return &speech_http;
	case CHECK_GRPC:
		return &speech_grpc;
	case CHECK_AGENT:
		return &speech_agent;
	}
	ASSERT(!"no such kind of check");
	return NULL;
}

/* To servers that are told whose a connection is, this one is our own. */
static int begin(struct probe *p)
{
	char header[PROXY_HEADER_OUT_MAX];
	size_t len = 0;

	if (p->conf->send_proxy)
		len = proxy_header_write(header, p->conf->send_proxy, NULL, NULL);
	if (buf_append(&p->out, span_make(header, len)) < 0) {
		probe_done(p, PROBE_POSTPONED, "out of memory");
		return -1;
	}
	return p->speech && !p->conf->tls ? p->speech->begin(p) : 0;
}

void probe_start(struct probe *p, const struct check_conf *conf, const struct server *server)
{
	ASSERT(!probe_running(p));
	p->conf = conf;
	p->speech = speech_of(conf);
	p->server = server;
	p->address = server->address;
	p->connected = p->secured = false;
	if (conf->port)
		addr_set_port(&p->address, conf->port);
	p->fd = socket(p->address.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0) {
		failed(p, "no socket", errno);
		return;
	}
	buf_init(&p->out, OUT_MAX);
	buf_init(&p->in, IN_MAX);
	ev_timer_set(&p->deadline, (double)conf->timeout_ns / 1e9, 0);
	ev_timer_start(p->loop, &p->deadline);
	if (begin(p) < 0)
		return;
	if (connect(p->fd, &p->address.sa, addr_len(&p->address)) < 0 && errno != EINPROGRESS &&
		errno != EINTR) {
		failed(p, "no connection", errno);
		return;
	}
	if (p->out.len)
		flush(p); /* to this very host it is often connected by now, which saves a turn */
	else
		watch(p, EV_WRITE);
}
