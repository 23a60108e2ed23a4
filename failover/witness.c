#include "failover/witness.h"

#include <stdlib.h>

#include "config.h"
#include "failover/core/witness.h"
#include "shared/assert.h"
#include "shared/log.h"
#include "shared/rng.h"
#include "shared/rpc.h"

#define CHECK_S 0.1 /* between two looks at who is silent */

struct box;

struct box_node {
	struct box *box;
	const char *name;
	uint8_t id;
	struct paths *paths;
};

struct box {
	struct ev_loop *loop;
	const struct daemon_options *options;
	struct settings *settings;
	struct witness witness;
	struct box_node nodes[2];
	struct rpc_server *rpc;
	struct daemon_signals signals;
	ev_timer check, watchdog;
};

/* --- the nodes ---------------------------------------------------------------------------------
 */
static void answer(struct box_node *n, const struct packet *p, enum packet_kind kind)
{
	const struct packet out = {.kind = kind,
		.node = n->box->settings->witness_id,
		.group = p->group,
		.epoch = p->epoch};

	(void)paths_send(n->paths, &out, 1);
}

static void on_question(struct box_node *n, const struct packet *p, uint64_t now_ns)
{
	enum witness_verdict v = witness_ask(&n->box->witness, p->group, p->node, now_ns);

	log_event(LOG_NOTICE, "witness.asked", witness_verdict_words(v), F_TEXT("node", n->name),
		F_INT("vrid", p->group), F_INT("epoch", p->epoch),
		F_BOOL("promised", v == WITNESS_PROMISED));
	answer(n, p, v == WITNESS_PROMISED ? PACKET_READY : PACKET_REFUSE);
}

static void on_packet(void *ctx, unsigned path, const struct packet *p, uint64_t age_ns)
{
	struct box_node *n = ctx;
	uint64_t now_ns = monotonic_ns();

	(void)path;
	(void)age_ns;
	witness_heard(&n->box->witness, p, now_ns);
	if (p->kind == PACKET_PREPARE)
		on_question(n, p, now_ns);
	else
		answer(n, p, PACKET_STANDBY);
}

static void on_path(void *ctx, const struct path_state *path)
{
	struct box_node *n = ctx;

	log_event(path->up ? LOG_NOTICE : LOG_WARNING, path->up ? "path.up" : "path.down",
		path->up ? "the node is heard" : "the node is not heard any more",
		F_TEXT("node", n->name));
}

/* It may be behind a router, and has no netlink to know it. */
static bool is_on_link(void *ctx, const struct addr *peer)
{
	(void)ctx;
	(void)peer;
	return false;
}

static struct paths *open_paths(
	struct box *b, struct box_node *n, const struct settings *s, unsigned i, struct err *err)
{
	struct path_config path = {
		.name = "witness", .own = s->witness, .peer = s->witnessed[i].addr};
	struct paths_options o = {.handlers = {.ctx = n,
					  .on_packet = on_packet,
					  .on_path = on_path,
					  .is_on_link = is_on_link},
		.configs = &path,
		.count = 1,
		.peer = s->witnessed[i].id,
		.silence_ns = s->times.silence_ns,
		.secret_count = s->secret_count,
		.shared_port = true};

	for (unsigned k = 0; k < s->secret_count; k++)
		o.secrets[k] = s->secrets[k];
	do {
		random_bytes(&o.boot_id, sizeof(o.boot_id));
	} while (o.boot_id == 0);
	return paths_new(b->loop, &o, err);
}

/* All or nothing: on failure the ones in use stay. What was promised stays promised. */
static int use(struct box *b, struct settings *s, struct err *err)
{
	struct box_node next[countof(b->nodes)] = {0};

	for (unsigned i = 0; i < countof(next); i++) {
		next[i] = (struct box_node){.box = b,
			.name = s->witnessed[i].name,
			.id = s->witnessed[i].id,
			.paths = open_paths(b, &b->nodes[i], s, i, err)};
		if (next[i].paths)
			continue;
		for (unsigned k = 0; k < i; k++)
			paths_free(next[k].paths);
		return -1;
	}
	for (unsigned i = 0; i < countof(next); i++) {
		paths_free(b->nodes[i].paths);
		b->nodes[i] = next[i];
	}
	if (b->settings && b->witness.promise_ns != times_promise_ns(&s->times))
		witness_init(&b->witness, &s->times, monotonic_ns());
	settings_free(b->settings);
	b->settings = s;
	return 0;
}

/* --- status ------------------------------------------------------------------------------------
 */
static json_t *age_json(uint64_t at_ns, uint64_t now_ns)
{
	return at_ns ? json_integer((json_int_t)((now_ns - at_ns) / NS_PER_MS)) : json_null();
}

static const char *name_of(const struct box *b, uint8_t id)
{
	for (unsigned i = 0; i < countof(b->nodes); i++)
		if (b->nodes[i].id == id)
			return b->nodes[i].name;
	return NULL;
}

