/*
 * A small file in the state directory that holds the latest of something: written whole to a
 * temporary file, synced, renamed, and the directory synced, so that a crash leaves the old content
 * or the new. Syncing may take a second on a busy disk, which an event loop cannot wait for: a
 * thread does it. What is put while it writes replaces what waits, for only the latest counts.
 */
#pragma once

#include <ev.h>
#include <stdint.h>

#include "shared/err.h"
#include "shared/span.h"

#define STATE_FILE_MAX (16 << 20)

struct state_file;
/* on_written: on the loop, after each attempt; number is state_file_put's of what it was, failed is
 * NULL when it is on the disk. */
struct state_file *state_file_new(struct ev_loop *loop, const char *dir, const char *name,
	void *ctx, void (*on_written)(void *ctx, uint64_t number, const struct err *failed),
	struct err *err);
/* Waits until what was put last is written, or has failed; on_written is not called any more. */
void state_file_free(struct state_file *f);
/* Takes text (malloc'ed). Returns its number, from 1. */
uint64_t state_file_put(struct state_file *f, char *text, size_t len);

/* --- before the loop runs; these wait for the disk ----------------------------------------------
 */
/* Its content, owned; NULL with *ret_len 0 when there is none. -1 with err. */
int state_file_read(
	const char *dir, const char *name, char **ret_text, size_t *ret_len, struct err *err);
int state_file_write(const char *dir, const char *name, struct span text, struct err *err);
/* A file that makes no sense is kept beside, as NAME.bad, for who wants to look. */
int state_file_set_aside(const char *dir, const char *name, struct err *err);
