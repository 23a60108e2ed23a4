#include "proxy/proxy.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/admin.h"
#include "proxy/certs.h"
#include "proxy/conditions.h"
#include "proxy/observe/access_log.h"
#include "proxy/settings/routes.h"
#include "proxy/scaler.h"
#include "proxy/succession.h"
#include "shared/log.h"
#include "shared/rng.h"

#define SETTLE_NS (2 * NS_PER_S)   /* at start, for servers that DNS has to name */
#define YIELD_S 0.5		   /* the longest wait for the agent to give the address away */
#define ALIVE_NS (100 * NS_PER_MS) /* a loop that has not turned for so long gives no beat */

/* --- views and snapshots
 * --------------------------------------------------------------------------- */

static void views_free(struct pool_view **views, unsigned count)
{
	for (unsigned i = 0; views && i < count; i++)
		pool_view_unref(views[i]);
	free(views);
}

static struct pool_view **views_new(const struct settings *s, struct member_set *const *sets)
{
	struct pool_view **views = calloc(s->pool_count + 1, sizeof(*views));

	for (unsigned i = 0; views && i < s->pool_count; i++) {
		views[i] = pool_view_new(&s->pools[i], sets[i]);
		if (!views[i]) {
			views_free(views, i);
			return NULL;
		}
	}
	return views;
}

/* What a new snapshot needs beside itself. */
struct change {
	struct member_set **sets; /* by pool, as the views */
	struct pool_view **views;
	struct sockets opened, sockets; /* sockets: all that listen then */
	struct httpd_change *admin;
	struct post **posts; /* by worker */
};

static void change_drop(struct change *c, const struct proxy *p, const struct settings *s)
{
	for (unsigned i = 0; c->posts && i < p->worker_count; i++)
		worker_apply_free(c->posts[i]);
	free(c->posts);
	sockets_close(&c->opened);
	sockets_fini(&c->sockets);
	httpd_drop(c->admin);
	views_free(c->views, s->pool_count);
	membership_sets_free(c->sets, s->pool_count);
	*c = (struct change){0};
}

/* Everything that can fail, before anything changes. */
static int change_prepare(struct change *c, struct proxy *p, struct settings *s, struct err *err)
{
	*c = (struct change){0};
	if (s->access_log && access_log_check(s->access_log, err) < 0)
		return -1;
	if (sockets_open(&c->opened, s, &p->sockets, &p->inheritance, p->worker_count, err) < 0)
		return -1;
	c->admin = httpd_prepare(p->admin, s->admin.binds, s->admin.bind_count, s->admin.allow,
		s->admin.allow_count, err);
	c->sets = c->admin ? membership_sets_new(p->membership, s, err) : NULL;
	if (!c->sets) {
		change_drop(c, p, s);
		return -1;
	}
	err_set(err, "out of memory");
	c->views = views_new(s, c->sets);
	c->posts = calloc(p->worker_count, sizeof(struct post *));
	for (unsigned i = 0; c->views && c->posts && i < p->worker_count; i++) {
		unsigned count;
		const struct worker_socket *sockets = sockets_of(&c->opened, i, &count);

		c->posts[i] = worker_apply_new(s, c->views, sockets, count);
		if (!c->posts[i]) {
			change_drop(c, p, s);
			return -1;
		}
	}
	if (c->views && c->posts && sockets_next(&c->sockets, &p->sockets, &c->opened, s) == 0)
		return 0;
	change_drop(c, p, s);
	return -1;
}

/* Hands `s` and what was made for it to everyone: nothing can fail any more. */
static void apply(struct proxy *p, struct settings *s, struct change *c)
{
	struct settings *old = p->settings;
	char debug[LOG_SUBSYSTEMS_MAX];

	views_free(p->views, old ? old->pool_count : 0);
	p->settings = s;
	p->views = c->views;
	for (unsigned i = 0; i < p->worker_count; i++)
		worker_post_apply(p->workers[i], c->posts[i]);
	free(c->posts);
	sockets_fini(&c->opened);
	sockets_fini(&p->sockets);
	p->sockets = c->sockets;
	membership_apply(p->membership, s, c->sets);
	httpd_apply(p->admin, c->admin);
	checks_apply(p->checks, s);
	orders_follow(p->orders, p->membership, s);
	discovery_apply(p->discovery, s);
	history_ran(p->history, s);
	certs_log(s, 0);
	stapling_apply(p->stapling, s, old);
	conf_words_of(conf_find(s->conf->root, "log.debug"), debug, sizeof(debug));
	daemon_log_follow(p->options, conf_text(s->conf->root, "log.level"), span_of(debug));
	if (old)
		settings_unref(old);
}

