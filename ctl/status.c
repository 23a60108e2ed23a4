/*
 * tandemctl status: both daemons at a glance. One that does not answer has a line that says so;
 * only when neither does is that the exit code.
 */
#include <stdlib.h>
#include <unistd.h>

#include "ctl/ctl.h"

enum { TIMEOUT_MS = 2000 };

static enum tint state_tint(const char *state)
{
	if (strcmp(state, "ACTIVE") == 0)
		return TINT_GOOD;
	if (strcmp(state, "FAULT") == 0)
		return TINT_BAD;
	return strcmp(state, "STANDBY") == 0 ? TINT_NONE : TINT_WARN;
}

/* "10.0.0.100/24, fd00::100/64" */
static void join(const json_t *array, char *out, size_t size)
{
	size_t at = 0, i;
	const json_t *item;

	snprintf(out, size, "-");
	json_array_foreach (array, i, item) {
		if (at < size)
			at += (size_t)snprintf(out + at, size - at, "%s%s", i ? ", " : "",
				json_is_string(item) ? json_string_value(item) : "-");
	}
}

static enum tint fence_tint(const char *fence)
{
	if (strcmp(fence, "none") == 0)
		return TINT_BAD;
	return strcmp(fence, "kernel") == 0 ? TINT_NONE : TINT_WARN;
}

static void print_groups(const struct ctl *c, const json_t *groups)
{
	static const char *const heads[] = {"GROUP", "STATE", "FOR", "LEASE MS", "FENCE",
		"CONNECTIONS", "PEER'S", "INTERFACE", "VIRTUAL IPS", "REASON", NULL};
	char ips[512], number[NUMBER_MAX];
	const json_t *g;
	const char *name;
	struct table t;

	table_init(&t, heads);
	json_object_foreach ((json_t *)(uintptr_t)groups, name, g) {
		const char *held = json_string_value(json_object_get(g, "held"));
		const char *state = text_at(g, "state");

		join(json_object_get(g, "virtual_ips"), ips, sizeof(ips));
		table_add(&t, TINT_NONE, "%s", name);
		table_add(&t, state_tint(state), "%s", state);
		table_add(&t, TINT_NONE, "%s", ago(text_at(g, "since"), number));
		table_add(&t, TINT_NONE, "%s", number_at(g, "lease_ms", number));
		table_add(&t, fence_tint(text_at(g, "fence")), "%s", text_at(g, "fence"));
		table_add(&t, TINT_NONE, "%s", number_at(g, "connections", number));
		table_add(&t, TINT_NONE, "%s", number_at(g, "peer_connections", number));
		table_add(&t, TINT_NONE, "%s", text_at(g, "interface"));
		table_add(&t, TINT_NONE, "%s", ips);
		if (held)
			table_add(&t, TINT_BAD, "held: %s", held);
		else
			table_add(&t, TINT_NONE, "%s", text_at(g, "reason"));
	}
	table_print(&t, 2, c->color, c->out);
	table_fini(&t);
}

/* Why a group has less than the kernel's fence. */
static void print_fences(const struct ctl *c, const json_t *groups)
{
	const json_t *g;
	const char *name;

	json_object_foreach ((json_t *)(uintptr_t)groups, name, g) {
		const char *why = json_string_value(json_object_get(g, "fence_why"));

		if (why)
			fprintf(c->out, "  %s: fence '%s': %s\n", name, text_at(g, "fence"), why);
	}
}

/* Beside "held", which takes the reason's place. */
static void print_alarms(const struct ctl *c, const json_t *groups)
{
	const json_t *g, *alarm;
	const char *name;
	size_t i;

	json_object_foreach ((json_t *)(uintptr_t)groups, name, g) {
		json_array_foreach (json_object_get(g, "alarms"), i, alarm) {
			if (json_equal(alarm, json_object_get(g, "held")))
				continue;
			fprintf(c->out, "  %s: ", name);
			tint_print(json_is_string(alarm) ? json_string_value(alarm) : "-", TINT_BAD,
				c->color, c->out);
			putc('\n', c->out);
		}
	}
}

