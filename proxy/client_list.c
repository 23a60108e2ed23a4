#include "proxy/client_list.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/exchange/client.h"
#include "proxy/worker.h"

static struct client *listed_client(struct list *it)
{
	return list_item(it, struct client, listed.link);
}

/* --- the watch ----------------------------------------------------------------------------------
 */
struct client_watch *client_watch_new(unsigned vip_count)
{
	struct client_watch *w = calloc(1, sizeof(*w) + vip_count * sizeof(w->vips[0]));

	if (!w)
		return NULL;
	w->refs = 1;
	w->vip_count = vip_count;
	return w;
}

struct client_watch *client_watch_ref(struct client_watch *w)
{
	atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
	return w;
}

void client_watch_unref(struct client_watch *w)
{
	if (w && atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) == 1)
		free(w);
}

static const struct client_watch_vip *vip_of(const struct client_watch *w, const struct addr *local)
{
	for (unsigned i = 0; i < w->vip_count; i++)
		if (addr_eq_ip(&w->vips[i].ip, local))
			return &w->vips[i];
	return NULL;
}

/* --- batches ------------------------------------------------------------------------------------
 */
static struct client_batch *batch_new(void)
{
	struct client_batch *b =
		malloc(sizeof(*b) + CLIENT_BATCH_PAIRS * sizeof(struct client_pair));

	if (b) {
		list_init(&b->link);
		b->gone = b->come = 0;
	}
	return b;
}

/* Takes b. */
static void put_out(struct client_list *l, struct client_batch *b)
{
	b->list = l->watch->list;
	b->drain = l->whole ? l->watch->drain : 0;
	b->whole = l->whole;
	pthread_mutex_lock(&l->lock);
	list_append(&l->outbox, &b->link);
	l->outbox_count++;
	pthread_mutex_unlock(&l->lock);
	l->on_batch(l->ctx);
}

static bool outbox_full(struct client_list *l)
{
	bool full;

	pthread_mutex_lock(&l->lock);
	full = l->outbox_count >= CLIENT_OUTBOX_MAX;
	pthread_mutex_unlock(&l->lock);
	return full;
}

struct client_batch *client_list_take(struct client_list *l)
{
	struct client_batch *b = NULL;

	pthread_mutex_lock(&l->lock);
	if (!list_empty(&l->outbox)) {
		b = list_item(l->outbox.next, struct client_batch, link);
		list_remove(&b->link);
		l->outbox_count--;
	}
	pthread_mutex_unlock(&l->lock);
	return b;
}

/* --- telling ------------------------------------------------------------------------------------
 */
/* Lasted long enough. All of them while an address drains: then each counts. */
static bool is_due(const struct client_list *l, const struct client *c, bool all)
{
	return all || c->listed.come_ns == 0 ||
	       l->worker->now_ns - c->listed.come_ns >= CLIENT_LIST_AGE_NS;
}

static bool drains(const struct client_watch *w)
{
	for (unsigned i = 0; i < w->vip_count; i++)
		if (w->vips[i].leave_ns)
			return true;
	return false;
}

/* False: no memory, or the outbox is full. */
static bool flush_one(struct client_list *l, bool all)
{
	struct client_batch *b;

	if (outbox_full(l))
		return false;
	b = l->gone ? l->gone : batch_new();
	if (!b)
		return false;
	l->gone = NULL;
	while (!list_empty(&l->come) && b->gone + b->come < CLIENT_BATCH_PAIRS) {
		struct client *c = listed_client(l->come.next);

		if (!is_due(l, c, all))
			break;
		list_remove(&c->listed.link);
		c->listed.state = CLIENT_TOLD;
		b->pairs[b->gone + b->come++] =
			(struct client_pair){.local = c->listed.local, .remote = *client_peer(c)};
	}
	/* Those who were here when the watch came have no age, and come before all others. */
	l->whole = list_empty(&l->come) || listed_client(l->come.next)->listed.come_ns != 0;
	l->due = !l->whole;
	put_out(l, b);
	return true;
}

static bool something_due(const struct client_list *l, bool all)
{
	return l->due || l->gone ||
	       (!list_empty(&l->come) && is_due(l, listed_client(l->come.next), all));
}

static void flush(struct client_list *l, bool all)
{
	while (l->watch && something_due(l, all) && flush_one(l, all))
		;
	if (!l->watch || (!l->due && !l->gone && list_empty(&l->come)))
		ev_timer_stop(l->worker->loop, &l->flush);
	else if (!ev_is_active(&l->flush))
		ev_timer_again(l->worker->loop, &l->flush);
}

static void on_flush(struct ev_loop *loop, ev_timer *t, int events)
{
	struct client_list *l = t->data;

	(void)loop;
	(void)events;
	flush(l, drains(l->watch));
}

void client_list_flush(struct client_list *l)
{
	flush(l, true);
}

/* --- coming and going ---------------------------------------------------------------------------
 */