static int on_pool_changed(void *ctx, const struct pool *pool)
{
	struct proxy *p = ctx;
	struct pool_view *v = pool_view_new(pool, pool->state->set);
	int rc = v ? 0 : -1;

	ASSERT(pool == &p->settings->pools[pool->index]);
	for (unsigned i = 0; v && i < p->worker_count; i++)
		if (worker_post_view(p->workers[i], p->settings, v) < 0)
			rc = -1;
	if (v) {
		pool_view_unref(p->views[pool->index]);
		p->views[pool->index] = v;
	}
	if (rc < 0)
		log_event(LOG_ERROR, "pool.stale",
			"out of memory: workers keep the old view of this pool for now",
			F_SPAN("pool", pool->name));
	return rc;
}

static void on_members_changed(void *ctx, const struct pool *pool)
{
	struct proxy *p = ctx;

	checks_follow(p->checks, pool);
	p->conditions_changed = true;
}

static void on_event(void *ctx, const char *event, json_t *fields)
{
	struct proxy *p = ctx;

	p->conditions_changed = true;
	rpc_publish(p->rpc, event, fields);
}

/* --- reload
 * ------------------------------------------------------------------------------------------ */

json_t *proxy_report_lines(const struct conf_report *r, const struct conf *conf, const char *kind)
{
	json_t *lines = json_array();
	size_t total = conf_report_errors(r) + conf_report_warnings(r);

	for (size_t i = 0; i < total; i++) {
		char *line = conf_report_line(r, conf, i);

		if (line && strstr(line, kind))
			json_array_append_new(lines, json_string(line));
		free(line);
	}
	return lines;
}

static void note_reload(struct proxy *p, bool ok, json_t *errors)
{
	json_decref(p->last_reload.errors);
	p->last_reload.ok = ok;
	p->last_reload.errors = errors;
	time_format(realtime_ns(), p->last_reload.at);
}

json_t *proxy_changes(const struct settings *old, const struct settings *new)
{
	char **lines = NULL;
	size_t count = settings_diff(old, new, &lines);
	json_t *all = json_array();

	for (size_t i = 0; i < count; i++) {
		json_array_append_new(all, json_string(lines[i]));
		free(lines[i]);
	}
	free(lines);
	return all;
}

/* The running snapshot goes on: said in the log, in status, to who follows events, and to the
 * caller. */
static int refuse_reload(struct proxy *p, json_t *errors, struct err *err)
{
	log_event(LOG_ERROR, "reload.refused", "keeping the running configuration",
		F_INT("generation", p->settings->generation), F_TEXT("reason", err->text));
	rpc_publish(p->rpc, "reload.refused",
		json_pack("{s:s,s:O}", "reason", err->text, "errors", errors));
	note_reload(p, false, errors);
	return err_prefix(err, "keeping the running configuration");
}

/* The first error in words, and how many more there are. */
static void describe_errors(const json_t *errors, struct err *err)
{
	const char *first = json_string_value(json_array_get(errors, 0));
	size_t more = json_array_size(errors) - 1;

	if (more)
		err_set(err, "%s (and %zu more)", first, more);
	else
		err_set(err, "%s", first);
}

/* The file, or what ran before. NULL: refused, and told. */
static struct settings *load_again(struct proxy *p, bool previous, struct err *err)
{
	struct conf_report *report = conf_report_new();
	struct settings *s = NULL;
	struct conf *conf = NULL;
	json_t *errors;