/* The copy of the peer's clients and states, by which a dead node's clients are told. */
static void print_copy(const struct ctl *c, const json_t *copy)
{
	const char *trouble = json_string_value(json_object_get(copy, "trouble"));
	char n[NUMBER_MAX];

	if (!json_is_object(copy))
		return;
	fprintf(c->out, ", copy ");
	if (json_is_true(json_object_get(copy, "connected"))) {
		fprintf(c->out, "over '%s'", text_at(copy, "path"));
		if (int_at(copy, "lag") > 0)
			fprintf(c->out, " (%s behind)", number_at(copy, "lag", n));
		return;
	}
	tint_print("not connected", TINT_WARN, c->color, c->out);
	if (trouble)
		fprintf(c->out, " (%s)", trouble);
}

/* Of a path on which nothing good is heard: what comes in its place. */
static void print_dropped(const struct ctl *c, const json_t *path)
{
	const json_t *dropped = json_object_get(path, "dropped");
	const char *cause;
	const json_t *count;

	if (json_is_true(json_object_get(path, "up")))
		return;
	json_object_foreach ((json_t *)(uintptr_t)dropped, cause, count) {
		fprintf(c->out, ", %lld dropped (", (long long)json_integer_value(count));
		tint_print(cause, TINT_NONE, false, c->out);
		putc(')', c->out);
	}
}

static void print_witness(const struct ctl *c, const json_t *witness)
{
	bool up = json_is_true(json_object_get(witness, "up"));

	if (!json_is_object(witness))
		return;
	fprintf(c->out, "  witness: ");
	tint_print(up ? "up" : "down", up ? TINT_GOOD : TINT_BAD, c->color, c->out);
	print_dropped(c, witness);
	putc('\n', c->out);
}

static void print_paths(const struct ctl *c, const char *kind, const json_t *paths)
{
	const char *const heads[] = {kind, "STATE", "HEARD MS AGO", "RTT US", "LOST", NULL};
	char number[NUMBER_MAX];
	const json_t *p;
	const char *name;
	struct table t;

	table_init(&t, heads);
	json_object_foreach ((json_t *)(uintptr_t)paths, name, p) {
		bool up = json_is_true(json_object_get(p, "up"));

		table_add(&t, TINT_NONE, "%s", name);
		table_add(&t, up ? TINT_GOOD : TINT_BAD, "%s", up ? "up" : "down");
		table_add(&t, TINT_NONE, "%s", number_at(p, "last_heard_ms", number));
		table_add(&t, TINT_NONE, "%s", number_at(p, "rtt_us", number));
		table_add(&t, TINT_NONE, "%s", number_at(p, "lost", number));
	}
	table_print(&t, 2, c->color, c->out);
	table_fini(&t);
	json_object_foreach ((json_t *)(uintptr_t)paths, name, p) {
		if (json_is_true(json_object_get(p, "up")) ||
			json_object_size(json_object_get(p, "dropped")) == 0)
			continue;
		fprintf(c->out, "  path ");
		tint_print(name, TINT_NONE, c->color, c->out);
		print_dropped(c, p);
		putc('\n', c->out);
	}
}

static void print_failover(const struct ctl *c, const json_t *s)
{
	const json_t *proxy = json_object_get(s, "proxy"), *peer = json_object_get(s, "peer");
	const json_t *matches = json_object_get(json_object_get(s, "config"), "peer_matches");
	const char *state = text_at(proxy, "state");
	char n[NUMBER_MAX];

	fprintf(c->out, "tandem-failover %s on ", text_at(s, "version"));
	tint_print(text_at(s, "node"), TINT_NONE, c->color, c->out);
	fprintf(c->out, ": proxy ");
	tint_print(state, strcmp(state, "ok") == 0 ? TINT_GOOD : TINT_BAD, c->color, c->out);
	if (json_is_integer(json_object_get(proxy, "pid")))
		fprintf(c->out, " (pid %s)", number_at(proxy, "pid", n));
	fprintf(c->out, ", configuration generation %s",
		number_at(json_object_get(s, "config"), "generation", n));
	if (json_is_true(json_object_get(s, "frozen"))) {
		fprintf(c->out, ", ");
		tint_print("FROZEN", TINT_WARN, c->color, c->out);
	}
	putc('\n', c->out);
	print_groups(c, json_object_get(s, "groups"));
	print_fences(c, json_object_get(s, "groups"));
	print_alarms(c, json_object_get(s, "groups"));
	print_witness(c, json_object_get(s, "witness"));
	if (!json_is_object(peer))
		return;
	fprintf(c->out, "  peer ");
	tint_print(text_at(peer, "node"), TINT_NONE, c->color, c->out);
	fprintf(c->out, ": ");
	tint_print(text_at(peer, "state"), state_tint(text_at(peer, "state")), c->color, c->out);
	if (json_is_boolean(json_object_get(peer, "proxy_ok")))
		fprintf(c->out, ", proxy %s",
			json_is_true(json_object_get(peer, "proxy_ok")) ? "ok" : "NOT OK");
	if (json_is_false(matches)) {
		fprintf(c->out, ", ");
		tint_print("configuration differs", TINT_WARN, c->color, c->out);
	}
	print_copy(c, json_object_get(peer, "copy"));
	putc('\n', c->out);
	print_paths(c, "PATH", json_object_get(peer, "paths"));
}

