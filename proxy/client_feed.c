#include "proxy/client_feed.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/worker.h"
#include "shared/log.h"

#define AGAIN_S 0.005
/* Idle connections leave so long before a drain ends, and after this part of it at the earliest:
 * their goodbye still has to reach the client through us. */
#define LEAVE_EARLY_NS (1 * NS_PER_S)
#define LEAVE_PART 0.8

struct teller { /* what a worker has confirmed */
	uint64_t list, drain;
};

struct client_feed {
	struct ev_loop *loop;
	struct worker *const *workers;
	unsigned worker_count;
	struct failover_link *link; /* NULL: nobody wants to know */
	ev_async wake;
	ev_timer again; /* the link's output was long, or a list was lost */
	struct client_watch *watch;
	uint64_t list;		 /* number of the last list that was begun */
	uint64_t begun;		 /* the last list whose beginning was sent */
	uint64_t ended;		 /* the last list whose end was sent */
	uint64_t confirmed;	 /* the last order to drain that was confirmed, of this link */
	struct teller tellers[]; /* by worker */
};

/* --- text ---------------------------------------------------------------------------------------
 */
static int by_local(const void *a, const void *b)
{
	const struct addr *x = &((const struct client_pair *)a)->local;
	const struct addr *y = &((const struct client_pair *)b)->local;
	int rc = (int)x->sa.sa_family - (int)y->sa.sa_family;

	if (rc == 0 && x->sa.sa_family == AF_INET)
		rc = memcmp(&x->in.sin_addr, &y->in.sin_addr, sizeof(x->in.sin_addr));
	else if (rc == 0)
		rc = memcmp(&x->in6.sin6_addr, &y->in6.sin6_addr, sizeof(x->in6.sin6_addr));
	return rc ? rc : (int)addr_port(x) - (int)addr_port(y);
}

/* {"VIP:PORT": "CLIENT:PORT CLIENT:PORT ..."}; NULL: out of memory. Sorts the pairs. */
static json_t *pairs_json(struct client_pair *pairs, unsigned count)
{
	json_t *all = json_object();
	char text[ADDR_TEXT_MAX];
	struct buf line;
	bool good = all != NULL;

	qsort(pairs, count, sizeof(*pairs), by_local);
	buf_init(&line, (size_t)ADDR_TEXT_MAX * CLIENT_BATCH_PAIRS);
	for (unsigned i = 0; good && i < count; i++) {
		size_t len = addr_format(&pairs[i].remote, text);

		good = (line.len == 0 || buf_append(&line, SPAN(" ")) == 0) &&
		       buf_append(&line, span_make(text, len)) == 0;
		if (!good || (i + 1 < count && by_local(&pairs[i], &pairs[i + 1]) == 0))
			continue;
		(void)addr_format(&pairs[i].local, text);
		good = json_object_set_new(
			       all, text, json_stringn(buf_span(&line).ptr, line.len)) == 0;
		buf_consume(&line, line.len);
	}
	buf_fini(&line);
	if (good)
		return all;
	json_decref(all);
	return NULL;
}

static int put_pairs(json_t *to, const char *name, struct client_pair *pairs, unsigned count)
{
	json_t *all;

	if (count == 0)
		return 0;
	all = pairs_json(pairs, count);
	return all ? json_object_set_new(to, name, all) : -1;
}

/* --- sending ------------------------------------------------------------------------------------
 */
static bool all_whole(const struct client_feed *f)
{
	for (unsigned i = 0; i < f->worker_count; i++)
		if (f->tellers[i].list != f->list && !atomic_load(&f->workers[i]->finished))
			return false;
	return true;
}

static bool all_confirmed(const struct client_feed *f)
{
	for (unsigned i = 0; i < f->worker_count; i++)
		if (f->tellers[i].drain != f->watch->drain &&
			!atomic_load(&f->workers[i]->finished))
			return false;
	return true;
}

/* b may be NULL: then only what the workers have confirmed together is said. -1: not sent. */
static int send_batch(struct client_feed *f, struct client_batch *b)
{
	bool first = f->begun != f->list, last = f->ended != f->list && all_whole(f);
	bool drain = (last || f->ended == f->list) && f->watch->drain != f->confirmed &&
		     all_confirmed(f);
	json_t *params;

	if (!first && !last && !drain && (!b || b->gone + b->come == 0))
		return 0;
	params = json_object();
	if (!params || (first && json_object_set_new(params, "first", json_true()) != 0) ||
		(b && put_pairs(params, "remove", b->pairs, b->gone) != 0) ||
		(b && put_pairs(params, "add", b->pairs + b->gone, b->come) != 0) ||
		(last && json_object_set_new(params, "last", json_true()) != 0) ||
		(drain && json_object_set_new(params, "drain",
				  json_integer((json_int_t)f->watch->drain)) != 0)) {
		json_decref(params);
		return -1;
	}
	if (failover_link_clients(f->link, params) != 0)
		return -1;
	f->begun = f->list;
	f->ended = last ? f->list : f->ended;
	f->confirmed = drain ? f->watch->drain : f->confirmed;
	return 0;
}

static void take_batch(struct client_feed *f, unsigned worker, struct client_batch *b)
{
	if (f->link && b->list == f->list) {
		if (b->whole)
			f->tellers[worker] = (struct teller){.list = b->list, .drain = b->drain};
		if (send_batch(f, b) != 0)
			atomic_store(&f->workers[worker]->list.lost, true);
	}
	free(b);
}