	err_set(err, "out of memory");
	if (report)
		conf = previous ? history_load(p->history, report, err)
				: conf_load(p->options->config, report);
	if (conf) {
		s = settings_build(conf, report, p->table, p->generation + 1, err);
		if (s)
			settings_locate(s, p->options->node);
		conf_report_print(report, conf, stderr);
	}
	if (!s) {
		errors = conf ? proxy_report_lines(report, conf, ": error: ") : json_array();
		if (json_array_size(errors) > 0)
			describe_errors(errors, err);
		else
			json_array_append_new(errors, json_string(err->text));
		refuse_reload(p, errors, err);
		conf_free(conf);
	}
	conf_report_free(report);
	return s;
}

void proxy_say_busy(struct proxy *p)
{
	const struct settings *s = p->settings;
	size_t count = 0;

	for (unsigned i = 0; i < s->listener_count; i++)
		count += s->listeners[i].routes ? routes_count(s->listeners[i].routes) : 0;
	for (unsigned i = 0; i < s->pool_count; i++)
		count += s->pools[i].member_count;
	if (p->link && count >= PROXY_MANY)
		failover_link_busy(p->link);
}

static int go_over(struct proxy *p, bool previous, json_t **ret_changes, struct err *err)
{
	struct settings *s;
	struct change change;
	json_t *changes;

	proxy_say_busy(p);
	s = load_again(p, previous, err);
	if (!s)
		return -1;
	if (settings_sticky_key(s, p->options->state_dir, err) < 0 ||
		settings_ticket_secret(s, p->ticket_secret, err) < 0 ||
		change_prepare(&change, p, s, err) < 0) {
		settings_unref(s);
		return refuse_reload(p, json_pack("[s]", err->text), err);
	}
	changes = proxy_changes(p->settings, s);
	if (s->workers != p->worker_count)
		json_array_append_new(
			changes, json_string("workers: takes effect at the next start"));
	p->generation++;
	p->rolled_back = previous && !p->rolled_back;
	apply(p, s, &change);
	note_reload(p, true, json_array());
	log_event(LOG_NOTICE, "reload.done",
		previous ? "the configuration before runs again" : "the new configuration runs",
		F_INT("generation", s->generation), F_INT("changes", json_array_size(changes)));
	p->conditions_changed = true;
	rpc_publish(p->rpc, "reload.done",
		json_pack(
			"{s:I,s:O}", "generation", (json_int_t)s->generation, "changes", changes));
	if (ret_changes)
		*ret_changes = json_incref(changes);
	json_decref(changes);
	return 0;
}

int proxy_reload(struct proxy *p, json_t **ret_changes, struct err *err)
{
	return go_over(p, false, ret_changes, err);
}

int proxy_rollback(struct proxy *p, json_t **ret_changes, struct err *err)
{
	return go_over(p, true, ret_changes, err);
}

/* --- beats
 * --------------------------------------------------------------------------------------------- */

static bool all_answered(const struct proxy *p)
{
	for (unsigned i = 0; i < p->worker_count; i++)
		if (atomic_load_explicit(&p->workers[i]->echo, memory_order_relaxed) != p->ping)
			return false;
	return true;
}

static void ask_all(struct proxy *p)
{
	p->ping++;
	for (unsigned i = 0; i < p->worker_count; i++)
		worker_post_ping(p->workers[i], p->ping);
}

/* Asks every worker's loop for a sign, and says when all last gave one. */
static uint64_t last_alive_ns(struct proxy *p)
{
	if (all_answered(p)) {
		p->alive_ns = monotonic_ns();
		ask_all(p);
	}
	return p->alive_ns;
}

#define TAKE_OVER_NS (100 * NS_PER_MS)
#define TAKE_OVER_LOOK_NS (50 * NS_PER_US)

void proxy_settle(struct proxy *p)
{
	static const struct timespec look = {.tv_nsec = TAKE_OVER_LOOK_NS};
	uint64_t until_ns = monotonic_ns() + TAKE_OVER_NS;

	checks_tell(p->checks);
	ask_all(p); /* they take what is posted in order */
	while (!all_answered(p) && monotonic_ns() < until_ns)
		(void)nanosleep(&look, NULL);
}

