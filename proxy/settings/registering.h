/*
 * Who may register servers in a pool, as the snapshot has it.
 */
#pragma once

#include "shared/conf.h"

struct register_conf {
	bool on;
	uint8_t token_sha256[32];
	uint64_t lease_ns; /* where a server does not say another */
};

/* What is wrong with the token's file goes to the report. */
void registering_build(
	struct register_conf *r, const struct conf_node *pool, struct conf_report *report);
