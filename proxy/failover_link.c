/*
 * Beats, hello and role over a link that reopens by itself (shared/rpc_link.c).
 */
#include "config.h"

#include "proxy/failover_link.h"

#include <stdio.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/log.h"
#include "shared/rpc.h"
#include "shared/units.h"

/* Until the agent says how often, and for one that does not. */
#define BEAT_MS 50
#define BEAT_LEAST_MS 10
#define BEAT_MOST_MS 1000
#define BEAT_BUSY_MS 200

static const char *const role_names[] = {
#define X(name, text) text,
	FAILOVER_ROLES(X)
#undef X
};

struct failover_link {
	struct ev_loop *loop;
	struct failover_link_options o;
	struct rpc_link *link;
	ev_timer beat;
	uint64_t beat_ms; /* between two */
	uint64_t seq; /* of the last beat on this connection: a hole tells the agent that one was
			 lost */
	enum failover_role role;
	json_t *groups, *counts;
	uint64_t counted_ns; /* when the counts came */
	struct failover_vip vips[FAILOVER_VIPS_MAX];
	unsigned vip_count;
	uint64_t drain; /* the number of the last order */
	bool stopping, retired;
};

const char *failover_role_name(enum failover_role role)
{
	ASSERT((size_t)role < countof(role_names));
	return role_names[role];
}

static void set_role(struct failover_link *l, enum failover_role to)
{
	enum failover_role from = l->role;

	if (from == to)
		return;
	l->role = to;
	if (l->o.on_role)
		l->o.on_role(l->o.ctx, from, to);
}

static void set_beat(struct failover_link *l, uint64_t every_ms)
{
	if (every_ms == l->beat_ms)
		return;
	l->beat_ms = every_ms;
	l->beat.repeat = (double)every_ms / 1e3;
	if (ev_is_active(&l->beat))
		ev_timer_again(l->loop, &l->beat);
}

static void say_hello(struct failover_link *l)
{
	l->seq = 0;
	rpc_link_notify(l->link, "proxy.hello",
		json_pack("{s:i, s:s}", "pid", (int)getpid(), "version", PACKAGE_VERSION));
}

static void on_open(void *ctx)
{
	struct failover_link *l = ctx;

	if (l->retired) {
		rpc_link_notify(l->link, "proxy.retired", NULL);
		return;
	}
	say_hello(l);
	if (l->stopping)
		rpc_link_notify(l->link, "proxy.stopping", NULL);
	ev_timer_again(l->loop, &l->beat);
	if (l->o.on_open)
		l->o.on_open(l->o.ctx);
}

static void on_closed(void *ctx)
{
	struct failover_link *l = ctx;

	ev_timer_stop(l->loop, &l->beat);
	set_beat(l, BEAT_MS); /* the next agent may be an older one */
	json_decref(l->groups);
	json_decref(l->counts);
	l->groups = l->counts = NULL;
	l->vip_count = 0;
	l->drain = 0;
	if (l->o.on_vips)
		l->o.on_vips(l->o.ctx, false);
	set_role(l, FAILOVER_SINGLE);
}

/* --- what the agent says ------------------------------------------------------------------------
 */
static struct failover_vip *find_vip(struct failover_link *l, const struct addr *ip)
{
	for (unsigned i = 0; i < l->vip_count; i++)
		if (addr_eq_ip(&l->vips[i].ip, ip))
			return &l->vips[i];
	return NULL;
}

/* Orders about an address that stays stay too. */
static void hear_vips(struct failover_link *l, const json_t *list)
{
	unsigned count = 0;
	bool changed = false;
	const json_t *item;
	size_t i;

	if (!json_is_array(list)) /* of an older agent */
		return;
	json_array_foreach (list, i, item) {
		struct failover_vip vip = {0};

		if (count == FAILOVER_VIPS_MAX || !json_is_string(item) ||
			addr_parse_ip(span_of(json_string_value(item)), &vip.ip, NULL) != 0)
			continue;
		if (count >= l->vip_count || !addr_eq_ip(&l->vips[count].ip, &vip.ip)) {
			l->vips[count] = vip;
			changed = true;
		}
		count++;
	}
	changed = changed || count != l->vip_count;
	l->vip_count = count;
	if (changed && l->o.on_vips)
		l->o.on_vips(l->o.ctx, true);
}

