/*
 * Waiting for a server while all that could be used are full: the exchange stands in its pool's
 * line (pool/queue.h), on no server, and nothing of its content is passed on. It ends with a server
 * that is counted for it, with its time over, or with the client gone.
 */
#include "proxy/exchange/exchange.h"

#include "proxy/pool/queue.h"
#include "proxy/worker.h"

static struct pool_queue *queue_of(const struct exchange *x)
{
	return &x->pool->state->queue;
}

static void on_granted(struct waiter *w) /* any thread */
{
	struct exchange *x = container_of(w, struct exchange, waiter);

	worker_hand(x->worker, &w->link);
}

void exchange_wait(struct exchange *x, const struct pool_view *v, struct pick *what)
{
	ASSERT(!x->server && !x->waiting);
	x->waiter = (struct waiter){.on_granted = on_granted,
		.pool = x->pool,
		.priority = x->route->priority,
		.tried = x->tried,
		.tried_count = x->tried_count,
		.returns = x->retries > 0,
		.queued_ns = x->queued_ns};
	list_init(&x->waiter.link);
	if (!queue_enter(queue_of(x), &x->waiter, v, what)) {
		atomic_fetch_add_explicit(
			&x->pool->state->queue_full_total, 1, memory_order_relaxed);
		exchange_answer(x, 503, END_QUEUE_FULL);
		return;
	}
	x->waiting = true;
	exchange_wait_deadline(x);
	conn_resume(&x->client->conn); /* whether it goes away */
}

void exchange_wait_deadline(struct exchange *x)
{
	uint64_t waited_ns = x->worker->now_ns - x->waiter.since_ns;
	uint64_t limit_ns = x->timeouts->queue_ns;

	if (!conn_blocked(&x->client->conn)) /* else its send deadline runs */
		conn_deadline(&x->client->conn, limit_ns > waited_ns ? limit_ns - waited_ns : 1);
}

static void stop_waiting(struct exchange *x)
{
	ASSERT(x->waiting);
	x->waiting = false;
	x->queued_ns = x->worker->now_ns - x->waiter.since_ns;
	if (!conn_blocked(&x->client->conn))
		conn_deadline(&x->client->conn, 0);
}

void exchange_granted(struct list *link)
{
	struct exchange *x = container_of(link, struct exchange, waiter.link);

	stop_waiting(x);
	if (x->waiter.server)
		exchange_go_to(x, x->waiter.server);
	else
		exchange_choose(x);
}

void exchange_leave_queue(struct exchange *x)
{
	stop_waiting(x);
	if (!queue_leave(queue_of(x), &x->waiter))
		return;
	worker_take_back(x->worker, &x->waiter.link);
	if (x->waiter.server)
		exchange_give_back(x, x->pool, x->waiter.server);
}

void exchange_queue_timeout(struct exchange *x)
{
	exchange_leave_queue(x);
	atomic_fetch_add_explicit(&x->pool->state->queue_timeouts_total, 1, memory_order_relaxed);
	exchange_answer(x, 503, END_QUEUE_TIMEOUT);
}