static bool link_alive(void *ctx)
{
	uint64_t alive_ns = last_alive_ns(ctx); /* before the clock is read: it may be now */

	return monotonic_ns() - alive_ns < ALIVE_NS;
}

static uint64_t link_connections(void *ctx)
{
	struct proxy *p = ctx;
	uint64_t n = 0;

	for (unsigned i = 0; i < p->worker_count; i++)
		n += atomic_load_explicit(&p->workers[i]->clients, memory_order_relaxed);
	return n;
}

void proxy_tell_left(struct proxy *p)
{
	upgrade_tell_left(p->upgrade, link_connections(p) + upgrade_left(p->upgrade));
}

void proxy_drain(struct proxy *p, uint64_t limit_ns, uint64_t goodbye_ns)
{
	ev_timer_stop(p->loop, &p->yield);
	for (unsigned i = 0; i < p->worker_count; i++)
		worker_post_stop(p->workers[i], limit_ns, goodbye_ns);
}

static void on_role(void *ctx, enum failover_role from, enum failover_role to)
{
	struct proxy *p = ctx;

	log_event(LOG_NOTICE, "role.changed", "the agent says who we are",
		F_TEXT("from", failover_role_name(from)), F_TEXT("to", failover_role_name(to)));
	rpc_publish(p->rpc, "role.changed",
		json_pack("{s:s,s:s}", "from", failover_role_name(from), "to",
			failover_role_name(to)));
	checks_standby(p->checks, to == FAILOVER_STANDBY);
	if (to != FAILOVER_SINGLE) { /* the agent has heard our hello */
		ev_timer_stop(p->loop, &p->link_late);
		upgrade_ready(p->upgrade);
	}
	if (p->stopping && from == FAILOVER_ACTIVE && ev_is_active(&p->yield))
		proxy_drain(p, p->settings->timeouts.drain_ns, WORKER_GOODBYE_NS);
}

static void on_vips(void *ctx, bool open)
{
	struct proxy *p = ctx;

	client_feed_watch(p->feed, open ? p->link : NULL);
	p->conditions_changed = true;
}

static void on_link_open(void *ctx)
{
	struct proxy *p = ctx;

	orders_share(p->orders);
}

static void on_state(
	void *ctx, const char *kind, const struct failover_version *version, const json_t *doc)
{
	struct proxy *p = ctx;

	if (strcmp(kind, ORDERS_KIND) == 0)
		orders_hear(p->orders, version, doc);
}

static void share_orders(void *ctx, const struct failover_version *version, json_t *book)
{
	struct proxy *p = ctx;

	if (p->link) /* what is lost is said again when the link opens */
		(void)failover_link_state(p->link, ORDERS_KIND, version, book);
	else
		json_decref(book);
}

static void on_watchdog(struct ev_loop *loop, ev_timer *t, int events)
{
	struct proxy *p = t->data;
	uint64_t alive_ns = last_alive_ns(p);

	(void)loop;
	(void)events;
	if (monotonic_ns() - alive_ns < (uint64_t)(2.5 * t->repeat * 1e9))
		daemon_watchdog_beat();
}

static uint64_t requests_total(const struct proxy *p)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < p->settings->listener_count; i++)
		n += atomic_load_explicit(
			&p->settings->listeners[i].state->requests_total, memory_order_relaxed);
	return n;
}

static void on_second(struct ev_loop *loop, ev_timer *t, int events)
{
	struct proxy *p = t->data;
	uint64_t now = requests_total(p);

	(void)loop;
	(void)events;
	/* A listener that a reload removed takes its count along: then a second is not told. */
	p->requests_per_second = now > p->requests_before ? now - p->requests_before : 0;
	p->requests_before = now;
	scaler_second(p);
	membership_sweep(p->membership);
	proxy_tell_left(p);
	if (p->link && p->conditions_changed &&
		failover_link_conditions(p->link, conditions_now(p->settings)) == 0)
		p->conditions_changed = false;
}

static void on_certs(struct ev_loop *loop, ev_timer *t, int events)
{
	struct proxy *p = t->data;

	(void)loop;
	(void)events;
	certs_log(p->settings, (int64_t)(realtime_ns() / NS_PER_S) - (int64_t)CERTS_LOOK_S);
	p->conditions_changed = true;
}

