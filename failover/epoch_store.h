/*
 * Keeps each group's epoch on disk: STATE_DIR/epoch-GROUP, one decimal number. Written to a
 * temporary file, synced, renamed, and the directory synced, so that a crash leaves the old number
 * or the new one.
 *
 * Syncing may take a second on a busy disk, and a heartbeat cannot wait: a thread of its own does
 * it, and the results come back on the agent's loop, in order. Nothing else runs on that thread.
 */
#pragma once

#include <ev.h>
#include <stdint.h>

#include "shared/err.h"

#define EPOCH_JOBS_MAX 64
#define EPOCH_GROUP_MAX 64

struct epoch_result {
	char group[EPOCH_GROUP_MAX];
	uint64_t epoch;
	int failed; /* then err says why */
	struct err err;
};

struct epoch_store;

/* on_result runs on the loop, once for each epoch_store_put that was taken. */
struct epoch_store *epoch_store_new(struct ev_loop *loop, const char *dir, void *ctx,
	void (*on_result)(void *ctx, const struct epoch_result *result), struct err *err);
/* Waits for what is being written. Results not yet delivered are lost. */
void epoch_store_free(struct epoch_store *s);
/* -1: too many are waiting. */
int epoch_store_put(struct epoch_store *s, const char *group, uint64_t epoch, struct err *err);
/* What the disk says; 0 when there is no file. -1 with err when it cannot be read or makes no
 * sense. */
int epoch_store_get(
	const struct epoch_store *s, const char *group, uint64_t *ret_epoch, struct err *err);