static int do_status(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct box *b = ctx;
	uint64_t now_ns = monotonic_ns();
	json_t *nodes = json_object(), *groups = json_object();

	(void)who;
	(void)params;
	for (unsigned i = 0; i < countof(b->nodes); i++) {
		const struct path_state *s = paths_get(b->nodes[i].paths, 0);

		json_object_set_new(nodes, b->nodes[i].name,
			json_pack("{s:b, s:o, s:I, s:I}", "up", (int)s->up, "last_heard_ms",
				age_json(s->last_heard_ns, now_ns), "rtt_us", (json_int_t)s->rtt_us,
				"lost", (json_int_t)s->lost));
	}
	for (unsigned i = 0; i < b->settings->group_count; i++) {
		const struct group_settings *s = &b->settings->groups[i];
		const struct witness_group *g = &b->witness.groups[s->vrid];

		json_object_set_new(groups, s->name,
			json_pack("{s:s?, s:o, s:s?, s:o}", "owner", name_of(b, g->owner),
				"owner_heard_ms", age_json(g->owner_ns, now_ns), "promised",
				name_of(b, g->promised), "promised_ms",
				age_json(g->promised_ns, now_ns)));
	}
	*ret_result = json_pack("{s:s, s:s, s:o, s:o}", "role", "witness", "version",
		PACKAGE_VERSION, "nodes", nodes, "groups", groups);
	return *ret_result ? 0 : err_set(err, "out of memory");
}

/* --- life --------------------------------------------------------------------------------------
 */
static void on_stop(void *ctx)
{
	struct box *b = ctx;

	daemon_stopping();
	ev_break(b->loop, EVBREAK_ALL);
}

static void on_reload(void *ctx)
{
	struct box *b = ctx;
	struct conf_report *report = conf_report_new();
	struct conf *conf = NULL;
	struct settings *next =
		report ? settings_load(b->options->config, NULL, report, &conf) : NULL;
	struct err err;

	daemon_reloading();
	if (conf)
		conf_report_print(report, conf, stderr);
	if (next && use(b, next, &err) == 0) {
		log_event(LOG_NOTICE, "config.applied", "configuration applied");
	} else {
		settings_free(next);
		log_event(LOG_ERROR, "config.refused", next ? err.text : "the file has errors",
			F_TEXT("decision", "keeping the running one"));
	}
	conf_free(conf);
	conf_report_free(report);
	daemon_ready();
}

/* A node that was started is a stranger until a packet of ours was echoed: so we speak unasked too.
 */
static void on_check(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct box *b = w->data;
	const struct packet hello = {.group = b->settings->groups[0].vrid};

	(void)loop;
	(void)revents;
	for (unsigned i = 0; i < countof(b->nodes); i++) {
		answer(&b->nodes[i], &hello, PACKET_STANDBY);
		paths_check(b->nodes[i].paths, monotonic_ns());
	}
}

static void on_watchdog(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)w;
	(void)revents;
	daemon_watchdog_beat();
}

static int open_all(struct box *b, struct settings *settings, struct err *err)
{
	static const struct rpc_method methods[] = {{"status", do_status}, {NULL, NULL}};
	struct rpc_server_options rpc = {.group = "tandem", .methods = methods, .ctx = b};
	char path[4096];

	witness_init(&b->witness, &settings->times, monotonic_ns());
	if (use(b, settings, err) != 0) {
		settings_free(settings);
		return -1;
	}
	(void)snprintf(path, sizeof(path), "%s/failover.sock", b->options->run_dir);
	rpc.path = path;
	if (daemon_drop_privileges(b->options->user, NULL, 0, err) != 0 ||
		daemon_make_dir(b->options->run_dir, 0750, err) != 0)
		return -1;
	b->rpc = rpc_server_new(b->loop, &rpc, err);
	return b->rpc ? 0 : -1;
}

int witness_run(const struct daemon_options *options, struct settings *settings)
{
	struct box b = {.loop = ev_loop_new(EVFLAG_NOENV), .options = options};
	double watchdog_s = daemon_watchdog_interval();
	struct err err = {"out of memory"};
	int rc = EXIT_FAILURE;

	if (!b.loop) {
		settings_free(settings);
	} else if (open_all(&b, settings, &err) == 0) {
		b.signals = (struct daemon_signals){
			.loop = b.loop, .ctx = &b, .on_stop = on_stop, .on_reload = on_reload};
		daemon_signals_start(&b.signals);
		daemon_log_follow(
			options, span_of(b.settings->log_level), span_of(b.settings->log_debug));
		ev_timer_init(&b.check, on_check, CHECK_S, CHECK_S);
		b.check.data = &b;
		ev_timer_start(b.loop, &b.check);
		ev_timer_init(&b.watchdog, on_watchdog, watchdog_s, watchdog_s);
		if (watchdog_s > 0)
			ev_timer_start(b.loop, &b.watchdog);
		log_event(LOG_NOTICE, "witness.started", "listening to both nodes",
			F_TEXT("first", b.nodes[0].name), F_TEXT("second", b.nodes[1].name));
		daemon_ready();
		ev_run(b.loop, 0);
		log_event(LOG_NOTICE, "witness.stopped", "stopped");
		rc = EXIT_SUCCESS;
	}
	if (rc != EXIT_SUCCESS)
		log_event(LOG_ERROR, "witness.failed", err.text);
	rpc_server_free(b.rpc);
	for (unsigned i = 0; i < countof(b.nodes); i++)
		paths_free(b.nodes[i].paths);
	settings_free(b.settings);
	if (b.loop)
		ev_loop_destroy(b.loop);
	return rc;
}
