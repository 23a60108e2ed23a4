#include "proxy/pool/queue.h"

#include "shared/assert.h"

void queue_init(struct pool_queue *q)
{
	pthread_mutex_init(&q->lock, NULL);
	list_init(&q->waiting);
	atomic_init(&q->length, 0);
}

void queue_fini(struct pool_queue *q)
{
	ASSERT(list_empty(&q->waiting));
	pthread_mutex_destroy(&q->lock);
}

static void bind_to(struct pool_queue *q, struct waiter *w, const struct server *s)
{
	if (!w->bound && s)
		atomic_fetch_add_explicit(&q->bound, 1, memory_order_relaxed);
	else if (w->bound && !s)
		atomic_fetch_sub_explicit(&q->bound, 1, memory_order_relaxed);
	w->bound = s;
}

static void take_out(struct pool_queue *q, struct waiter *w)
{
	ASSERT(w->queued && atomic_load(&q->length) > 0);
	list_remove(&w->link);
	w->queued = false;
	bind_to(q, w, NULL);
	atomic_fetch_sub_explicit(&q->length, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&w->prefers->queued, 1, memory_order_relaxed);
}

static bool drains(const struct waiter *w, const struct server *s)
{
	const struct member *m = member_set_find(w->set, s);

	return m && !member_admits(m);
}

static void grant(struct pool_queue *q, struct waiter *w, struct server *s)
{
	take_out(q, w);
	w->server = s;
	w->on_granted(w);
}

static bool has_tried(const struct waiter *w, const struct server *s)
{
	for (unsigned i = 0; i < w->tried_count; i++)
		if (w->tried[i] == s)
			return true;
	return false;
}

/* A waiter with another view may use only what that one holds too. */
static bool knows(const struct waiter *w, const struct server *s)
{
	return member_set_find(w->set, s) != NULL;
}

/* By this view: a server that cannot be used any more binds nobody. */
static void bind_anew(struct pool_queue *q, const struct pool_view *v)
{
	if (atomic_load_explicit(&q->bound, memory_order_relaxed) == 0 && !v->sticky)
		return;
	list_each (it, &q->waiting) {
		struct waiter *w = list_item(it, struct waiter, link);
		const struct pick its = {
			.tried = w->tried, .tried_count = w->tried_count, .sticky = w->sticky};
		const struct server *s = pool_bound(v, &its);

		bind_to(q, w, s && (w->set == v->set || knows(w, s)) ? s : NULL);
	}
}

static void serve(struct pool_queue *q, const struct pool_view *v, const struct pick *what)
{
	list_each_safe (it, &q->waiting) {
		struct waiter *w = list_item(it, struct waiter, link);
		struct pick its = *what;
		struct server *s;

		if (v->count == 0) {
			grant(q, w, NULL);
			continue;
		}
		its.tried = w->tried;
		its.tried_count = w->tried_count;
		its.has_key = w->has_key;
		its.key = w->key;
		its.sticky = w->sticky;
		s = pool_take(v, &its);
		if (!s && !w->tried_count && !pool_bound(v, &its))
			return; /* nobody has room */
		if (s && w->set != v->set && !knows(w, s)) {
			atomic_fetch_sub_explicit(&s->in_flight, 1, memory_order_relaxed);
			s = NULL;
		}
		if (s)
			grant(q, w, s);
	}
}

/* Behind those who have waited for longer. */
static void keep_place(struct pool_queue *q, struct waiter *w)
{
	struct list *at = &q->waiting;

	while (w->queued_ns && at->prev != &q->waiting &&
		list_item(at->prev, struct waiter, link)->since_ns > w->since_ns &&
		!list_item(at->prev, struct waiter, link)->returns)
		at = at->prev;
	list_append(at, &w->link); /* before `at` */
}

bool queue_enter(
	struct pool_queue *q, struct waiter *w, const struct pool_view *v, struct pick *what)
{
	ASSERT(v->count > 0);
	pthread_mutex_lock(&q->lock);
	if (!w->returns &&
		atomic_load_explicit(&q->length, memory_order_relaxed) >= v->pool->limits.queue) {
		pthread_mutex_unlock(&q->lock);
		return false;
	}
	w->prefers = pool_prefer(v, what);
	ASSERT(w->prefers);
	atomic_fetch_add_explicit(&w->prefers->queued, 1, memory_order_relaxed);
	w->set = v->set;
	w->since_ns = what->now_ns - w->queued_ns;
	w->has_key = what->has_key;
	w->key = what->key;
	w->sticky = what->sticky;
	w->queued = true;
	if (w->returns)
		list_push(&q->waiting, &w->link);
	else
		keep_place(q, w);
	atomic_fetch_add_explicit(&q->length, 1, memory_order_seq_cst);
	bind_to(q, w, pool_bound(v, what));
	/* Before the servers are looked at: see pool_release(). */
	atomic_thread_fence(memory_order_seq_cst);
	serve(q, v, what);
	pthread_mutex_unlock(&q->lock);
	return true;
}

bool queue_leave(struct pool_queue *q, struct waiter *w)
{
	bool granted;

	pthread_mutex_lock(&q->lock);
	granted = !w->queued;
	if (!granted)
		take_out(q, w);
	pthread_mutex_unlock(&q->lock);
	return granted;
}

void queue_serve(struct pool_queue *q, const struct pool_view *v, const struct pick *what)
{
	pthread_mutex_lock(&q->lock);
	bind_anew(q, v);
	serve(q, v, what);
	pthread_mutex_unlock(&q->lock);
}

void queue_recall(struct pool_queue *q, const struct pool_view *v)
{
	pthread_mutex_lock(&q->lock);
	list_each_safe (it, &q->waiting) {
		struct waiter *w = list_item(it, struct waiter, link);

		if (w->pool == v->pool && w->set != v->set)
			grant(q, w, NULL);
	}
	pthread_mutex_unlock(&q->lock);
}

bool queue_offer(struct pool_queue *q, struct server *s)
{
	bool granted = false;

	pthread_mutex_lock(&q->lock);
	list_each (it, &q->waiting) {
		struct waiter *w = list_item(it, struct waiter, link);

		if (has_tried(w, s) || !knows(w, s) || (w->bound ? w->bound != s : drains(w, s)))
			continue;
		granted = server_reserve(s, w->pool->limits.per_server);
		if (granted)
			grant(q, w, s);
		break;
	}
	pthread_mutex_unlock(&q->lock);
	return granted;
}