/* The third box: whom it hears, and to whom it gave its word. */
static void print_witness_box(const struct ctl *c, const json_t *s)
{
	static const char *const heads[] = {
		"GROUP", "OWNER", "HEARD MS AGO", "PROMISED TO", "MS AGO", NULL};
	char number[NUMBER_MAX];
	const json_t *g;
	const char *name;
	struct table t;

	fprintf(c->out, "tandem-failover %s: witness\n", text_at(s, "version"));
	print_paths(c, "NODE", json_object_get(s, "nodes"));
	table_init(&t, heads);
	json_object_foreach (json_object_get(s, "groups"), name, g) {
		table_add(&t, TINT_NONE, "%s", name);
		table_add(&t, TINT_NONE, "%s", text_at(g, "owner"));
		table_add(&t, TINT_NONE, "%s", number_at(g, "owner_heard_ms", number));
		table_add(&t, TINT_NONE, "%s", text_at(g, "promised"));
		table_add(&t, TINT_NONE, "%s", number_at(g, "promised_ms", number));
	}
	table_print(&t, 2, c->color, c->out);
	table_fini(&t);
}

static void print_listeners(const struct ctl *c, const json_t *listeners)
{
	static const char *const heads[] = {
		"LISTENER", "BIND", "MODE", "CONNECTIONS", "REQUESTS", NULL};
	char bind[512], number[NUMBER_MAX];
	const json_t *l;
	const char *name;
	struct table t;

	table_init(&t, heads);
	json_object_foreach ((json_t *)(uintptr_t)listeners, name, l) {
		const json_t *where = json_object_get(l, "bind");

		if (json_is_array(where))
			join(where, bind, sizeof(bind));
		else
			snprintf(bind, sizeof(bind), "%s", text_at(l, "bind"));
		table_add(&t, TINT_NONE, "%s", name);
		table_add(&t, TINT_NONE, "%s", bind);
		table_add(&t, TINT_NONE, "%s", text_at(l, "mode"));
		table_add(&t, TINT_NONE, "%s", number_at(l, "connections", number));
		table_add(&t, TINT_NONE, "%s", number_at(l, "requests_total", number));
	}
	table_print(&t, 2, c->color, c->out);
	table_fini(&t);
}

static void print_pools(const struct ctl *c, const json_t *pools)
{
	static const char *const heads[] = {"POOL", "UP", "BALANCE", NULL};
	char up[NUMBER_MAX], total[NUMBER_MAX];
	const json_t *p;
	const char *name;
	struct table t;

	table_init(&t, heads);
	json_object_foreach ((json_t *)(uintptr_t)pools, name, p) {
		table_add(&t, TINT_NONE, "%s", name);
		table_add(&t, pool_tint(p), "%s/%s", number_at(p, "up", up),
			number_at(p, "total", total));
		table_add(&t, TINT_NONE, "%s", text_at(p, "balance"));
	}
	table_print(&t, 2, c->color, c->out);
	table_fini(&t);
}

/* What is on its way, and what came of the last one where it is not what was wanted. */
static void print_upgrade(const struct ctl *c, const json_t *u)
{
	const json_t *last = json_object_get(u, "last");
	char pid[NUMBER_MAX], n[NUMBER_MAX];

	if (json_is_integer(json_object_get(u, "successor"))) {
		fprintf(c->out, "  ");
		tint_print("upgrade", TINT_WARN, c->color, c->out);
		fprintf(c->out, ": the new process (pid %s) is starting\n",
			number_at(u, "successor", pid));
	}
	if (json_is_integer(json_object_get(u, "predecessor"))) {
		fprintf(c->out, "  ");
		tint_print("upgrade", TINT_WARN, c->color, c->out);
		fprintf(c->out, ": the old process (pid %s) has %s connections left\n",
			number_at(u, "predecessor", pid),
			number_at(u, "predecessor_connections", n));
	}
	if (json_is_false(json_object_get(last, "ok"))) {
		fprintf(c->out, "  ");
		tint_print("the last upgrade failed; the process before it runs on", TINT_WARN,
			c->color, c->out);
		fprintf(c->out, " (%s ago): ", ago(text_at(last, "at"), n));
		tint_print(text_at(last, "why"), TINT_NONE, c->color, c->out);
		putc('\n', c->out);
	}
}

