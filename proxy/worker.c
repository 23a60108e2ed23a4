#include "proxy/worker.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "proxy/exchange/client.h"
#include "proxy/exchange/exchange.h"
#include "proxy/exchange/upstream.h"
#include "shared/log.h"

/* --- snapshots ----------------------------------------------------------------------------------
 */

struct snapshot *snapshot_ref(struct snapshot *s)
{
	s->refs++;
	return s;
}

void snapshot_unref(struct snapshot *s)
{
	if (!s)
		return;
	ASSERT(s->refs > 0);
	if (--s->refs)
		return;
	for (unsigned i = 0; i < s->settings->pool_count; i++)
		pool_view_unref(s->views[i]);
	settings_unref(s->settings);
	free(s);
}

/* --- the inbox ----------------------------------------------------------------------------------
 */

struct post {
	struct list link;
	void (*run)(struct worker *w, struct post *p);
	/* of apply */
	struct snapshot *snapshot;
	struct worker_socket *sockets;
	struct listening **listenings; /* one for each socket */
	unsigned socket_count;
	struct acceptor **acceptors; /* room for one for each address of each listener */
	unsigned acceptor_count;
	/* of view; snapshot is memory for one of the settings with that generation */
	uint64_t generation;
	struct pool_view *view;
	/* of watch */
	struct client_watch *watch;
	/* of ping */
	uint64_t number;
};

static int post(struct worker *w, struct post *p)
{
	pthread_mutex_lock(&w->inbox_lock);
	list_append(&w->inbox, &p->link);
	pthread_mutex_unlock(&w->inbox_lock);
	ev_async_send(w->loop, &w->wake);
	return 0;
}

static struct post *post_new(void (*run)(struct worker *, struct post *))
{
	struct post *p = calloc(1, sizeof(*p));

	if (p)
		p->run = run;
	return p;
}

/* One at a time: running one may make another go. */
static struct list *next_granted(struct worker *w)
{
	struct list *waiter = NULL;

	pthread_mutex_lock(&w->inbox_lock);
	if (!list_empty(&w->granted)) {
		waiter = w->granted.next;
		list_remove(waiter);
	}
	pthread_mutex_unlock(&w->inbox_lock);
	return waiter;
}

void worker_hand(struct worker *w, struct list *waiter)
{
	pthread_mutex_lock(&w->inbox_lock);
	list_append(&w->granted, waiter);
	pthread_mutex_unlock(&w->inbox_lock);
	ev_async_send(w->loop, &w->wake);
}

void worker_take_back(struct worker *w, struct list *waiter)
{
	pthread_mutex_lock(&w->inbox_lock);
	list_remove(waiter);
	pthread_mutex_unlock(&w->inbox_lock);
}

static void run_stop(struct worker *w, uint64_t limit_ns, uint64_t goodbye_ns);

static void on_wake(struct ev_loop *loop, ev_async *a, int events)
{
	struct worker *w = a->data;
	struct list todo, *granted;
	uint64_t limit_ns, goodbye_ns;
	bool stop;

	(void)loop;
	(void)events;
	list_init(&todo);
	pthread_mutex_lock(&w->inbox_lock);
	stop = w->stop_posted;
	limit_ns = w->stop_limit_ns;
	goodbye_ns = w->stop_goodbye_ns;
	w->stop_posted = false;
	while (!list_empty(&w->inbox)) {
		struct list *e = w->inbox.next;

		list_remove(e);
		list_append(&todo, e);
	}
	pthread_mutex_unlock(&w->inbox_lock);
	while (!list_empty(&todo)) {
		struct post *p = list_item(todo.next, struct post, link);

		list_remove(&p->link);
		p->run(w, p);
		free(p);
	}
	if (stop)
		run_stop(w, limit_ns, goodbye_ns);
	while ((granted = next_granted(w)))
		exchange_granted(granted);
}

/* --- applying a snapshot ------------------------------------------------------------------------
 */

/* Of what clients have in hand only a listener of the same mode can make anything. */
static const struct listener *listener_of(
	const struct settings *s, const struct addr *bind_to, enum listener_mode mode)
{
	for (unsigned i = 0; i < s->listener_count; i++)
		for (unsigned j = 0; j < s->listeners[i].bind_count; j++)
			if (s->listeners[i].mode == mode &&
				addr_eq(&s->listeners[i].binds[j], bind_to))
				return &s->listeners[i];
	return NULL;
}

