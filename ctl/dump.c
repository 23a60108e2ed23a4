/*
 * tandemctl dump: all that a supporter asks for, as one JSON document: versions, what both daemons
 * say of themselves, the last events and malformed messages, and the configuration with its
 * defaults. Nothing of it is secret: the daemons hide what is.
 */
#include "config.h"

#include <sys/utsname.h>

#include "ctl/ctl.h"
#include "shared/units.h"

enum { TIMEOUT_MS = 5000, EVENTS_MAX = 500 };

/* What the daemon answers, or {"error": why not}. */
static json_t *answer(const struct ctl *c, enum daemon d, const char *method)
{
	json_t *result = NULL;
	struct err err;

	if (ask(c, d, method, NULL, TIMEOUT_MS, &result, &err) == RPC_OK)
		return result;
	return json_pack("{s:s}", "error", err.text);
}

struct events {
	json_t *list;
	json_int_t last;
};

static bool on_event(void *ctx, const json_t *event)
{
	struct events *e = ctx;

	json_array_append(e->list, (json_t *)(uintptr_t)event);
	return int_at(event, "seq") < e->last;
}

/* Those that the daemon still has. */
static json_t *last_events(const struct ctl *c, enum daemon d)
{
	json_t *now = answer(c, d, "events");
	struct events e = {.list = json_array(), .last = int_at(now, "seq")};
	json_int_t since = e.last > EVENTS_MAX ? e.last - EVENTS_MAX : 0;
	char path[4096];
	struct err err;

	json_decref(now);
	daemon_path(c, d, path, sizeof(path));
	if (e.last > 0)
		(void)rpc_follow(
			path, "events", json_pack("{s:I}", "since", since), on_event, &e, &err);
	return e.list;
}

static json_t *machine(void)
{
	struct utsname u;

	if (uname(&u) < 0)
		return json_null();
	return json_pack(
		"{s:s, s:s, s:s}", "kernel", u.release, "build", u.version, "machine", u.machine);
}

int verb_dump(struct ctl *c)
{
	json_t *failover = answer(c, FAILOVER, "status"), *proxy = answer(c, PROXY, "status");
	bool any = !json_object_get(failover, "error") || !json_object_get(proxy, "error");
	json_t *config = NULL, *all;
	char at[25];
	int rc;

	if (!json_object_get(proxy, "error"))
		config = ask_config(c, true, &rc);
	time_format(realtime_ns(), at);
	all = json_pack("{s:s, s:s, s:o, s:{s:o, s:o}, s:{s:o, s:o, s:o, s:o?}}", "tandemctl",
		PACKAGE_VERSION, "at", at, "machine", machine(), "failover", "status", failover,
		"events", last_events(c, FAILOVER), "proxy", "status", proxy, "events",
		last_events(c, PROXY), "errors", answer(c, PROXY, "errors"), "config", config);
	print_json(c, all);
	return any ? DONE : UNREACHABLE;
}
