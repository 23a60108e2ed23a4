/*
 * The admin address as the snapshot has it.
 */
#pragma once

#include "shared/addr.h"
#include "shared/conf.h"

struct admin_conf {
	struct addr *binds;
	unsigned bind_count; /* 0: there is no admin address */
	struct cidr *allow;
	unsigned allow_count; /* 0: everybody */
};

/* root: of a checked tree. -1: out of memory; admin_fini() is for the caller in any case. */
int admin_build(struct admin_conf *a, const struct conf_node *root);
void admin_fini(struct admin_conf *a);
