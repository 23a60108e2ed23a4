#include "proxy/succession.h"

#include <unistd.h>

#include "proxy/net/acceptor.h"
#include "proxy/pool/bequest.h"
#include "shared/log.h"
#include "shared/rng.h"

#define LINK_WAIT_S 5.0 /* for an agent that knew the predecessor */

/* --- leaving ------------------------------------------------------------------------------------
 */

struct estate {
	struct worker_socket *all;
	unsigned count;
};

static void count_socket(void *ctx, const struct addr *bind_to, int fd)
{
	(void)bind_to;
	(void)fd;
	(*(unsigned *)ctx)++;
}

static void add_socket(void *ctx, const struct addr *bind_to, int fd)
{
	struct estate *e = ctx;

	e->all[e->count++] = (struct worker_socket){.bind = *bind_to, .fd = fd};
}

static int gather_sockets(const struct proxy *p, struct estate *e)
{
	unsigned count = p->sockets.count;

	httpd_each_socket(p->admin, &count, count_socket);
	*e = (struct estate){.all = calloc(count + 1, sizeof(*e->all))};
	if (!e->all)
		return -1;
	for (unsigned i = 0; i < p->sockets.count; i++)
		e->all[e->count++] = p->sockets.all[i];
	httpd_each_socket(p->admin, e, add_socket);
	return 0;
}

static json_t *gather_state(const struct proxy *p)
{
	json_t *secret = json_array(), *servers = json_object();

	for (unsigned i = 0; i < sizeof(p->ticket_secret); i++)
		json_array_append_new(secret, json_integer(p->ticket_secret[i]));
	for (unsigned i = 0; i < p->settings->pool_count; i++)
		bequest_add(servers, p->settings->pools[i].state->set);
	return json_pack("{s:b, s:o, s:o, s:o}", "linked",
		p->link && failover_link_role(p->link) != FAILOVER_SINGLE, "ticket_secret", secret,
		"servers", servers, "discovered", discovery_memory(p->discovery));
}

static void refuse(const struct proxy *p, const char *why)
{
	log_event(LOG_ERROR, "upgrade.failed", "this process goes on", F_TEXT("reason", why));
	rpc_publish(p->rpc, "upgrade.failed", json_pack("{s:s}", "reason", why));
}

void succession_begin(void *ctx)
{
	struct proxy *p = ctx;
	struct estate e;
	json_t *state;
	struct err err;

	if (succession_may_change(p, &err) < 0) {
		log_event(LOG_WARNING, "upgrade.refused", err.text);
		return;
	}
	if (gather_sockets(p, &e) < 0) {
		refuse(p, "out of memory");
		return;
	}
	state = gather_state(p);
	if (upgrade_begin(p->upgrade, e.all, e.count, state, &err) < 0)
		refuse(p, err.text);
	else
		discovery_set_leases_owner(p->discovery, LEASES_IN_TRANSIT);
	json_decref(state);
	free(e.all);
}

void succession_give_up(struct proxy *p)
{
	if (!upgrade_is_on(p->upgrade))
		return;
	upgrade_give_up(p->upgrade);
	discovery_set_leases_owner(p->discovery, LEASES_OURS);
}

int succession_may_change(const struct proxy *p, struct err *err)
{
	if (p->stopping)
		return err_set(err, "tandem-proxy is stopping");
	if (upgrade_is_on(p->upgrade))
		return err_set(
			err, "an upgrade of the binary is on its way: try again in a moment");
	return 0;
}

static void on_successor(void *ctx, pid_t pid)
{
	struct proxy *p = ctx;

	daemon_succeeded_by(pid);
	log_event(LOG_NOTICE, "upgrade.done", "the new process serves; this one drains",
		F_INT("pid", pid), F_INT("limit_ms", p->settings->timeouts.drain_ns / NS_PER_MS));
	rpc_publish(p->rpc, "upgrade.done", json_pack("{s:i}", "pid", (int)pid));
	p->stopping = true;
	ev_timer_stop(p->loop, &p->watchdog);
	httpd_stop(p->admin);
	discovery_set_leases_owner(p->discovery, LEASES_THEIRS);
	if (p->link)
		failover_link_retire(p->link);
	/* There is no hurry: who idles may hear of it with the next answer. */
	proxy_drain(p, p->settings->timeouts.drain_ns, p->settings->timeouts.drain_ns);
	proxy_tell_left(p);
}