/* A listener on one address answers without a system call. */
static void look_up(struct client *c)
{
	const struct addr *bound = &c->acceptor->bind;
	struct addr *local = &c->listed.local;
	socklen_t len = sizeof(*local);

	memset(local, 0, sizeof(*local)); /* they are compared as bytes */
	if (!addr_is_any(bound))
		memcpy(local, bound, addr_len(bound));
	else if (getsockname(c->conn.fd, &local->sa, &len) < 0)
		local->sa.sa_family = AF_INET; /* 0.0.0.0: not listed */
	addr_unmap(local);
}

static void list_client(struct client_list *l, struct client *c, uint64_t come_ns)
{
	const struct client_watch_vip *vip;

	if (c->listed.local.sa.sa_family == AF_UNSPEC)
		look_up(c);
	vip = vip_of(l->watch, &c->listed.local);
	if (!vip)
		return;
	c->listed.leave_ns = vip->leave_ns;
	c->listed.state = CLIENT_COME;
	c->listed.come_ns = come_ns;
	list_append(&l->come, &c->listed.link);
}

void client_list_come(struct client_list *l, struct client *c)
{
	list_client(l, c, l->worker->now_ns);
	if (c->listed.state == CLIENT_COME && !ev_is_active(&l->flush))
		ev_timer_again(l->worker->loop, &l->flush);
}

static void note_gone(struct client_list *l, const struct client *c)
{
	if (!l->gone)
		l->gone = batch_new();
	if (!l->gone || l->gone->gone == CLIENT_BATCH_PAIRS) {
		atomic_store(&l->lost, true);
		l->on_batch(l->ctx);
		return;
	}
	l->gone->pairs[l->gone->gone++] =
		(struct client_pair){.local = c->listed.local, .remote = *client_peer(c)};
	if (l->gone->gone == CLIENT_BATCH_PAIRS)
		flush(l, false);
	else if (!ev_is_active(&l->flush))
		ev_timer_again(l->worker->loop, &l->flush);
}

void client_list_gone(struct client_list *l, struct client *c)
{
	if (c->listed.state == CLIENT_COME)
		list_remove(&c->listed.link);
	else
		note_gone(l, c);
	c->listed.state = CLIENT_UNLISTED;
}

/* --- a new watch --------------------------------------------------------------------------------
 */
static void forget(struct client *c)
{
	if (c->listed.state == CLIENT_COME)
		list_remove(&c->listed.link);
	c->listed.state = CLIENT_UNLISTED;
}

static void watch_client(struct client_list *l, struct client *c, bool anew)
{
	const struct client_watch_vip *vip;
	uint64_t before_ns = c->listed.leave_ns;

	if (c->conn.closing && l->watch && c->listed.state == CLIENT_TOLD)
		return; /* on its way to note_gone */
	if (anew || c->conn.closing)
		forget(c);
	if (c->conn.closing)
		return;
	c->listed.leave_ns = 0;
	if (!l->watch) {
		/* nobody wants to know */
	} else if (anew) {
		list_client(l, c, 0);
	} else if (c->listed.state != CLIENT_UNLISTED) {
		vip = vip_of(l->watch, &c->listed.local);
		c->listed.leave_ns = vip ? vip->leave_ns : 0;
		c->listed.come_ns = 0;
	}
	if (c->listed.leave_ns != before_ns)
		client_leave_changed(c);
}

static void watch_clients(struct client_list *l, struct list *acceptors, bool anew)
{
	list_each_safe (it, acceptors) {
		struct acceptor *a = list_item(it, struct acceptor, link);

		list_each_safe (c, &a->newcomers)
			watch_client(l, list_item(c, struct client, link), anew);
		list_each_safe (c, &a->clients)
			watch_client(l, list_item(c, struct client, link), anew);
	}
}

void client_list_watch(struct client_list *l, struct client_watch *watch)
{
	struct client_watch *old = l->watch;
	bool anew = !watch || !old || watch->list != old->list;

	l->watch = watch;
	l->whole = false;
	if (anew) {
		free(l->gone);
		l->gone = NULL;
		atomic_store(&l->lost, false);
	}
	watch_clients(l, &l->worker->acceptors, anew);
	watch_clients(l, &l->worker->leaving, anew);
	l->due = watch != NULL;
	flush(l, true);
	client_watch_unref(old);
}

/* --- life ---------------------------------------------------------------------------------------
 */
void client_list_init(struct client_list *l, struct worker *w)
{
	*l = (struct client_list){.worker = w};
	list_init(&l->come);
	list_init(&l->outbox);
	pthread_mutex_init(&l->lock, NULL);
	ev_init(&l->flush, on_flush);
	l->flush.repeat = (double)CLIENT_LIST_AGE_NS / 1e9;
	l->flush.data = l;
}

void client_list_fini(struct client_list *l)
{
	struct client_batch *b;

	while ((b = client_list_take(l)) != NULL)
		free(b);
	free(l->gone);
	client_watch_unref(l->watch);
	pthread_mutex_destroy(&l->lock);
}
