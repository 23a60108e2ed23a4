/*
 * The configuration that runs and the one that ran before it, as their files' texts, kept in
 * STATE_DIR/configuration.json: what a rollback goes back to, also after a restart. Main thread.
 */
#pragma once

#include <ev.h>
#include <jansson.h>

#include "proxy/settings/settings.h"

struct history;
/* A file that makes no sense is set aside, and said. NULL with err: out of memory or threads. */
struct history *history_new(struct ev_loop *loop, const char *state_dir, struct err *err);
void history_free(struct history *h);
/* This one runs now. */
void history_ran(struct history *h, const struct settings *s);
/* {hash, since, files: [names]} of the one before, owned; NULL: there is none. */
json_t *history_previous(const struct history *h);
/* Loads the one before, as conf_load() does. NULL with err: there is none, or out of memory. */
struct conf *history_load(const struct history *h, struct conf_report *report, struct err *err);