/* The workers' lists anew, or as they are with new orders. */
static void post_watch(struct client_feed *f)
{
	for (unsigned i = 0; i < f->worker_count; i++)
		if (worker_post_watch(f->workers[i], f->watch) < 0)
			log_event(LOG_ERROR, "worker.watch",
				"out of memory: a worker does not hear what the agent wants",
				F_INT("worker", i));
}

static void start_anew(struct client_feed *f)
{
	struct client_watch *next = client_watch_new(f->watch->vip_count);

	if (!next) /* `again` tries again */
		return;
	for (unsigned i = 0; i < f->worker_count; i++)
		atomic_store(&f->workers[i]->list.lost, false);
	next->list = ++f->list;
	next->drain = f->watch->drain;
	memcpy(next->vips, f->watch->vips, next->vip_count * sizeof(next->vips[0]));
	client_watch_unref(f->watch);
	f->watch = next;
	post_watch(f);
}

static bool any_lost(const struct client_feed *f)
{
	for (unsigned i = 0; i < f->worker_count; i++)
		if (atomic_load(&f->workers[i]->list.lost))
			return true;
	return false;
}

/* False: the link's output is long, some wait. A worker has one batch taken after the other's. */
static bool pump(struct client_feed *f)
{
	for (bool more = true; more;) {
		more = false;
		for (unsigned i = 0; i < f->worker_count; i++) {
			struct client_batch *b;

			if (f->link && failover_link_unsent(f->link) > FEED_UNSENT_BYTES)
				return false;
			b = client_list_take(&f->workers[i]->list);
			if (!b)
				continue;
			take_batch(f, i, b);
			more = true;
		}
	}
	return true;
}

static void run(struct client_feed *f, bool may_start_anew)
{
	bool done = pump(f), lost = f->watch && any_lost(f);

	if (lost && may_start_anew)
		start_anew(f);
	if (done && !lost)
		ev_timer_stop(f->loop, &f->again);
	else if (!ev_is_active(&f->again))
		ev_timer_again(f->loop, &f->again);
}

static void on_wake(struct ev_loop *loop, ev_async *a, int events)
{
	(void)loop;
	(void)events;
	run(a->data, false);
}

static void on_again(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)loop;
	(void)events;
	run(t->data, true);
}

static void on_batch(void *ctx) /* a worker's thread */
{
	struct client_feed *f = ctx;

	ev_async_send(f->loop, &f->wake);
}

/* --- the agent's wishes -------------------------------------------------------------------------
 */
static uint64_t leave_at_ns(const struct failover_vip *v, uint64_t now_ns)
{
	uint64_t left_ns = v->drain_until_ns > now_ns ? v->drain_until_ns - now_ns : 0;
	uint64_t part_ns = (uint64_t)((double)left_ns * LEAVE_PART);
	uint64_t early_ns = left_ns > LEAVE_EARLY_NS ? left_ns - LEAVE_EARLY_NS : 0;

	if (v->drain_until_ns == 0)
		return 0;
	return now_ns + (early_ns > part_ns ? early_ns : part_ns);
}

static bool same_vips(const struct client_watch *a, const struct client_watch *b)
{
	if (a->vip_count != b->vip_count)
		return false;
	for (unsigned i = 0; i < a->vip_count; i++)
		if (!addr_eq_ip(&a->vips[i].ip, &b->vips[i].ip))
			return false;
	return true;
}

void client_feed_watch(struct client_feed *f, struct failover_link *link)
{
	unsigned count = link ? failover_link_vip_count(link) : 0;
	const struct failover_vip *vips = link ? failover_link_vips(link) : NULL;
	struct client_watch *next = link ? client_watch_new(count) : NULL;
	uint64_t now_ns = monotonic_ns();

	if (link && !next) {
		log_event(LOG_ERROR, "worker.watch",
			"out of memory: what the agent wants is not passed on");
		return;
	}
	for (unsigned i = 0; i < count; i++)
		next->vips[i] = (struct client_watch_vip){
			.ip = vips[i].ip, .leave_ns = leave_at_ns(&vips[i], now_ns)};
	if (next) {
		next->drain = failover_link_drain(link);
		next->list = f->watch && same_vips(f->watch, next) ? f->list : ++f->list;
	}
	if (!f->watch)
		f->confirmed = 0; /* another agent, whose orders count from one again */
	client_watch_unref(f->watch);
	f->watch = next;
	f->link = link;
	post_watch(f);
}

/* --- life ---------------------------------------------------------------------------------------
 */
struct client_feed *client_feed_new(
	struct ev_loop *loop, struct worker *const *workers, unsigned worker_count)
{
	struct client_feed *f = calloc(1, sizeof(*f) + worker_count * sizeof(f->tellers[0]));

	if (!f)
		return NULL;
	f->loop = loop;
	f->workers = workers;
	f->worker_count = worker_count;
	ev_async_init(&f->wake, on_wake);
	ev_init(&f->again, on_again);
	f->again.repeat = AGAIN_S;
	f->wake.data = f->again.data = f;
	ev_async_start(loop, &f->wake);
	for (unsigned i = 0; i < worker_count; i++) {
		workers[i]->list.on_batch = on_batch;
		workers[i]->list.ctx = f;
	}
	return f;
}

void client_feed_free(struct client_feed *f)
{
	if (!f)
		return;
	ev_async_stop(f->loop, &f->wake);
	ev_timer_stop(f->loop, &f->again);
	client_watch_unref(f->watch);
	free(f);
}
