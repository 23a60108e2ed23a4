#include "failover/peer_copy.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/log.h"
#include "shared/rng.h"
#include "shared/units.h"

#define CONNECT_S 1.0
#define RETRY_FIRST_S 0.1
#define RETRY_MAX_S 5.0
#define SOON_S 0.005 /* changes of so long go together */

struct door { /* a path's listening socket */
	struct peer_copy *copy;
	const struct path_config *path;
	int fd; /* -1: not open */
	ev_io readable;
};

struct peer_copy {
	struct ev_loop *loop;
	struct path_config paths[PATHS_MAX];
	unsigned path_count, secret_count;
	struct copy_pair pair;
	struct secure_context *secure;
	void *ctx;
	void (*on_state)(void *ctx, unsigned index);
	/* At most two: the one that works, and one that has yet to show that it may replace it. */
	struct copy_session *running, *pending;
	struct list over; /* those that ended, until nobody holds them */
	ev_prepare reap;
	ev_timer soon;
	/* who listens */
	struct door doors[PATHS_MAX];
	/* who connects */
	unsigned attempt; /* says which path and which secret are next */
	int connecting;	  /* -1: no connect is under way */
	ev_io connected;
	ev_timer limit; /* of a connect */
	ev_timer retry;
	double pause_s;
	uint64_t sessions;  /* that worked, ever */
	struct err trouble; /* why there is none now */
};

static bool connects(const struct peer_copy *p)
{
	return p->pair.node < p->pair.peer;
}

static void note_trouble(struct peer_copy *p, const char *path, const char *words)
{
	struct err now;

	err_set(&now, "path '%s': %s", path, words);
	if (strcmp(now.text, p->trouble.text) == 0)
		return;
	p->trouble = now;
	log_event(LOG_INFO, "peer.copy_trouble", words, F_TEXT("path", path));
}

static void retry_after(struct peer_copy *p, double pause_s)
{
	ev_timer_stop(p->loop, &p->retry);
	ev_timer_set(&p->retry, pause_s, 0);
	ev_timer_start(p->loop, &p->retry);
}

/* The next attempt; after all paths and secrets had theirs, with a pause that grows. */
static void try_next(struct peer_copy *p)
{
	if (++p->attempt % (p->path_count * p->secret_count) != 0) {
		retry_after(p, RETRY_FIRST_S);
		return;
	}
	retry_after(p, p->pause_s);
	p->pause_s = 2 * p->pause_s < RETRY_MAX_S ? 2 * p->pause_s : RETRY_MAX_S;
}

/* --- sessions ----------------------------------------------------------------------------------
 */
static void put_over(struct peer_copy *p, struct copy_session *s)
{
	list_append(&p->over, &s->link);
	ev_prepare_start(p->loop, &p->reap);
}

static void on_reap(EV_P_ ev_prepare *w, int revents)
{
	struct peer_copy *p = container_of(w, struct peer_copy, reap);

	(void)revents;
	ev_prepare_stop(EV_A_ w);
	list_each_safe (it, &p->over) {
		struct copy_session *s = list_item(it, struct copy_session, link);

		list_remove(&s->link);
		copy_session_fini(s);
		free(s);
	}
}

/* Its end is our doing: nobody hears of it. */
static void replace(struct peer_copy *p, struct copy_session **old)
{
	struct copy_session *s = *old;

	*old = NULL;
	if (!s)
		return;
	copy_session_stop(s);
	put_over(p, s);
}

static void on_ready(void *ctx, struct copy_session *s)
{
	struct peer_copy *p = ctx;

	ASSERT(s == p->pending);
	p->pending = NULL;
	replace(p, &p->running);
	p->running = s;
	p->sessions++;
	p->pause_s = RETRY_FIRST_S;
	p->trouble.text[0] = '\0';
	log_event(LOG_NOTICE, "peer.copy_up", "state is copied to and from the peer",
		F_TEXT("path", s->path));
}

static void on_end(void *ctx, struct copy_session *s, const struct err *why)
{
	struct peer_copy *p = ctx;

	ASSERT(s == p->running || s == p->pending);
	if (s == p->running) {
		p->running = NULL;
		log_event(LOG_WARNING, "peer.copy_down", why->text, F_TEXT("path", s->path));
		p->trouble = *why;
	} else {
		p->pending = NULL;
		note_trouble(p, s->path, why->text);
	}
	put_over(p, s);
	if (connects(p))
		try_next(p);
}

static void set_tcp(int fd)
{
	static const int on = 1;
	static const unsigned limit_ms = COPY_SILENCE_NS / NS_PER_MS;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof(limit_ms));
}

