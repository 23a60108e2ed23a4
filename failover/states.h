/*
 * Documents that the proxies of a pair share through their agents: one of each kind, the newest.
 * What is in them is the business of the feature that owns the kind; here they are opaque. As JSON,
 * on all ways alike: {"kind", "version": {"value", "who", "when"}, "doc"}. Owner's thread; no
 * clock, no file.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "shared/err.h"

#define STATES_MAX 32
#define STATES_KIND_MAX 32	    /* with its NUL, as who */
#define STATES_TEXT_MAX (56 * 1024) /* as text; a line over the sockets holds 64 KiB */

struct state {
	char kind[STATES_KIND_MAX];
	uint64_t value, when_ms;
	char who[64];
	json_t *json; /* all of it, as above */
};

struct states {
	struct state list[STATES_MAX];
	unsigned count;
};

void states_init(struct states *s);
void states_fini(struct states *s);

enum states_rc { STATES_NEWER, STATES_KNOWN, STATES_REFUSED };
/*
 * Keeps it (a reference) if it is newer than what is there: by value, then when, then who. Then
 * *ret_index says where. REFUSED with err: it has another shape, is too large, or is of one kind
 * too many.
 */
enum states_rc states_put(
	struct states *s, const json_t *json, unsigned *ret_index, struct err *err);