static struct acceptor *acceptor_of(
	struct worker *w, const struct addr *bind_to, enum listener_mode mode)
{
	list_each (it, &w->acceptors) {
		struct acceptor *a = list_item(it, struct acceptor, link);

		if (a->listener->mode == mode && addr_eq(&a->bind, bind_to))
			return a;
	}
	return NULL;
}

/* Who of those with this address listens there; NULL: nobody has it any more. */
static struct acceptor *front_of(struct worker *w, const struct addr *bind_to)
{
	struct acceptor *a = acceptor_of(w, bind_to, LISTENER_PASSTHROUGH);

	if (!a)
		a = acceptor_of(w, bind_to, LISTENER_HTTP);
	return a ? a : acceptor_of(w, bind_to, LISTENER_TCP);
}

static void hand_sockets_over(struct worker *w, struct list *acceptors)
{
	list_each (it, acceptors) {
		struct acceptor *a = list_item(it, struct acceptor, link);
		struct acceptor *front = list_empty(&a->sockets) ? NULL : front_of(w, &a->bind);

		if (front && front != a)
			acceptor_hand_over(a, front);
	}
}

/* Acceptors that stay get their new listener, those that go drain, and new ones are made of what p
 * has room for. Sockets are opened and closed only for addresses that come and go. */
static void apply_listeners(struct worker *w, struct post *p)
{
	const struct settings *s = w->snapshot->settings;
	struct list going;

	list_init(&going);
	list_each_safe (it, &w->acceptors) {
		struct acceptor *a = list_item(it, struct acceptor, link);
		const struct listener *l = listener_of(s, &a->bind, a->listener->mode);

		if (l) {
			acceptor_move(a, w->snapshot, l);
			continue;
		}
		list_remove(&a->link);
		list_append(&going, &a->link);
	}
	for (unsigned i = 0; i < s->listener_count; i++) {
		const struct listener *l = &s->listeners[i];

		for (unsigned j = 0; j < l->bind_count; j++)
			if (!acceptor_of(w, &l->binds[j], l->mode))
				acceptor_start(p->acceptors[--p->acceptor_count], w, w->snapshot, l,
					&l->binds[j]);
	}
	hand_sockets_over(w, &going);
	hand_sockets_over(w, &w->acceptors);
	for (unsigned i = 0; i < p->socket_count; i++)
		acceptor_listen(
			front_of(w, &p->sockets[i].bind), p->listenings[i], p->sockets[i].fd);
	list_each_safe (it, &going)
		acceptor_drain(list_item(it, struct acceptor, link));
	while (p->acceptor_count > 0)
		free(p->acceptors[--p->acceptor_count]);
}

static void apply_servers(struct worker *w, const struct snapshot *snap)
{
	for (unsigned i = 0; i < w->upstream_count; i++)
		w->upstreams[i].server = NULL;
	for (unsigned i = 0; i < snap->settings->pool_count; i++)
		for (unsigned j = 0; j < snap->views[i]->set->count; j++) {
			struct server *server = snap->views[i]->set->members[j].server;

			while (w->upstream_count <= server->slot)
				upstream_init(&w->upstreams[w->upstream_count++]);
			w->upstreams[server->slot].server = server;
		}
	upstream_close_strangers(w);
}

/* What is new may have room for those who wait, or have nobody for them any more. */
static void serve_queue(struct worker *w, const struct pool_view *v)
{
	struct pool_queue *q = &v->pool->state->queue;
	const struct pick any = {.now_ns = w->now_ns, .rng = &w->rng};

	if (queue_length(q) > 0)
		queue_serve(q, v, &any);
}

static void run_apply(struct worker *w, struct post *p)
{
	struct snapshot *old = w->snapshot;
	const struct settings *s = p->snapshot->settings;

	w->snapshot = p->snapshot;
	apply_listeners(w, p);
	free(p->acceptors);
	free(p->listenings);
	free(p->sockets);
	apply_servers(w, w->snapshot);
	access_log_apply(w, &w->access, s);
	for (unsigned i = 0; i < s->pool_count; i++)
		serve_queue(w, w->snapshot->views[i]);
	snapshot_unref(old);
}

static struct snapshot *snapshot_room(const struct settings *s)
{
	return malloc(sizeof(struct snapshot) + s->pool_count * sizeof(struct pool_view *));
}

static unsigned bind_count(const struct settings *s)
{
	unsigned count = 0;

	for (unsigned i = 0; i < s->listener_count; i++)
		count += s->listeners[i].bind_count;
	return count;
}

