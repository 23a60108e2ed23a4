#include "proxy/net/acceptor.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/exchange/client.h"
#include "proxy/net/tally.h"
#include "proxy/worker.h"
#include "shared/log.h"

/* ":80" means every address; a kernel without IPv6 has only half of them. */
static void fall_back_to_v4(struct addr *a)
{
	uint16_t port = addr_port(a);

	*a = (struct addr){.in = {.sin_family = AF_INET}};
	addr_set_port(a, port);
}

static void set_options(int fd, const struct addr *a)
{
	static const int on = 1, off = 0;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on));  /* holds for IPv6 sockets too */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* accepted sockets inherit it */
	if (a->sa.sa_family == AF_INET6) {
		bool any = IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);

		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, any ? &off : &on, sizeof(on));
	}
}

int acceptor_open(const struct addr *bind_to, int *ret_fd, struct err *err)
{
	static const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, off = 0;
	struct addr a = *bind_to;
	char text[ADDR_TEXT_MAX];
	int fd = socket(a.sa.sa_family, type, IPPROTO_TCP);

	addr_format(bind_to, text);
	if (fd < 0 && errno == EAFNOSUPPORT && IN6_IS_ADDR_UNSPECIFIED(&a.in6.sin6_addr)) {
		fall_back_to_v4(&a);
		fd = socket(AF_INET, type, IPPROTO_TCP);
	}
	if (fd < 0)
		return err_set_errno(err, "cannot listen on %s", text);
	set_options(fd, &a);
	if (bind(fd, &a.sa, addr_len(&a)) < 0 || listen(fd, 4096) < 0) {
		err_set_errno(err, "cannot listen on %s", text);
		close(fd);
		return -1;
	}
	/* Inherited, too; listen() would undo it. What a client says first is acknowledged by the
	 * answer, where that takes less than the 40 ms of a delayed ACK. */
	setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof(off));
	*ret_fd = fd;
	return 0;
}

static bool time_to_tell(const struct acceptor *a, uint64_t *told_ns)
{
	uint64_t now_ns = a->worker->now_ns;

	if (*told_ns && now_ns - *told_ns < ACCEPT_TELL_NS)
		return false;
	*told_ns = now_ns;
	return true;
}

static void pause_accepting(struct acceptor *a, const char *why)
{
	if (time_to_tell(a, &a->told_paused_ns))
		log_event(LOG_WARNING, "listener.paused", "cannot accept for now",
			F_SPAN("listener", a->listener->name), F_TEXT("reason", why));
	list_each (it, &a->sockets)
		ev_io_stop(a->worker->loop, &list_item(it, struct listening, link)->io);
	ev_timer_set(&a->pause, ACCEPT_PAUSE_S, 0);
	ev_timer_start(a->worker->loop, &a->pause);
}

/* Of what there is no more: places at the listener, or files. */
enum shortage { SHORT_OF_LISTENER, SHORT_OF_FILES };

/* There is no room for another client. Who waits in the queue may want something; who has been let
 * in and says nothing does not: it goes, and the files are free when this turn of the loop ends. */
static void find_room(struct acceptor *a, const char *why, enum shortage what)
{
	unsigned shed = 0;

	if (what == SHORT_OF_LISTENER)
		shed = client_shed_silent(a);
	else
		list_each (it, &a->worker->acceptors)
			shed += client_shed_silent(list_item(it, struct acceptor, link));
	if (!shed) {
		if (what == SHORT_OF_LISTENER) /* its places are those of all workers */
			atomic_store_explicit(
				&a->listener->state->room_wanted, true, memory_order_relaxed);
		pause_accepting(a, why);
	} else if (time_to_tell(a, &a->told_shed_ns))
		log_event(LOG_WARNING, "listener.shedding",
			"closing idle connections to make room for new ones",
			F_SPAN("listener", a->listener->name), F_TEXT("reason", why));
}

bool acceptor_is_full(const struct acceptor *a)
{
	uint32_t max = a->listener->connections_max;

	return max &&
	       atomic_load_explicit(&a->listener->state->connections, memory_order_relaxed) >= max;
}

void acceptor_help_out(struct acceptor *a)
{
	_Atomic bool *wanted = &a->listener->state->room_wanted;

	if (!atomic_load_explicit(wanted, memory_order_relaxed))
		return;
	if (!acceptor_is_full(a) || client_shed_silent(a))
		atomic_store_explicit(wanted, false, memory_order_relaxed);
}

/* Why no more clients may come in now; NULL: they may. */
static const char *limit_reached(const struct acceptor *a, enum shortage *ret_what)
{
	*ret_what = SHORT_OF_LISTENER;
	if (acceptor_is_full(a))
		return "the listener's limit of connections is reached";
	*ret_what = SHORT_OF_FILES;
	if (atomic_load_explicit(&a->worker->clients, memory_order_relaxed) >=
		a->worker->clients_max)
		return "half of the files that we may open are clients: raise LimitNOFILE";
	return NULL;
}

bool acceptor_count_client(struct acceptor *a, const struct addr *client, bool *ret_counted)
{
	const struct listener *l = a->listener;
	char text[ADDR_TEXT_MAX];

	*ret_counted = l->connections_per_client && !listener_trusts(l, client);
	if (!*ret_counted || tally_enter(l->state->tally, client, l->connections_per_client))
		return true;
	*ret_counted = false;
	atomic_fetch_add_explicit(&l->state->connections_refused_total, 1, memory_order_relaxed);
	if (time_to_tell(a, &a->told_refused_ns)) {
		addr_format_ip(client, text);
		log_event(LOG_WARNING, "listener.refused",
			"a client has as many connections as it may", F_SPAN("listener", l->name),
			F_TEXT("client", text),
			F_INT("refused_total",
				atomic_load_explicit(&l->state->connections_refused_total,
					memory_order_relaxed)));
	}
	return false;
}