/* All that drains from now on: what is not named does not. */
static void hear_drain(struct failover_link *l, const json_t *params)
{
	json_int_t seq = json_integer_value(json_object_get(params, "seq"));
	uint64_t now_ns = monotonic_ns();
	const char *text;
	json_t *left_ms;

	for (unsigned i = 0; i < l->vip_count; i++)
		l->vips[i].drain_until_ns = 0;
	json_object_foreach (json_object_get(params, "virtual_ips"), text, left_ms) {
		struct failover_vip *vip;
		struct addr ip;

		if (addr_parse_ip(span_of(text), &ip, NULL) != 0)
			continue;
		vip = find_vip(l, &ip);
		if (vip && json_integer_value(left_ms) >= 0)
			vip->drain_until_ns =
				now_ns + (uint64_t)json_integer_value(left_ms) * NS_PER_MS;
	}
	l->drain = seq > 0 ? (uint64_t)seq : 0;
	if (l->o.on_vips)
		l->o.on_vips(l->o.ctx, true);
}

static void hear_state(struct failover_link *l, const json_t *params)
{
	const json_t *version = json_object_get(params, "version");
	const char *kind = json_string_value(json_object_get(params, "kind"));
	struct failover_version v = {
		.value = (uint64_t)json_integer_value(json_object_get(version, "value")),
		.who = json_string_value(json_object_get(version, "who")),
		.when_ms = (uint64_t)json_integer_value(json_object_get(version, "when")),
	};

	if (kind && v.who && l->o.on_state)
		l->o.on_state(l->o.ctx, kind, &v, json_object_get(params, "doc"));
}

static void hear_role(struct failover_link *l, const json_t *params)
{
	const char *word = json_string_value(json_object_get(params, "role"));
	json_t *groups = json_object_get(params, "groups");
	json_int_t beat_ms = json_integer_value(json_object_get(params, "beat_ms"));

	if (beat_ms >= BEAT_LEAST_MS && beat_ms <= BEAT_MOST_MS)
		set_beat(l, (uint64_t)beat_ms);
	json_decref(l->groups);
	l->groups = json_is_object(groups) ? json_incref(groups) : NULL;
	if (word && strcmp(word, "active") == 0)
		set_role(l, FAILOVER_ACTIVE);
	else if (word && strcmp(word, "standby") == 0)
		set_role(l, FAILOVER_STANDBY);
	else
		log_event(LOG_WARNING, "proxy.role_unknown",
			"the agent named a role that is none: keeping the last",
			F_TEXT("role", word ? word : ""));
	hear_vips(l, json_object_get(params, "virtual_ips"));
}

static void hear_counts(struct failover_link *l, const json_t *params)
{
	json_decref(l->counts);
	l->counts = json_incref((json_t *)(uintptr_t)params);
	l->counted_ns = monotonic_ns();
}

/* Another method is one of a newer agent. */
static void on_notify(void *ctx, const char *method, const json_t *params)
{
	if (strcmp(method, "role") == 0)
		hear_role(ctx, params);
	else if (strcmp(method, "drain") == 0)
		hear_drain(ctx, params);
	else if (strcmp(method, "state") == 0)
		hear_state(ctx, params);
	else if (strcmp(method, "counts") == 0)
		hear_counts(ctx, params);
}

/* --- what we say --------------------------------------------------------------------------------
 */
int failover_link_conditions(struct failover_link *l, json_t *params)
{
	return rpc_link_notify(l->link, "proxy.conditions", params);
}

int failover_link_scale(struct failover_link *l, json_t *params)
{
	return rpc_link_notify(l->link, "proxy.scale", params);
}

