/*
 * Between the modules that make a configuration: raw tree (yaml.c), files and includes
 * (conf_load.c), types (conf_check.c), and the rules that take several keys (conf_rules.c). Nobody
 * else needs this.
 */
#pragma once

#include "shared/conf_schema.h"

struct conf *conf_new(void); /* NULL when out of memory; the root is an empty map */
/* Takes text (may be NULL: the file could not be read), copies name. Returns its index or -1. */
int conf_add_file(struct conf *c, const char *name, char *text, size_t len);

/* Copies name and text. NULL when out of memory. */
struct conf_node *conf_node_new(enum conf_kind kind, struct span name, struct span text);
void conf_node_free(struct conf_node *n); /* with all below it */
void conf_node_append(struct conf_node *parent, struct conf_node *child);
/* "pool 'api'", "'health' of pool 'api'", "route 2 of listener 'http'", "the top level". */
void conf_node_describe(const struct conf_node *n, char *out, size_t size);
/* " (line 12)", or with the file where that is another than pos's. */
void conf_place(
	const struct conf *c, struct conf_pos of, struct conf_pos from, char *out, size_t size);

/* Near words one at a time: start with best = near_limit(word); true for one nearer than all
 * before. */
size_t near_limit(struct span word);
bool is_nearer(struct span word, struct span candidate, size_t *best);

/* One scalar by its row: fills num and the like. hint gets a remedy or "". */
int conf_type_scalar(
	const struct conf_key *key, struct conf_node *n, struct err *err, char *hint, size_t size);

/* Types c->root by the table, in place; faults go to the report. -1: out of memory. */
int conf_check(struct conf *c, const struct conf_key *top, struct conf_report *report);
/* What several keys say together, of the typed tree of conf_schema. -1: out of memory. */
int conf_rules(const struct conf *c, struct conf_report *report);
/* Those of a pool's checks (conf_rules_health.c). */
void conf_rules_health(struct conf_report *report, const struct conf_node *pool);
/* Those of the protocols that the groups speak (conf_rules_protocol.c). */
void conf_rules_protocol(struct conf_report *report, const struct conf_node *failover);
/* Those of TLS (conf_rules_tls.c). */
void conf_rules_tls(struct conf_report *report, const struct conf_node *listeners);
/* The same of a pool's TLS to its servers. */
void conf_rules_pool_tls(struct conf_report *report, const struct conf_node *pool);
/* Written, good, and not false. */
bool conf_pool_has_tls(const struct conf_node *pool);
/* Those of where a pool's servers come from (conf_rules_discover.c). */
void conf_rules_discover(
	struct conf_report *report, const struct conf_node *root, const struct conf_node *pool);
/* Those of autoscaling (conf_rules_scale.c). */
void conf_rules_scale(
	struct conf_report *report, const struct conf_node *root, const struct conf_node *pool);
bool conf_speaks_vrrp(const struct conf_node *failover, const struct conf_node *group);
/* Those of what is passed on without being HTTP (conf_rules_stream.c). */
void conf_rules_stream(struct conf_report *report, const struct conf *c);
/* Those of routes (conf_rules_routes.c). -1: out of memory. */
int conf_rules_routes(struct conf_report *report, const struct conf_node *root);
/* A child that is written and good, else NULL. */
static inline const struct conf_node *good(const struct conf_node *map, const char *path)
{
	const struct conf_node *n = map && !map->broken ? conf_find(map, path) : NULL;

	return n && n->key && !n->broken ? n : NULL;
}

/* Text of file `file` of c to a raw tree. 1: the tree is not usable (reported). -1: out of memory.
 */
int yaml_read(
	struct conf *c, uint32_t file, struct conf_report *report, struct conf_node **ret_root);