struct post *worker_apply_new(struct settings *s, struct pool_view *const *views,
	const struct worker_socket *sockets, unsigned socket_count)
{
	struct post *p = post_new(run_apply);
	unsigned binds = bind_count(s);

	if (!p)
		return NULL;
	p->snapshot = snapshot_room(s);
	p->sockets = malloc((socket_count + 1) * sizeof(*p->sockets));
	p->listenings = calloc(socket_count + 1, sizeof(struct listening *));
	p->acceptors = calloc(binds + 1, sizeof(struct acceptor *));
	if (p->snapshot) {
		p->snapshot->settings = settings_ref(s);
		for (unsigned i = 0; i < s->pool_count; i++)
			p->snapshot->views[i] = pool_view_ref(views[i]);
		p->snapshot->refs = 1;
	}
	if (!p->snapshot || !p->sockets || !p->listenings || !p->acceptors) {
		worker_apply_free(p);
		return NULL;
	}
	for (; p->acceptor_count < binds; p->acceptor_count++) {
		p->acceptors[p->acceptor_count] = malloc(sizeof(struct acceptor));
		if (!p->acceptors[p->acceptor_count]) {
			worker_apply_free(p);
			return NULL;
		}
	}
	for (; p->socket_count < socket_count; p->socket_count++) {
		p->sockets[p->socket_count] = sockets[p->socket_count];
		p->listenings[p->socket_count] = malloc(sizeof(struct listening));
		if (!p->listenings[p->socket_count]) {
			worker_apply_free(p);
			return NULL;
		}
	}
	return p;
}

void worker_apply_free(struct post *p)
{
	if (!p)
		return;
	while (p->acceptor_count > 0)
		free(p->acceptors[--p->acceptor_count]);
	while (p->socket_count > 0)
		free(p->listenings[--p->socket_count]);
	free(p->acceptors);
	free(p->listenings);
	free(p->sockets);
	snapshot_unref(p->snapshot);
	free(p);
}

void worker_post_apply(struct worker *w, struct post *p)
{
	post(w, p);
}

/* The running snapshot with this view in it, made in `next`. */
static void replace_snapshot(struct worker *w, struct snapshot *next, struct pool_view *v)
{
	struct snapshot *old = w->snapshot;

	*next = (struct snapshot){.refs = 1, .settings = settings_ref(old->settings)};
	for (unsigned i = 0; i < old->settings->pool_count; i++)
		next->views[i] = i == v->pool->index ? v : pool_view_ref(old->views[i]);
	w->snapshot = next;
	list_each (it, &w->acceptors) {
		struct acceptor *a = list_item(it, struct acceptor, link);

		acceptor_move(a, next, a->listener);
	}
	apply_servers(w, next);
	queue_recall(&v->pool->state->queue, v);
	snapshot_unref(old);
}

static void run_view(struct worker *w, struct post *p)
{
	struct pool_view **at, *v = p->view;

	if (!w->snapshot || w->snapshot->settings->generation != p->generation) {
		pool_view_unref(v); /* a newer snapshot brought newer views */
		free(p->snapshot);
		return;
	}
	at = &w->snapshot->views[v->pool->index];
	if ((*at)->set != v->set) {
		replace_snapshot(w, p->snapshot, v);
	} else {
		pool_view_unref(*at);
		*at = v;
		free(p->snapshot);
	}
	serve_queue(w, v);
}

int worker_post_view(struct worker *w, const struct settings *s, struct pool_view *v)
{
	struct post *p = post_new(run_view);

	if (!p)
		return -1;
	p->snapshot = snapshot_room(s); /* for when it is needed: nothing may fail there */
	if (!p->snapshot) {
		free(p);
		return -1;
	}
	p->generation = s->generation;
	p->view = pool_view_ref(v);
	return post(w, p);
}

/* --- stopping -----------------------------------------------------------------------------------
 */

static void on_drain_over(struct ev_loop *loop, ev_timer *t, int events)
{
	struct worker *w = t->data;

	(void)loop;
	(void)events;
	list_each_safe (it, &w->leaving)
		client_close_all(list_item(it, struct acceptor, link));
}

