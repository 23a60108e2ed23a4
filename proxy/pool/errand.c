#include "proxy/pool/errand.h"

#include "shared/assert.h"

/* A probe may end while it is being started and come back here: the outermost call does the work.
 */
static void start_waiting(struct errands *all)
{
	if (all->starting)
		return;
	all->starting = true;
	while (all->running < ERRANDS_RUNNING_MAX && !list_empty(&all->waiting)) {
		struct errand *e = list_item(all->waiting.next, struct errand, waiting);

		list_remove(&e->waiting);
		all->running++;
		probe_start(&e->probe, e->conf, e->server);
	}
	all->starting = false;
}

static void on_next(struct ev_loop *loop, ev_timer *w, int events)
{
	struct errand *e = w->data;

	(void)loop;
	(void)events;
	ASSERT(list_empty(&e->waiting));
	list_append(&e->all->waiting, &e->waiting);
	start_waiting(e->all);
}

static void on_probed(struct probe *p, enum probe_verdict verdict, const char *reason)
{
	struct errand *e = container_of(p, struct errand, probe);
	struct errands *all = e->all;

	ASSERT(all->running > 0);
	all->running--;
	e->on_done(e, verdict, reason);
	start_waiting(all);
}

int errands_init(struct errands *all, struct ev_loop *loop)
{
	*all = (struct errands){.loop = loop, .room = regex_room_new()};
	list_init(&all->waiting);
	return all->room ? 0 : -1;
}

void errands_fini(struct errands *all)
{
	ASSERT(all->running == 0 && list_empty(&all->waiting));
	regex_room_free(all->room);
}

void errand_init(struct errand *e, struct errands *all, const struct server *server,
	const struct check_conf *conf,
	void (*on_done)(struct errand *e, enum probe_verdict verdict, const char *reason))
{
	e->all = all;
	e->server = server;
	e->conf = conf;
	e->on_done = on_done;
	probe_init(&e->probe, all->loop, all->room, on_probed);
	ev_init(&e->next, on_next);
	e->next.data = e;
	list_init(&e->waiting);
}

void errand_move(struct errand *e, const struct check_conf *conf)
{
	e->conf = e->probe.conf = conf;
}

void errand_plan(struct errand *e, uint64_t after_ns)
{
	ev_timer_stop(e->all->loop, &e->next);
	ev_timer_set(&e->next, (double)after_ns / 1e9, 0);
	ev_timer_start(e->all->loop, &e->next);
}

void errand_hasten(struct errand *e, uint64_t after_ns)
{
	if (ev_is_active(&e->next) &&
		(double)after_ns / 1e9 < ev_timer_remaining(e->all->loop, &e->next))
		errand_plan(e, after_ns);
}

bool errand_is_idle(struct errand *e)
{
	return !ev_is_active(&e->next) && !probe_running(&e->probe) && list_empty(&e->waiting);
}

void errand_halt(struct errand *e)
{
	if (probe_running(&e->probe)) {
		probe_cancel(&e->probe);
		e->all->running--;
	}
	ev_timer_stop(e->all->loop, &e->next);
	list_remove(&e->waiting);
}