/* Takes fd. */
static int begin_session(struct peer_copy *p, int fd, const char *path, unsigned key)
{
	struct copy_session *s = calloc(1, sizeof(*s));
	struct secure *tls;

	set_tcp(fd);
	tls = secure_new(p->secure, fd, connects(p), key);
	if (!s || !tls) {
		secure_free(tls);
		free(s);
		return -1;
	}
	s->pair = &p->pair;
	s->ctx = p;
	s->on_ready = on_ready;
	s->on_end = on_end;
	(void)span_copy(span_of(path), s->path, sizeof(s->path));
	replace(p, &p->pending);
	p->pending = s;
	copy_session_start(s, p->loop, tls);
	return 0;
}

/* --- connecting --------------------------------------------------------------------------------
 */
static const struct path_config *attempted(const struct peer_copy *p)
{
	return &p->paths[p->attempt % p->path_count];
}

static void stop_connecting(struct peer_copy *p, bool close_it)
{
	ev_io_stop(p->loop, &p->connected);
	ev_timer_stop(p->loop, &p->limit);
	if (close_it && p->connecting >= 0)
		close(p->connecting);
	p->connecting = -1;
}

static void connect_failed(struct peer_copy *p, int reason)
{
	note_trouble(p, attempted(p)->name, strerror(reason));
	stop_connecting(p, true);
	try_next(p);
}

static void on_connected(EV_P_ ev_io *w, int revents)
{
	struct peer_copy *p = container_of(w, struct peer_copy, connected);
	int fd = p->connecting, reason = 0;
	socklen_t len = sizeof(reason);

	(void)loop, (void)revents;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &reason, &len) < 0)
		reason = errno;
	if (reason) {
		connect_failed(p, reason);
		return;
	}
	stop_connecting(p, false);
	if (begin_session(
		    p, fd, attempted(p)->name, p->attempt / p->path_count % p->secret_count) != 0) {
		note_trouble(p, attempted(p)->name, "out of memory");
		try_next(p);
	}
}

static void on_limit(EV_P_ ev_timer *w, int revents)
{
	(void)loop, (void)revents;
	connect_failed(container_of(w, struct peer_copy, limit), ETIMEDOUT);
}