static void run_stop(struct worker *w, uint64_t limit_ns, uint64_t goodbye_ns)
{
	w->stopping = true;
	w->goodbye_ns = goodbye_ns;
	list_each_safe (it, &w->leaving) /* idle clients of what a reload removed */
		client_start_draining(list_item(it, struct acceptor, link));
	list_each_safe (it, &w->acceptors)
		acceptor_drain(list_item(it, struct acceptor, link));
	ev_timer_stop(w->loop, &w->drain_timer); /* asked twice: the new limit holds */
	ev_timer_set(&w->drain_timer, (double)limit_ns / 1e9, 0);
	ev_timer_start(w->loop, &w->drain_timer);
	worker_check_finished(w);
}

void worker_post_stop(struct worker *w, uint64_t limit_ns, uint64_t goodbye_ns)
{
	pthread_mutex_lock(&w->inbox_lock);
	w->stop_posted = true;
	w->stop_limit_ns = limit_ns;
	w->stop_goodbye_ns = goodbye_ns;
	pthread_mutex_unlock(&w->inbox_lock);
	ev_async_send(w->loop, &w->wake);
}

void worker_check_finished(struct worker *w)
{
	if (w->stopping && list_empty(&w->acceptors) && list_empty(&w->leaving))
		ev_break(w->loop, EVBREAK_ALL);
}

static void run_ping(struct worker *w, struct post *p)
{
	atomic_store_explicit(&w->echo, p->number, memory_order_relaxed);
}

int worker_post_ping(struct worker *w, uint64_t number)
{
	struct post *p = post_new(run_ping);

	if (!p)
		return -1;
	p->number = number;
	return post(w, p);
}

static void run_watch(struct worker *w, struct post *p)
{
	client_list_watch(&w->list, p->watch);
}

int worker_post_watch(struct worker *w, struct client_watch *watch)
{
	struct post *p = post_new(run_watch);

	if (!p)
		return -1;
	p->watch = watch ? client_watch_ref(watch) : NULL;
	return post(w, p);
}

/* --- time
 * ----------------------------------------------------------------------------------------- */

static void read_clocks(struct worker *w)
{
	w->now_ns = monotonic_ns();
	/* The wall clock is for logs and Date only; it may jump, so it is looked at now and then.
	 */
	if (w->now_ns - w->wall_read_ns > 100 * NS_PER_MS) {
		w->wall_offset_ns = realtime_ns() - w->now_ns;
		w->wall_read_ns = w->now_ns;
	}
}

struct span worker_date(struct worker *w)
{
	uint64_t s = worker_wall_ns(w) / NS_PER_S;

	if (s != w->date_s) {
		char text[29];
		int n;

		http_date(text, s);
		n = snprintf(w->date, sizeof(w->date), "Date: %.29s\r\n", text);
		ASSERT(n > 0 && (size_t)n < sizeof(w->date));
		w->date_len = (unsigned)n;
		w->date_s = s;
	}
	return span_make(w->date, w->date_len);
}

void worker_set_deadline(struct worker *w, struct wheel_timer *t, uint64_t after_ns)
{
	wheel_set(&w->wheel, t, after_ns ? w->now_ns + after_ns : 0);
	if (w->wheel.count && !ev_is_active(&w->ticker)) {
		w->ticker.repeat = (double)WHEEL_TICK_NS / 1e9;
		ev_timer_again(w->loop, &w->ticker);
	}
}

static void meet_deadlines(struct worker *w)
{
	for (unsigned i = 0; i < WORKER_DUE_MAX && !list_empty(&w->due); i++) {
		struct conn *c = list_item(w->due.next, struct conn, timer.link);

		list_remove(&c->timer.link);
		if (!c->closing)
			c->handler->on_deadline(c);
	}
	if (list_empty(&w->due))
		ev_idle_stop(w->loop, &w->overdue);
	else
		ev_idle_start(w->loop, &w->overdue);
}

static void on_overdue(struct ev_loop *loop, ev_idle *idle, int events)
{
	(void)loop;
	(void)events;
	meet_deadlines(idle->data);
}

static void on_tick(struct ev_loop *loop, ev_timer *t, int events)
{
	struct worker *w = t->data;

	(void)events;
	wheel_sweep(&w->wheel, w->now_ns, &w->due);
	if (!ev_is_active(&w->overdue))
		meet_deadlines(w);
	if (!w->wheel.count)
		ev_timer_stop(loop, t);
	list_each_safe (it, &w->acceptors)
		acceptor_help_out(list_item(it, struct acceptor, link));
}

/* --- the loop
 * --------------------------------------------------------------------------------------- */

static void on_check(struct ev_loop *loop, ev_check *c, int events)
{
	(void)loop;
	(void)events;
	read_clocks(c->data);
}

