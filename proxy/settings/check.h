/*
 * What a pool says of its checks, from the tree into the snapshot.
 */
#pragma once

#include "proxy/settings/build.h"

/* `health` of this pool: p->check and p->agent. */
void check_build(struct builder *b, const struct conf_node *pool, struct pool *p);
/* The same is asked in the same rhythm. */
bool check_same(const struct check_conf *a, const struct check_conf *b);
