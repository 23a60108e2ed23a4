/*
 * Rules of routes that take several keys: what becomes of a request, and the shares of several
 * pools.
 */
#include <stdio.h>

#include "shared/assert.h"
#include "shared/conf_build.h"
#include "shared/map.h"

enum { HUNDREDTHS = 10000 };

/* What one route does with its requests is one thing. */
static void check_what_becomes(struct conf_report *report, const struct conf_node *route)
{
	static const char *const ways[] = {"pool", "redirect", "respond"};
	const struct conf_node *first = NULL;
	char where[200];

	for (size_t i = 0; i < countof(ways); i++) {
		const struct conf_node *n = conf_find(route, ways[i]);

		if (n && first)
			conf_error(report, n->name_pos, "write one of the two",
				"a route has '%.*s' or '%s', not both", SPAN_ARG(first->name),
				ways[i]);
		else if (n)
			first = n;
	}
	if (!first) {
		conf_node_describe(route, where, sizeof(where));
		conf_error(report, route->pos, NULL, "%s needs 'pool', 'redirect' or 'respond'",
			where);
	} else if (!span_eq(first->name, SPAN("pool"))) {
		static const char *const of_pools[] = {"rewrite", "priority"};

		for (size_t i = 0; i < countof(of_pools); i++) {
			const struct conf_node *n = conf_find(route, of_pools[i]);

			if (n)
				conf_error(report, n->name_pos, NULL,
					"'%s' is for routes with 'pool': no server sees what "
					"'%.*s' "
					"answers",
					of_pools[i], SPAN_ARG(first->name));
		}
	}
}

/* The name of a pool that this one probably means. */
static void hint_pool(const struct conf_node *pools, struct span name, char *hint, size_t size)
{
	size_t best = near_limit(name);

	hint[0] = '\0';
	if (pools && pools->count <= 2000)
		conf_each (pool, pools)
			if (is_nearer(name, pool->name, &best))
				snprintf(hint, size, "did you mean '%.*s'?", SPAN_ARG(pool->name));
}

static void check_shares(struct conf_report *report, const struct conf_node *shares)
{
	const struct conf_node *percent = NULL, *number = NULL;
	uint64_t sum = 0;

	conf_each (share, shares) {
		if (share->broken)
			return;
		if (share->text.ptr[share->text.len - 1] == '%')
			percent = share;
		else
			number = share;
		sum += share->num;
	}
	if (percent && number)
		conf_error(report, number->pos, "write percentages, or numbers",
			"the share of '%.*s' is a number, that of '%.*s' a percentage",
			SPAN_ARG(number->name), SPAN_ARG(percent->name));
	else if (percent && sum != HUNDREDTHS)
		conf_error(report, shares->name_pos, NULL,
			"the shares of the pools make %g%%, not 100%%", (double)sum / 100);
	else if (sum == 0)
		conf_error(report, shares->name_pos, NULL, "no pool has a share: one must have");
}

static int map_pools(struct map *all, const struct conf_node *pools)
{
	map_init(all, pools ? pools->count : 0);
	conf_each (pool, pools)
		if (!map_get(all, pool->name) &&
			map_put(all, pool->name, (void *)(uintptr_t)pool) < 0)
			return -1;
	return 0;
}

static void check_route(struct conf_report *report, const struct conf_node *route,
	const struct conf_node *pools, const struct map *all)
{
	const struct conf_node *shares;

	if (route->broken)
		return;
	check_what_becomes(report, route);
	shares = good(route, "pool");
	if (!shares || shares->kind != CONF_MAP)
		return;
	conf_each (share, shares) {
		char hint[128];

		if (map_get(all, share->name))
			continue;
		hint_pool(pools, share->name, hint, sizeof(hint));
		conf_error(report, share->name_pos, hint[0] ? hint : NULL,
			"pool '%.*s' is not defined", SPAN_ARG(share->name));
	}
	check_shares(report, shares);
}

int conf_rules_routes(struct conf_report *report, const struct conf_node *root)
{
	const struct conf_node *pools = good(root, "pools");
	struct map all;
	int rc = map_pools(&all, pools);

	conf_each (listener, good(root, "listeners"))
		if (rc == 0)
			conf_each (route, good(listener, "routes"))
				check_route(report, route, pools, &all);
	map_fini(&all);
	return rc;
}