int failover_link_clients(struct failover_link *l, json_t *params)
{
	return rpc_link_notify(l->link, "proxy.clients", params);
}

int failover_link_state(struct failover_link *l, const char *kind,
	const struct failover_version *version, json_t *doc)
{
	return rpc_link_notify(l->link, "proxy.state",
		json_pack("{s:s, s:{s:I, s:s, s:I}, s:o}", "kind", kind, "version", "value",
			(json_int_t)version->value, "who", version->who, "when",
			(json_int_t)version->when_ms, "doc", doc));
}

size_t failover_link_unsent(const struct failover_link *l)
{
	return rpc_link_unsent(l->link);
}

static void send_beat(struct failover_link *l, uint64_t next_ms)
{
	if (!l->o.alive(l->o.ctx))
		return;
	rpc_link_notify(l->link, "proxy.beat",
		json_pack("{s:I, s:I, s:I}", "connections", (json_int_t)l->o.connections(l->o.ctx),
			"seq", (json_int_t)++l->seq, "every_ms", (json_int_t)next_ms));
}

static void on_beat(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	struct failover_link *l = w->data;

	send_beat(l, l->beat_ms);
}

void failover_link_busy(struct failover_link *l)
{
	if (ev_is_active(&l->beat))
		send_beat(l, BEAT_BUSY_MS);
}

struct failover_link *failover_link_new(struct ev_loop *loop, const char *run_dir,
	const struct failover_link_options *o, struct err *err)
{
	struct failover_link *l = calloc(1, sizeof(*l));
	struct rpc_link_options link = {
		.ctx = l, .on_open = on_open, .on_closed = on_closed, .on_notify = on_notify};
	char path[4096];

	ASSERT(o->alive && o->connections);
	if (!l) {
		err_set(err, "out of memory");
		return NULL;
	}
	l->loop = loop;
	l->o = *o;
	ev_init(&l->beat, on_beat);
	l->beat_ms = BEAT_MS;
	l->beat.repeat = BEAT_MS / 1e3;
	l->beat.data = l;
	snprintf(path, sizeof(path), "%s/failover.sock", run_dir);
	link.path = path;
	l->link = rpc_link_new(loop, &link, err);
	if (!l->link) {
		free(l);
		return NULL;
	}
	return l;
}

void failover_link_free(struct failover_link *l)
{
	if (!l)
		return;
	ev_timer_stop(l->loop, &l->beat);
	rpc_link_free(l->link);
	json_decref(l->groups);
	json_decref(l->counts);
	free(l);
}

void failover_link_resume(struct failover_link *l)
{
	if (!ev_is_active(&l->beat)) /* it is not open: hello comes when it is */
		return;
	say_hello(l);
	if (l->o.on_vips) /* all clients are to be told anew */
		l->o.on_vips(l->o.ctx, true);
	if (l->o.on_open)
		l->o.on_open(l->o.ctx);
}

void failover_link_retire(struct failover_link *l)
{
	l->retired = true;
	ev_timer_stop(l->loop, &l->beat);
	rpc_link_notify(l->link, "proxy.retired", NULL);
}

void failover_link_stopping(struct failover_link *l)
{
	l->stopping = true;
	rpc_link_notify(
		l->link, "proxy.stopping", NULL); /* lost when closed: on_open says it then */
}

enum failover_role failover_link_role(const struct failover_link *l)
{
	return l->role;
}

const json_t *failover_link_groups(const struct failover_link *l)
{
	return l->groups;
}

const json_t *failover_link_counts(const struct failover_link *l, uint64_t *ret_at_ns)
{
	*ret_at_ns = l->counted_ns;
	return l->counts;
}

const struct failover_vip *failover_link_vips(const struct failover_link *l)
{
	return l->vips;
}

unsigned failover_link_vip_count(const struct failover_link *l)
{
	return l->vip_count;
}

uint64_t failover_link_drain(const struct failover_link *l)
{
	return l->drain;
}
