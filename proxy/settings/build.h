/*
 * Between the files that make a snapshot from the checked tree: settings.c for the whole,
 * build_routes.c for routes, build_match.c for their conditions, build_action.c for what they do.
 * Nobody else needs this.
 */
#pragma once

#include "proxy/settings/action.h"
#include "proxy/settings/arena.h"
#include "proxy/settings/settings.h"
#include "shared/map.h"

struct builder {
	struct settings *settings;
	struct conf_report *report;
	struct map pools; /* struct pool by name */
	bool out_of_memory;
};

/* What is written under `node` replaces what was inherited. where: of a route or pool, for the
 * warning. (settings.c) */
void build_timeouts(
	struct builder *b, const struct conf_node *node, const char *where, struct timeouts *t);
void build_pool_timeouts(
	struct builder *b, const struct conf_node *pool, const char *where, struct timeouts *t);
void build_content_limits(const struct conf_node *node, struct content_limits *c);

/* From the snapshot's arena; NULL, and noted, when memory is out. */
void *build_alloc(struct builder *b, size_t count, size_t size);
const struct cidr *build_networks(
	struct builder *b, const struct conf_node *list, unsigned *ret_count);
void build_access(struct builder *b, const struct conf_node *node, struct access *ret);
/* The expression behind "~"; what is wrong with it is reported. NULL then. */
const struct regex *build_regex(struct builder *b, const struct conf_node *node, struct span text);
void build_routes(struct builder *b, const struct conf_node *listener, struct listener *l);
/* The conditions under `match`; those of host, plain path and method are the index's. */
void build_match(struct builder *b, const struct conf_node *match, struct match *ret);
/* NULL: the route has nothing of the kind. inherited: the listener's times. */
const struct action *build_action(struct builder *b, const struct conf_node *route,
	const struct match *match, const struct timeouts *inherited);