/* --- start
 * ------------------------------------------------------------------------------------------------
 */

static void on_worker_finished(void *ctx) /* a worker's thread */
{
	struct proxy *p = ctx;

	ev_async_send(p->loop, &p->worker_done);
}

/* Not before the predecessor, which the service manager would end with us. */
void proxy_end_if_done(struct proxy *p)
{
	if (upgrade_has_predecessor(p->upgrade) && !p->hurry)
		return;
	for (unsigned i = 0; i < p->worker_count; i++)
		if (!atomic_load(&p->workers[i]->finished))
			return;
	ev_break(p->loop, EVBREAK_ALL);
}

static void on_worker_done(struct ev_loop *loop, ev_async *a, int events)
{
	(void)loop;
	(void)events;
	proxy_end_if_done(a->data);
}

static void on_yield_over(struct ev_loop *loop, ev_timer *t, int events)
{
	struct proxy *p = t->data;

	(void)loop;
	(void)events;
	proxy_drain(p, p->settings->timeouts.drain_ns, WORKER_GOODBYE_NS);
}

static void on_stop(void *ctx)
{
	struct proxy *p = ctx;
	bool active = p->link && failover_link_role(p->link) == FAILOVER_ACTIVE;

	if (p->stopping) { /* asked twice: at once */
		p->hurry = true;
		proxy_drain(p, 0, 0);
		proxy_end_if_done(p);
		return;
	}
	p->stopping = true;
	succession_give_up(p);
	daemon_stopping();
	log_event(LOG_NOTICE, "proxy.draining", "no new connections; what runs may finish",
		F_INT("limit_ms", p->settings->timeouts.drain_ns / NS_PER_MS),
		F_INT("connections", link_connections(p)));
	if (p->link)
		failover_link_stopping(p->link);
	/* While the address is still here new clients come here: accept until it has moved. */
	if (active)
		ev_timer_start(p->loop, &p->yield);
	else
		proxy_drain(p, p->settings->timeouts.drain_ns, WORKER_GOODBYE_NS);
}

static void on_reload(void *ctx)
{
	struct proxy *p = ctx;
	struct err err;

	if (succession_may_change(p, &err) < 0) {
		log_event(LOG_WARNING, "reload.refused", err.text);
		return;
	}
	daemon_reloading();
	proxy_reload(p, NULL, &err);
	daemon_ready();
}

static void health_wake(void *ctx) /* any thread */
{
	struct proxy *p = ctx;

	ev_async_send(p->loop, &p->health_wake);
}

static void on_health_wake(struct ev_loop *loop, ev_async *a, int events)
{
	struct proxy *p = a->data;

	(void)loop;
	(void)events;
	checks_wake(p->checks);
}

static struct settings *load_or_print(struct proxy *p, struct err *err)
{
	struct conf_report *report = conf_report_new();
	struct conf *conf = report ? conf_load(p->options->config, report) : NULL;
	struct settings *s = NULL;

	if (conf)
		s = settings_build(conf, report, p->table, 1, err);
	else
		err_set(err, "out of memory");
	if (report) {
		conf_report_print(report, conf, stderr);
		p->config_refused = conf_report_errors(report) > 0;
		if (p->config_refused)
			err_set(err, "%s has errors", p->options->config);
	}
	if (s)
		settings_locate(s, p->options->node);
	else
		conf_free(conf);
	conf_report_free(report);
	return s;
}

static int open_rpc(struct proxy *p, struct err *err)
{
	char path[256];
	int n = snprintf(path, sizeof(path), "%s/proxy.sock", p->options->run_dir);
	const struct rpc_server_options o = {.path = path,
		.group = "tandem",
		.replaces = p->succeeds,
		.methods = proxy_methods,
		.ctx = p};

	if (n < 0 || (size_t)n >= sizeof(path))
		return err_set(err, "--run-dir is too long: %s", p->options->run_dir);
	if (daemon_make_dir(p->options->run_dir, 0750, err) < 0)
		return -1;
	p->rpc = rpc_server_new(p->loop, &o, err);
	return p->rpc ? 0 : -1;
}