static void print_proxy(const struct ctl *c, const json_t *s)
{
	const json_t *config = json_object_get(s, "config");
	const json_t *last = json_object_get(config, "last_reload"), *error;
	char n[NUMBER_MAX];
	size_t i;

	fprintf(c->out, "tandem-proxy %s", text_at(s, "version"));
	if (json_is_integer(json_object_get(s, "pid")))
		fprintf(c->out, " (pid %s)", number_at(s, "pid", n));
	fprintf(c->out, " on ");
	tint_print(text_at(s, "node"), TINT_NONE, c->color, c->out);
	fprintf(c->out, ": %s", text_at(s, "role"));
	if (json_is_true(json_object_get(s, "draining"))) {
		fprintf(c->out, ", ");
		tint_print("draining", TINT_WARN, c->color, c->out);
	}
	fprintf(c->out, ", %s workers", number_at(s, "workers", n));
	fprintf(c->out, ", %s connections", number_at(s, "connections", n));
	fprintf(c->out, ", %s requests/s", number_at(s, "requests_per_second", n));
	fprintf(c->out, ", configuration generation %s\n", number_at(config, "generation", n));
	print_upgrade(c, json_object_get(s, "upgrade"));
	if (json_is_false(json_object_get(last, "ok"))) {
		fprintf(c->out, "  ");
		tint_print("the last reload failed; the configuration before it runs on", TINT_WARN,
			c->color, c->out);
		putc('\n', c->out);
		json_array_foreach (json_object_get(last, "errors"), i, error) {
			fprintf(c->out, "    ");
			tint_print(json_is_string(error) ? json_string_value(error) : "-",
				TINT_NONE, c->color, c->out);
			putc('\n', c->out);
		}
	}
	print_listeners(c, json_object_get(s, "listeners"));
	print_pools(c, json_object_get(s, "pools"));
}

static void print_missing(const struct ctl *c, enum daemon d, enum rpc_rc rc, const struct err *err)
{
	fprintf(c->out, "%s: ", daemon_name(d));
	tint_print(rc == RPC_UNREACHABLE ? "not reachable" : "refused", TINT_BAD, c->color, c->out);
	fprintf(c->out, " (");
	tint_print(err->text, TINT_NONE, c->color, c->out);
	fprintf(c->out, ")\n");
}

/* One look at both. */
static int status_once(const struct ctl *c)
{
	json_t *failover = NULL, *proxy = NULL;
	struct err failover_err, proxy_err;
	enum rpc_rc failover_rc =
		ask(c, FAILOVER, "status", NULL, TIMEOUT_MS, &failover, &failover_err);
	enum rpc_rc proxy_rc = ask(c, PROXY, "status", NULL, TIMEOUT_MS, &proxy, &proxy_err);

	if (c->watch && !c->json && c->color)
		fprintf(c->out, "\033[H\033[2J");
	if (c->json) {
		json_t *both = json_pack("{s:O?, s:O?}", "failover", failover, "proxy", proxy);

		if (c->watch)
			print_json_line(c, both);
		else
			print_json(c, both);
	} else {
		if (failover && strcmp(text_at(failover, "role"), "witness") == 0)
			print_witness_box(c, failover);
		else if (failover)
			print_failover(c, failover);
		else
			print_missing(c, FAILOVER, failover_rc, &failover_err);
		if (proxy)
			print_proxy(c, proxy);
		else
			print_missing(c, PROXY, proxy_rc, &proxy_err);
		fflush(c->out);
	}
	json_decref(failover);
	json_decref(proxy);
	if (failover_rc == RPC_OK || proxy_rc == RPC_OK)
		return DONE;
	return failover_rc == RPC_REFUSED || proxy_rc == RPC_REFUSED ? REFUSED : UNREACHABLE;
}

int verb_status(struct ctl *c)
{
	while (c->watch) {
		status_once(c);
		if (ferror(c->out)) /* nobody watches any more */
			return REFUSED;
		sleep(1);
	}
	return status_once(c);
}
