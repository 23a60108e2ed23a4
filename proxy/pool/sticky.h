/*
 * Sticky sessions: a cookie that names the server which serves a user. Its value is a keyed hash of
 * the server's pool and name: it tells nobody anything, it survives reloads and restarts, and both
 * nodes of a pair, who share the key, read it without telling each other anything.
 *
 * A view has a table from values to its servers. Pure.
 */
#pragma once

#include "proxy/pool/server.h"

#define STICKY_TEXT_LEN 16 /* hexadecimal digits */

/* The value for this server; never 0. */
uint64_t sticky_value(const uint64_t key[2], const struct server *s);
void sticky_format(uint64_t value, char out[STICKY_TEXT_LEN]);
/* 0: this is none of ours. */
uint64_t sticky_parse(struct span text);

struct sticky_table;
/* With room for so many servers. NULL when out of memory. Freed with free(). */
struct sticky_table *sticky_table_new(unsigned servers);
void sticky_table_add(struct sticky_table *t, uint64_t value, struct server *s);
struct server *sticky_table_find(const struct sticky_table *t, uint64_t value); /* NULL: none */