static void on_failed(void *ctx, const char *why, bool started)
{
	struct proxy *p = ctx;
	struct err err;

	refuse(p, why);
	discovery_set_leases_owner(p->discovery, LEASES_OURS);
	if (!started)
		return;
	if (rpc_server_reclaim(p->rpc, &err) < 0)
		log_event(LOG_ERROR, "upgrade.no_socket",
			"proxy.sock is lost: restart when you can", F_TEXT("reason", err.text));
	if (p->link)
		failover_link_resume(p->link);
}

/* --- taking over --------------------------------------------------------------------------------
 */

static void on_go(void *ctx)
{
	struct proxy *p = ctx;

	daemon_ready();
	if (ev_is_active(&p->watchdog)) /* the last beat was the predecessor's, perhaps long ago */
		daemon_watchdog_beat();
	discovery_set_leases_owner(p->discovery, LEASES_OURS);
	p->succeeds = false;
}

static void on_alone(void *ctx)
{
	struct proxy *p = ctx;

	if (p->succeeds) /* it ended without a word */
		on_go(p);
	log_event(LOG_NOTICE, "upgrade.alone", "the old process has ended");
	proxy_end_if_done(p);
}

static void on_link_late(struct ev_loop *loop, ev_timer *t, int events)
{
	struct proxy *p = t->data;

	(void)loop;
	(void)events;
	log_event(LOG_WARNING, "upgrade.no_agent",
		"the agent knew the old process, but does not answer: going on without");
	upgrade_ready(p->upgrade);
}

/* Nothing of it is needed to serve, nor is there any at an ordinary start. */
static void take_state(struct proxy *p)
{
	const json_t *secret = json_object_get(p->inheritance.state, "ticket_secret");

	random_bytes(p->ticket_secret, sizeof(p->ticket_secret));
	if (json_array_size(secret) == sizeof(p->ticket_secret))
		for (unsigned i = 0; i < sizeof(p->ticket_secret); i++)
			p->ticket_secret[i] =
				(uint8_t)json_integer_value(json_array_get(secret, i));
	server_table_inherit(p->table, json_object_get(p->inheritance.state, "servers"));
}

int succession_start(struct proxy *p, struct err *err)
{
	const struct upgrade_handlers h = {.ctx = p,
		.on_successor = on_successor,
		.on_failed = on_failed,
		.on_go = on_go,
		.on_alone = on_alone};

	p->succeeds = p->inheritance.talk >= 0;
	take_state(p);
	ev_timer_init(&p->link_late, on_link_late, LINK_WAIT_S, 0);
	p->link_late.data = p;
	p->upgrade = upgrade_new(p->loop, p->options->argv, p->inheritance.talk, &h, err);
	return p->upgrade ? 0 : -1;
}

int succession_open(void *ctx, const struct addr *bind_to, int *ret_fd, struct err *err)
{
	struct proxy *p = ctx;
	int fd = inheritance_take(&p->inheritance, bind_to, 0);

	if (fd < 0)
		return acceptor_open(bind_to, ret_fd, err);
	*ret_fd = fd;
	return 0;
}

bool succession_serving(struct proxy *p)
{
	bool waits = p->link && json_is_true(json_object_get(p->inheritance.state, "linked"));

	server_table_inherit(p->table, NULL);
	inheritance_fini(&p->inheritance);
	if (!p->succeeds)
		return false;
	if (waits)
		ev_timer_start(p->loop, &p->link_late);
	else
		upgrade_ready(p->upgrade);
	return true;
}