/* Clients may not take all files: each may need one more for a server. Pipes take two each, too;
 * the rest is for ourselves. */
static uint64_t clients_a_worker(uint64_t files, unsigned workers, unsigned *ret_pipes)
{
	uint64_t own = files / 8 < 256 ? files / 8 : 256;
	uint64_t share = (files - own) / 2 / workers;

	*ret_pipes = share / 8 < PIPES_MAX ? (unsigned)(share / 8) : PIPES_MAX;
	share -= *ret_pipes;
	return share ? share : 1;
}

static int start_workers(struct proxy *p, struct err *err)
{
	unsigned pipes_max;
	uint64_t clients_max = clients_a_worker(p->files, p->worker_count, &pipes_max);

	p->workers = calloc(p->worker_count, sizeof(struct worker *));
	if (!p->workers)
		return err_set(err, "out of memory");
	for (unsigned i = 0; i < p->worker_count; i++) {
		p->workers[i] = worker_new(i, on_worker_finished, p, err);
		if (!p->workers[i])
			return -1;
		p->workers[i]->clients_max = clients_max;
		p->workers[i]->pipes.max = pipes_max;
	}
	return 0;
}

static void start_watchers(struct proxy *p)
{
	double watchdog = daemon_watchdog_interval();

	ev_async_init(&p->worker_done, on_worker_done);
	ev_async_init(&p->health_wake, on_health_wake);
	ev_timer_init(&p->yield, on_yield_over, YIELD_S, 0);
	ev_timer_init(&p->second, on_second, 1, 1);
	ev_timer_init(&p->certs, on_certs, CERTS_LOOK_S, CERTS_LOOK_S);
	p->certs.data = p;
	ev_timer_start(p->loop, &p->certs);
	ev_timer_init(&p->watchdog, on_watchdog, watchdog, watchdog);
	p->worker_done.data = p->health_wake.data = p->second.data = p->watchdog.data =
		p->yield.data = p;
	ev_async_start(p->loop, &p->worker_done);
	ev_async_start(p->loop, &p->health_wake);
	ev_timer_start(p->loop, &p->second);
	if (watchdog > 0)
		ev_timer_start(p->loop, &p->watchdog);
	server_table_on_wake(p->table, health_wake, p);
	p->signals = (struct daemon_signals){.loop = p->loop,
		.ctx = p,
		.on_stop = on_stop,
		.on_reload = on_reload,
		.on_upgrade = succession_begin};
	daemon_signals_start(&p->signals);
}

static int start_link(struct proxy *p, struct err *err)
{
	const struct failover_link_options o = {.ctx = p,
		.alive = link_alive,
		.connections = link_connections,
		.on_open = on_link_open,
		.on_role = on_role,
		.on_vips = on_vips,
		.on_state = on_state};

	if (!conf_find(p->settings->conf->root, "failover"))
		return 0;
	p->feed = client_feed_new(p->loop, p->workers, p->worker_count);
	if (!p->feed)
		return err_set(err, "out of memory");
	p->link = failover_link_new(p->loop, p->options->run_dir, &o, err);
	return p->link ? 0 : -1;
}

static int open_state(struct proxy *p, struct err *err)
{
	const struct orders_options orders = {.loop = p->loop,
		.state_dir = p->options->state_dir,
		.node = p->options->node ? p->options->node : "",
		.ctx = p,
		.on_event = on_event,
		.share = share_orders};
	struct membership_options membership = {
		.ctx = p, .on_changed = on_members_changed, .on_event = on_event};
	struct discovery_options discovery = {.loop = p->loop,
		.state_dir = p->options->state_dir,
		.memory = json_object_get(p->inheritance.state, "discovered"),
		.owner = p->succeeds ? LEASES_IN_TRANSIT : LEASES_OURS};

	p->orders = orders_new(&orders, err);
	p->history = p->orders ? history_new(p->loop, p->options->state_dir, err) : NULL;
	if (!p->history)
		return -1;
	membership.book = orders_book(p->orders);
	p->membership = membership_new(p->table, &membership);
	discovery.membership = p->membership;
	p->discovery = p->membership ? discovery_new(&discovery) : NULL;
	return p->discovery ? 0 : err_set(err, "out of memory");
}

