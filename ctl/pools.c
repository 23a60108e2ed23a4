/*
 * tandemctl pools, servers: what the proxy's status says of them, as tables.
 */
#include <stdlib.h>

#include "ctl/ctl.h"
#include "shared/assert.h"
#include "shared/conf.h"

enum { TIMEOUT_MS = 2000 };

enum tint pool_tint(const json_t *pool)
{
	if (int_at(pool, "up") == 0)
		return TINT_BAD;
	return int_at(pool, "up") < int_at(pool, "total") ? TINT_WARN : TINT_GOOD;
}

static int ask_pools(const struct ctl *c, json_t **ret_pools)
{
	json_t *status = NULL;
	struct err err;
	int rc = ask_exit(ask(c, PROXY, "status", NULL, TIMEOUT_MS, &status, &err), &err);

	if (rc != DONE)
		return rc;
	*ret_pools = json_incref(json_object_get(status, "pools"));
	json_decref(status);
	if (!*ret_pools)
		*ret_pools = json_object();
	return DONE;
}

static json_int_t sum(const json_t *servers, const char *name)
{
	const json_t *s;
	const char *key;
	json_int_t total = 0;

	json_object_foreach ((json_t *)(uintptr_t)servers, key, s) {
		total += int_at(s, name);
	}
	return total;
}

int verb_pools(struct ctl *c)
{
	static const char *const heads[] = {
		"POOL", "UP", "BALANCE", "IN FLIGHT", "QUEUED", "REQUESTS", "FAILURES", NULL};
	char up[NUMBER_MAX], total[NUMBER_MAX];
	json_t *pools = NULL, *p;
	const char *name;
	struct table t;
	int rc = ask_pools(c, &pools);

	if (rc != DONE)
		return rc;
	if (c->json) {
		print_json(c, pools);
		return DONE;
	}
	table_init(&t, heads);
	json_object_foreach (pools, name, p) {
		const json_t *servers = json_object_get(p, "servers");

		table_add(&t, TINT_NONE, "%s", name);
		table_add(&t, pool_tint(p), "%s/%s", number_at(p, "up", up),
			number_at(p, "total", total));
		table_add(&t, TINT_NONE, "%s", text_at(p, "balance"));
		table_add(&t, TINT_NONE, "%lld", (long long)sum(servers, "in_flight"));
		table_add(&t, TINT_NONE, "%lld", (long long)sum(servers, "queued"));
		table_add(&t, TINT_NONE, "%lld", (long long)sum(servers, "requests_total"));
		table_add(&t, TINT_NONE, "%lld", (long long)sum(servers, "failures_total"));
	}
	table_print(&t, 0, c->color, c->out);
	table_fini(&t);
	json_decref(pools);
	return DONE;
}

enum tint health_tint(const char *health)
{
	if (strcmp(health, "up") == 0)
		return TINT_GOOD;
	return strcmp(health, "down") == 0 ? TINT_BAD : TINT_WARN;
}

static void add_servers(struct table *t, const char *pool, const json_t *servers)
{
	char n[NUMBER_MAX], full[NUMBER_MAX];
	const json_t *s;
	const char *name;

	json_object_foreach ((json_t *)(uintptr_t)servers, name, s) {
		const char *health = text_at(s, "health"), *admin = text_at(s, "admin");

		table_add(t, TINT_NONE, "%s/%s", pool, name);
		table_add(t, TINT_NONE, "%s", text_at(s, "address"));
		table_add(t, TINT_NONE, "%s", text_at(s, "tls"));
		table_add(t, health_tint(health), "%s", health);
		table_add(t, strcmp(admin, "ready") == 0 ? TINT_NONE : TINT_WARN, "%s", admin);
		if (int_at(s, "effective_weight") == int_at(s, "weight"))
			table_add(t, TINT_NONE, "%s", number_at(s, "weight", n));
		else
			table_add(t, TINT_WARN, "%s of %s", number_at(s, "effective_weight", n),
				number_at(s, "weight", full));
		table_add(t, TINT_NONE, "%s", number_at(s, "in_flight", n));
		table_add(t, TINT_NONE, "%s", number_at(s, "queued", n));
		table_add(t, TINT_NONE, "%s", number_at(s, "requests_total", n));
		table_add(t, TINT_NONE, "%s", number_at(s, "failures_total", n));
		table_add(t, TINT_NONE, "%s", ago(text_at(s, "since"), n));
		table_add(t, TINT_NONE, "%s", text_at(s, "reason"));
	}
}

/* Leaves only the pool that was asked for. */
static int only_pool(json_t **pools, const char *name)
{
	json_t *pool = json_object_get(*pools, name), *kept;
	const char *names[256], *near;
	size_t count = 0;
	const char *key;
	json_t *value;

	if (pool) {
		kept = json_pack("{s:O}", name, pool);
		json_decref(*pools);
		*pools = kept;
		return DONE;
	}
	json_object_foreach (*pools, key, value) {
		if (count < countof(names))
			names[count++] = key;
	}
	near = did_you_mean(span_of(name), names, count);
	if (near)
		complain("there is no pool '%s': did you mean '%s'?", name, near);
	else
		complain("there is no pool '%s'", name);
	return REFUSED;
}

int verb_servers(struct ctl *c)
{
	static const char *const heads[] = {"SERVER", "ADDRESS", "TLS", "HEALTH", "ADMIN", "WEIGHT",
		"IN FLIGHT", "QUEUED", "REQUESTS", "FAILURES", "FOR", "REASON", NULL};
	json_t *pools = NULL, *p, *by_pool;
	const char *name;
	struct table t;
	int rc = ask_pools(c, &pools);

	if (rc == DONE && c->argument)
		rc = only_pool(&pools, c->argument);
	if (rc != DONE) {
		json_decref(pools);
		return rc;
	}
	if (c->json) {
		by_pool = json_object();
		json_object_foreach (pools, name, p) {
			json_object_set(by_pool, name, json_object_get(p, "servers"));
		}
		print_json(c, by_pool);
	} else {
		table_init(&t, heads);
		json_object_foreach (pools, name, p) {
			add_servers(&t, name, json_object_get(p, "servers"));
		}
		table_print(&t, 0, c->color, c->out);
		table_fini(&t);
	}
	json_decref(pools);
	return DONE;
}
