/*
 * How a pool's number of servers follows its load, as the snapshot has it.
 */
#pragma once

#include "proxy/pool/scaling.h"
#include "shared/conf.h"

/* Of a pool's checked tree; max is 0 where nothing is said. */
void scale_build(struct scaling_conf *c, const struct conf_node *pool);
