/*
 * The leases of registered servers beyond the life of a process: on disk, as
 * STATE_DIR/registrations.json, and from the one that is replaced by a new binary to that one. They
 * say until when they hold by the wall clock; one whose time is over is not taken up again.
 *
 * A change is written within a tenth of a second, a renewal within a quarter of its lease: so often
 * is there a word from each, and a crash in between costs nobody the whole of it. A disk that takes
 * nothing changes nothing for what runs: it is said, and tried again. A file that makes no sense is
 * set aside and said. Main thread.
 */
#pragma once

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>

#include "shared/err.h"
#include "shared/span.h"

/* While a new binary takes over, and after. */
enum leases_owner {
	LEASES_OURS,
	LEASES_IN_TRANSIT, /* one of two processes has them: nothing may change */
	LEASES_THEIRS,	   /* another process has them: nothing lapses any more */
};

struct leases;
struct leases_options {
	struct ev_loop *loop;
	const char *state_dir; /* borrows */
	json_t *left;	       /* by the process before; shares. NULL: what is on disk */
	enum leases_owner owner;
	void *ctx;
	/* All there are now: {POOL: {SERVER: {...}}} (registry_json()); owned. */
	json_t *(*gather)(void *ctx);
};
/* NULL with err: out of memory or threads. */
struct leases *leases_new(const struct leases_options *o, struct err *err);
void leases_free(struct leases *l); /* waits until the last of it is on disk */
/* What was left for this pool, {SERVER: {...}}, once; owned, or NULL. */
json_t *leases_take(struct leases *l, struct span pool);
/* There is something else to be written, within this time. */
void leases_touch(struct leases *l, uint64_t within_ns);
/* Writes what is not written yet: while gather still knows them. */
void leases_flush(struct leases *l);
void leases_set_owner(struct leases *l, enum leases_owner owner);
enum leases_owner leases_owner(const struct leases *l);