static void admit(struct acceptor *a, int fd, struct addr *peer)
{
	static const struct linger reset = {.l_onoff = 1, .l_linger = 0};
	bool counted = false;

	addr_unmap(peer);
	/* Whom a proxy brings is known once it has said so. */
	if (listener_expects_header(a->listener, peer) ||
		acceptor_count_client(a, peer, &counted)) {
		client_new(a, fd, peer, counted);
		return;
	}
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)); /* nothing lingers of it */
	close(fd);
}

/* Accepts up to max connections; false when there are no more. */
static bool accept_some(const struct listening *k, unsigned max)
{
	struct acceptor *a = k->acceptor;

	for (unsigned i = 0; i < max; i++) {
		struct addr peer;
		socklen_t len = sizeof(peer);
		enum shortage what;
		const char *why = limit_reached(a, &what);
		int fd;

		if (why) {
			/* That somebody waits is known of the first one only; else the loop comes
			 * back. */
			if (i == 0)
				find_room(a, why, what);
			return false;
		}
		fd = accept4(k->io.fd, &peer.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			admit(a, fd, &peer);
			continue;
		}
		if (errno == EAGAIN)
			return false;
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			find_room(a, strerror(errno), SHORT_OF_FILES);
			return false;
		}
		/* The rest (ECONNABORTED, EINTR, a network error of that connection): the next one.
		 */
	}
	return true;
}

static void on_connection(struct ev_loop *loop, ev_io *io, int events)
{
	const struct listening *k = io->data;

	(void)loop;
	(void)events;
	if (!k->acceptor->listener->tls)
		accept_some(k, ACCEPT_BATCH);
	else if (!tls_is_crowded(k->acceptor->worker))
		accept_some(k, TLS_FIRST_STEPS_MAX);
}

static void on_pause_over(struct ev_loop *loop, ev_timer *t, int events)
{
	struct acceptor *a = t->data;

	(void)events;
	list_each (it, &a->sockets)
		ev_io_start(loop, &list_item(it, struct listening, link)->io);
}

void acceptor_fields_make(struct acceptor_fields *f, uint16_t port)
{
	static const char *const schemes[] = {"http", "https"};

	for (unsigned i = 0; i < countof(schemes); i++) {
		int n = snprintf(f->text[i], sizeof(f->text[i]),
			"X-Forwarded-Proto: %s\r\nX-Forwarded-Port: %u\r\n", schemes[i], port);

		ASSERT(n > 0 && (size_t)n < sizeof(f->text[i]));
		f->len[i] = (unsigned)n;
	}
}

void acceptor_start(struct acceptor *a, struct worker *w, struct snapshot *snap,
	const struct listener *l, const struct addr *bind_to)
{
	*a = (struct acceptor){0};
	a->worker = w;
	a->snapshot = snapshot_ref(snap);
	a->listener = l;
	a->bind = *bind_to;
	list_init(&a->sockets);
	list_init(&a->newcomers);
	list_init(&a->clients);
	acceptor_fields_make(&a->fields, addr_port(bind_to));
	ev_timer_init(&a->pause, on_pause_over, ACCEPT_PAUSE_S, 0);
	a->pause.data = a;
	list_append(&w->acceptors, &a->link);
}

void acceptor_listen(struct acceptor *a, struct listening *k, int fd)
{
	k->acceptor = a;
	ev_io_init(&k->io, on_connection, fd, EV_READ);
	k->io.data = k;
	list_append(&a->sockets, &k->link);
	ev_io_start(a->worker->loop, &k->io);
}

void acceptor_hand_over(struct acceptor *from, struct acceptor *to)
{
	ev_timer_stop(from->worker->loop, &from->pause);
	list_each_safe (it, &from->sockets) {
		struct listening *k = list_item(it, struct listening, link);

		ev_io_stop(from->worker->loop, &k->io);
		list_remove(&k->link);
		acceptor_listen(to, k, k->io.fd);
	}
}

void acceptor_move(struct acceptor *a, struct snapshot *snap, const struct listener *l)
{
	struct snapshot *old = a->snapshot;

	if (l->state != a->listener->state) { /* it got another name: its clients move along */
		client_uncount_all(a);
		atomic_fetch_sub_explicit(
			&a->listener->state->connections, a->client_count, memory_order_relaxed);
		atomic_fetch_add_explicit(
			&l->state->connections, a->client_count, memory_order_relaxed);
	}
	a->snapshot = snapshot_ref(snap);
	a->listener = l;
	snapshot_unref(old);
}

void acceptor_drain(struct acceptor *a)
{
	if (a->draining)
		return;
	list_each_safe (it, &a->sockets) {
		struct listening *k = list_item(it, struct listening, link);

		while (accept_some(k, ACCEPT_BATCH))
			;
		ev_io_stop(a->worker->loop, &k->io);
		list_remove(&k->link);
		close(k->io.fd);
		free(k);
	}
	ev_timer_stop(a->worker->loop, &a->pause); /* the last of them may have been too many */
	a->draining = true;
	list_remove(&a->link);
	list_append(&a->worker->leaving, &a->link);
	client_start_draining(a);
	acceptor_free_if_done(a);
}

void acceptor_free_if_done(struct acceptor *a)
{
	if (!a->draining || a->client_count)
		return;
	list_remove(&a->link);
	snapshot_unref(a->snapshot);
	free(a);
}
