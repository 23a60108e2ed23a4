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

static const double beat_s = 0.05;

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
	uint64_t seq; /* of the last beat on this connection: a hole tells the agent that one was
			 lost */
	enum failover_role role;
	json_t *groups;
	bool stopping;
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

static void on_open(void *ctx)
{
	struct failover_link *l = ctx;

	l->seq = 0;
	rpc_link_notify(l->link, "proxy.hello",
		json_pack("{s:i, s:s}", "pid", (int)getpid(), "version", PACKAGE_VERSION));
	if (l->stopping)
		rpc_link_notify(l->link, "proxy.stopping", NULL);
	ev_timer_again(l->loop, &l->beat);
}

static void on_closed(void *ctx)
{
	struct failover_link *l = ctx;

	ev_timer_stop(l->loop, &l->beat);
	json_decref(l->groups);
	l->groups = NULL;
	set_role(l, FAILOVER_SINGLE);
}

static void on_notify(void *ctx, const char *method, const json_t *params)
{
	struct failover_link *l = ctx;
	const char *word = json_string_value(json_object_get(params, "role"));
	json_t *groups = json_object_get(params, "groups");

	if (strcmp(method, "role") != 0) /* of a newer agent */
		return;
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
}

static void on_beat(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct failover_link *l = w->data;

	(void)loop;
	(void)revents;
	if (!l->o.alive(l->o.ctx))
		return;
	rpc_link_notify(l->link, "proxy.beat",
		json_pack("{s:I, s:I}", "connections", (json_int_t)l->o.connections(l->o.ctx),
			"seq", (json_int_t)++l->seq));
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
	l->beat.repeat = beat_s;
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
	free(l);
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