static int open_socket(const struct addr *own, bool any_port)
{
	struct addr from = *own;
	int fd = socket(own->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	static const int on = 1;

	if (fd < 0)
		return -1;
	/* The address may be that of a cable which is plugged in later. */
	(void)setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (any_port)
		addr_set_port(&from, 0);
	if (bind(fd, &from.sa, addr_len(&from)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void start_connecting(struct peer_copy *p)
{
	const struct path_config *path = attempted(p);

	p->connecting = open_socket(&path->own, true);
	if (p->connecting < 0 ||
		(connect(p->connecting, &path->peer.sa, addr_len(&path->peer)) < 0 &&
			errno != EINPROGRESS)) {
		connect_failed(p, errno);
		return;
	}
	ev_io_set(&p->connected, p->connecting, EV_WRITE);
	ev_io_start(p->loop, &p->connected);
	ev_timer_set(&p->limit, CONNECT_S, 0);
	ev_timer_start(p->loop, &p->limit);
}

/* --- listening ---------------------------------------------------------------------------------
 */
static void on_knock(EV_P_ ev_io *w, int revents)
{
	struct door *d = container_of(w, struct door, readable);
	struct addr from;
	socklen_t len = sizeof(from);
	int fd = accept4(d->fd, &from.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)loop, (void)revents;
	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED)
			note_trouble(d->copy, d->path->name, strerror(errno));
		return;
	}
	if (!addr_eq_ip(&from, &d->path->peer))
		close(fd);
	else if (begin_session(d->copy, fd, d->path->name, 0) != 0)
		note_trouble(d->copy, d->path->name, "out of memory");
}

static int open_door(struct door *d)
{
	d->fd = open_socket(&d->path->own, false);
	if (d->fd < 0 || listen(d->fd, 4) < 0) {
		note_trouble(d->copy, d->path->name, strerror(errno));
		if (d->fd >= 0)
			close(d->fd);
		d->fd = -1;
		return -1;
	}
	ev_io_set(&d->readable, d->fd, EV_READ);
	ev_io_start(d->copy->loop, &d->readable);
	return 0;
}

static void on_retry(EV_P_ ev_timer *w, int revents)
{
	struct peer_copy *p = container_of(w, struct peer_copy, retry);
	bool all = true;

	(void)loop, (void)revents;
	if (connects(p)) {
		if (!p->running && !p->pending && p->connecting < 0)
			start_connecting(p);
		return;
	}
	for (unsigned i = 0; i < p->path_count; i++)
		if (p->doors[i].fd < 0 && open_door(&p->doors[i]) != 0)
			all = false;
	if (!all)
		retry_after(p, RETRY_MAX_S);
}

/* --- what changes ------------------------------------------------------------------------------
 */
static void on_soon(EV_P_ ev_timer *w, int revents)
{
	struct peer_copy *p = container_of(w, struct peer_copy, soon);

	(void)loop, (void)revents;
	if (p->running)
		copy_session_pump(p->running);
}

static void send_soon(struct peer_copy *p)
{
	if (!p->running || ev_is_active(&p->soon))
		return;
	ev_timer_set(&p->soon, SOON_S, 0);
	ev_timer_start(p->loop, &p->soon);
}

void peer_copy_client(struct peer_copy *p, const struct client_key *k, bool there)
{
	journal_add(&p->pair.journal, k, there);
	send_soon(p);
}

void peer_copy_known(struct peer_copy *p)
{
	if (!p->pair.own_unknown)
		return;
	p->pair.own_unknown = false;
	send_soon(p);
}

void peer_copy_state(struct peer_copy *p, unsigned index)
{
	ASSERT(index < p->pair.states->count);
	if (p->running)
		p->running->states_due |= UINT32_C(1) << index;
	send_soon(p);
}

static void on_pair_state(void *ctx, unsigned index)
{
	struct peer_copy *p = ctx;

	p->on_state(p->ctx, index);
}

json_t *peer_copy_status(const struct peer_copy *p)
{
	const struct copy_session *s = p->running;

	return json_pack("{s:b, s:s?, s:I, s:I, s:I, s:b, s:I, s:s?}", "connected", s != NULL,
		"path", s ? s->path : NULL, "lag",
		(json_int_t)(p->pair.journal.last - (s ? s->acked : 0)), "clients",
		(json_int_t)clients_total(p->pair.theirs), "states",
		(json_int_t)p->pair.states->count, "whole", p->pair.have_stream != 0, "connects",
		(json_int_t)p->sessions, "trouble", p->trouble.text[0] ? p->trouble.text : NULL);
}

/* --- life --------------------------------------------------------------------------------------
 */
static void init_watchers(struct peer_copy *p)
{
	ev_prepare_init(&p->reap, on_reap);
	ev_init(&p->soon, on_soon);
	ev_init(&p->connected, on_connected);
	ev_init(&p->limit, on_limit);
	ev_init(&p->retry, on_retry);
	for (unsigned i = 0; i < PATHS_MAX; i++) {
		p->doors[i] = (struct door){.copy = p, .path = &p->paths[i], .fd = -1};
		ev_init(&p->doors[i].readable, on_knock);
	}
}

struct peer_copy *peer_copy_new(
	struct ev_loop *loop, const struct peer_copy_options *o, struct err *err)
{
	struct peer_copy *p = calloc(1, sizeof(*p));

	ASSERT(o->path_count > 0 && o->path_count <= PATHS_MAX && o->node != o->peer);
	if (!p) {
		err_set(err, "out of memory");
		return NULL;
	}
	p->loop = loop;
	p->connecting = -1;
	p->pause_s = RETRY_FIRST_S;
	p->path_count = o->path_count;
	p->secret_count = o->secret_count;
	memcpy(p->paths, o->paths, o->path_count * sizeof(p->paths[0]));
	p->ctx = o->ctx;
	p->on_state = o->on_state;
	list_init(&p->over);
	init_watchers(p);
	p->pair = (struct copy_pair){.node = o->node,
		.peer = o->peer,
		.own = o->own,
		.own_unknown = !o->own_known,
		.theirs = o->theirs,
		.states = o->states,
		.ctx = p,
		.on_state = on_pair_state};
	do {
		random_bytes(&p->pair.stream, sizeof(p->pair.stream));
	} while (p->pair.stream == 0);
	if (journal_init(&p->pair.journal) != 0)
		err_set(err, "out of memory");
	else
		p->secure = secure_context_new(o->secrets, o->secret_count, err);
	if (!p->secure) {
		peer_copy_free(p);
		return NULL;
	}
	retry_after(p, 0);
	return p;
}

void peer_copy_free(struct peer_copy *p)
{
	if (!p)
		return;
	stop_connecting(p, true);
	ev_timer_stop(p->loop, &p->retry);
	ev_timer_stop(p->loop, &p->soon);
	for (unsigned i = 0; i < PATHS_MAX; i++) {
		ev_io_stop(p->loop, &p->doors[i].readable);
		if (p->doors[i].fd >= 0)
			close(p->doors[i].fd);
	}
	replace(p, &p->running);
	replace(p, &p->pending);
	on_reap(p->loop, &p->reap, 0);
	secure_context_free(p->secure);
	journal_fini(&p->pair.journal);
	free(p);
}