/* Before the loop sleeps: what was closed in this iteration is freed now, when no callback can hold
 * it. */
static void on_prepare(struct ev_loop *loop, ev_prepare *p, int events)
{
	struct worker *w = p->data;

	(void)loop;
	(void)events;
	while (!list_empty(&w->reap_exchanges))
		exchange_reap(list_item(w->reap_exchanges.next, struct exchange, link));
	while (!list_empty(&w->reap))
		conn_reap(list_item(w->reap.next, struct conn, reap_link));
}

static void *thread_main(void *arg)
{
	struct worker *w = arg;
	char name[16];
	sigset_t all;

	sigfillset(&all); /* signals are the main thread's */
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	snprintf(name, sizeof(name), "worker-%u", w->index);
	pthread_setname_np(pthread_self(), name);
	ev_run(w->loop, 0);
	on_prepare(w->loop, &w->prepare, 0);
	upstream_close_all(w);
	on_prepare(w->loop, &w->prepare, 0);
	client_list_flush(&w->list);
	if (w->access)
		access_log_flush(w->access);
	atomic_store(&w->finished, true);
	w->on_finished(w->ctx);
	return NULL;
}

static void start_watchers(struct worker *w)
{
	ev_async_init(&w->wake, on_wake);
	ev_prepare_init(&w->prepare, on_prepare);
	ev_check_init(&w->check, on_check);
	ev_set_priority(&w->check, EV_MAXPRI); /* the clock is read before anything else runs */
	ev_init(&w->ticker, on_tick);
	ev_idle_init(&w->overdue, on_overdue);
	ev_set_priority(&w->overdue, EV_MAXPRI - 1); /* each turn, however busy */
	ev_init(&w->drain_timer, on_drain_over);
	w->wake.data = w->prepare.data = w->check.data = w->ticker.data = w->overdue.data =
		w->drain_timer.data = w;
	ev_async_start(w->loop, &w->wake);
	ev_prepare_start(w->loop, &w->prepare);
	ev_check_start(w->loop, &w->check);
}

struct worker *worker_new(
	unsigned index, void (*on_finished)(void *ctx), void *ctx, struct err *err)
{
	struct worker *w = calloc(1, sizeof(*w));
	uint64_t seed;

	if (!w || !(w->upstreams = calloc(SERVERS_MAX, sizeof(*w->upstreams))) ||
		!(w->regex_room = regex_room_new()) ||
		!(w->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV))) {
		if (w) {
			free(w->upstreams);
			regex_room_free(w->regex_room);
		}
		free(w);
		err_set(err, "cannot make worker %u: out of memory or files", index);
		return NULL;
	}
	w->index = index;
	w->on_finished = on_finished;
	w->ctx = ctx;
	pthread_mutex_init(&w->inbox_lock, NULL);
	fault_log_init(&w->faults);
	list_init(&w->inbox);
	list_init(&w->granted);
	list_init(&w->acceptors);
	list_init(&w->leaving);
	list_init(&w->due);
	list_init(&w->reap);
	list_init(&w->reap_exchanges);
	list_init(&w->free_exchanges);
	tls_tally_init(&w->tls);
	client_list_init(&w->list, w);
	random_bytes(&seed, sizeof(seed));
	rng_seed(&w->rng, seed);
	start_watchers(w);
	read_clocks(w);
	wheel_init(&w->wheel, w->now_ns);
	return w;
}

int worker_start(struct worker *w, struct err *err)
{
	int rc = pthread_create(&w->thread, NULL, thread_main, w);

	if (rc) {
		errno = rc;
		return err_set_errno(err, "cannot start worker %u", w->index);
	}
	return 0;
}

void worker_join(struct worker *w)
{
	pthread_join(w->thread, NULL);
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	on_wake(w->loop, &w->wake, 0); /* posts that came after the end: their references */
	client_list_fini(&w->list);
	access_log_free(w->access);
	snapshot_unref(w->snapshot);
	exchange_free_all(w);
	iobuf_pool_fini(&w->iobufs);
	pipe_pool_fini(&w->pipes);
	pthread_mutex_destroy(&w->inbox_lock);
	fault_log_fini(&w->faults);
	ev_loop_destroy(w->loop);
	regex_room_free(w->regex_room);
	for (unsigned i = 0; i < w->upstream_count; i++)
		tls_kept_drop(&w->upstreams[i].kept);
	free(w->upstreams);
	free(w);
}
