#include "proxy/pool/queue.h"

#include "shared/assert.h"

void queue_init(struct pool_queue *q)
{
	pthread_mutex_init(&q->lock, NULL);
	for (unsigned i = 0; i < QUEUE_LINES; i++)
		list_init(&q->lines[i]);
	atomic_init(&q->length, 0);
}

void queue_fini(struct pool_queue *q)
{
	for (unsigned i = 0; i < QUEUE_LINES; i++)
		ASSERT(list_empty(&q->lines[i]));
	pthread_mutex_destroy(&q->lock);
}

/* --- whose turn it is ---------------------------------------------------------------------------
 */

/* A look at all who wait, in the order in which they go; whoever was looked at last may be taken
 * out. */
struct look {
	struct list *next[QUEUE_LINES];
};

static struct look look_begin(const struct pool_queue *q)
{
	struct look l;

	for (unsigned i = 0; i < QUEUE_LINES; i++)
		l.next[i] = q->lines[i].next;
	return l;
}

/* When it would have come if all had the same priority. */
static int64_t rank(const struct waiter *w)
{
	return (int64_t)(w->since_ns - w->priority * QUEUE_STEP_NS);
}

static bool goes_before(const struct waiter *a, const struct waiter *b)
{
	return a->returns != b->returns ? a->returns : rank(a) < rank(b);
}

/* NULL: that were all. */
static struct waiter *look_next(const struct pool_queue *q, struct look *l)
{
	struct waiter *first = NULL;
	unsigned from = 0;

	for (unsigned i = QUEUE_LINES; i-- > 0;) {
		struct waiter *w = list_item(l->next[i], struct waiter, link);

		if (l->next[i] == &q->lines[i] || (first && !goes_before(w, first)))
			continue;
		first = w;
		from = i;
	}
	if (first)
		l->next[from] = l->next[from]->next;
	return first;
}

/* --- who gets what ------------------------------------------------------------------------------
 */

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
	struct look all = look_begin(q);
	struct waiter *w;

	if (atomic_load_explicit(&q->bound, memory_order_relaxed) == 0 && !v->sticky)
		return;
	while ((w = look_next(q, &all))) {
		const struct pick its = {
			.tried = w->tried, .tried_count = w->tried_count, .sticky = w->sticky};
		const struct server *s = pool_bound(v, &its);

		bind_to(q, w, s && (w->set == v->set || knows(w, s)) ? s : NULL);
	}
}

static void serve(struct pool_queue *q, const struct pool_view *v, const struct pick *what)
{
	struct look all = look_begin(q);
	struct waiter *w;

	while ((w = look_next(q, &all))) {
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
static void keep_place(struct list *line, struct waiter *w)
{
	struct list *at = line;

	while (w->queued_ns && at->prev != line &&
		list_item(at->prev, struct waiter, link)->since_ns > w->since_ns)
		at = at->prev;
	list_append(at, &w->link); /* before `at` */
}

bool queue_enter(
	struct pool_queue *q, struct waiter *w, const struct pool_view *v, struct pick *what)
{
	ASSERT(v->count > 0 && w->priority < QUEUE_PRIORITIES);
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
		list_push(&q->lines[QUEUE_PRIORITIES], &w->link);
	else
		keep_place(&q->lines[w->priority], w);
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
	struct waiter *w;
	struct look all;

	pthread_mutex_lock(&q->lock);
	all = look_begin(q);
	while ((w = look_next(q, &all)))
		if (w->pool == v->pool && w->set != v->set)
			grant(q, w, NULL);
	pthread_mutex_unlock(&q->lock);
}

bool queue_offer(struct pool_queue *q, struct server *s)
{
	bool granted = false;
	struct waiter *w;
	struct look all;

	pthread_mutex_lock(&q->lock);
	all = look_begin(q);
	while ((w = look_next(q, &all))) {
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