int proxy_start(struct proxy *p, const struct daemon_options *o, struct err *err)
{
	static const int capabilities[] = {CAP_NET_BIND_SERVICE};
	const struct checks_options check_options = {
		.ctx = p, .on_pool_changed = on_pool_changed, .on_event = on_event};
	const struct httpd_options admin_options = {
		.ctx = p, .on_request = admin_on_request, .open_socket = succession_open};
	struct settings *s;
	struct change change;

	*p = (struct proxy){.options = o, .generation = 1, .inheritance = {.talk = -1}};
	if (inheritance_read(&p->inheritance, err) < 0) /* before any file is opened */
		return -1;
	p->loop = ev_default_loop(EVFLAG_AUTO | EVFLAG_NOENV);
	p->table = server_table_new();
	if (!p->loop || !p->table)
		return err_set(err, "out of memory");
	if (succession_start(p, err) < 0)
		return -1;
	p->files = daemon_raise_files();
	s = load_or_print(p, err);
	if (!s) {
		server_table_free(p->table);
		return -1;
	}
	p->worker_count = s->workers;
	p->alive_ns = monotonic_ns();
	p->checks = checks_new(p->loop, p->table, &check_options);
	p->admin = httpd_new(p->loop, &admin_options);
	p->stapling = stapling_new(p->loop);
	/* What it makes from here on is the user's that it runs as; low ports it may bind as that,
	 * too. */
	if (!p->checks || !p->admin || !p->stapling || start_workers(p, err) < 0 ||
		daemon_drop_privileges(o->user, capabilities, countof(capabilities), err) < 0 ||
		open_state(p, err) < 0 || settings_sticky_key(s, o->state_dir, err) < 0 ||
		settings_ticket_secret(s, p->ticket_secret, err) < 0 ||
		change_prepare(&change, p, s, err) < 0) {
		bool had_memory = p->checks && p->admin && p->stapling;

		settings_unref(s);
		return had_memory ? -1 : err_set(err, "out of memory");
	}
	if (open_rpc(p, err) < 0) {
		change_drop(&change, p, s);
		settings_unref(s);
		return -1;
	}
	start_watchers(p);
	apply(p, s, &change);
	discovery_settle(p->discovery, SETTLE_NS);
	if (start_link(p, err) < 0)
		return -1;
	for (unsigned i = 0; i < p->worker_count; i++)
		if (worker_start(p->workers[i], err) < 0)
			return -1;
	return 0;
}

int proxy_run(struct proxy *p)
{
	if (!succession_serving(p))
		daemon_ready();
	log_event(LOG_NOTICE, "proxy.started", "serving", F_INT("workers", p->worker_count),
		F_INT("listeners", p->settings->listener_count),
		F_INT("pools", p->settings->pool_count), F_TEXT("config", p->options->config));
	ev_run(p->loop, 0);
	for (unsigned i = 0; i < p->worker_count; i++)
		worker_join(p->workers[i]);
	log_event(LOG_NOTICE, "proxy.stopped", "drained");
	return 0;
}

void proxy_fini(struct proxy *p)
{
	failover_link_free(p->link);
	checks_free(p->checks);
	discovery_free(p->discovery);
	stapling_free(p->stapling);
	membership_free(p->membership);
	orders_free(p->orders);
	history_free(p->history);
	httpd_free(p->admin);
	rpc_server_free(p->rpc);
	for (unsigned i = 0; p->workers && i < p->worker_count; i++)
		worker_free(p->workers[i]);
	free(p->workers);
	client_feed_free(p->feed); /* the workers' last batches still woke it */
	if (p->settings) {
		views_free(p->views, p->settings->pool_count);
		settings_unref(p->settings);
	}
	json_decref(p->last_reload.errors);
	sockets_fini(&p->sockets);
	upgrade_free(p->upgrade);
	server_table_free(p->table);
}
