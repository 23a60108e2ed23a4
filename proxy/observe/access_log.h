/*
 * The access log: one line an exchange, JSON or combined. Each worker formats into a buffer of its
 * own and writes it out in one go, when it is full or 100 ms old. A disk that is full loses lines,
 * which are counted and said, and never delays a request.
 */
#pragma once

#include <ev.h>

#include "proxy/settings/settings.h"

struct worker;
struct exchange;
struct access_log;

/* Makes, re-targets or removes *log so that it is what the settings ask for. */
void access_log_apply(struct worker *w, struct access_log **log, const struct settings *s);
void access_log_exchange(struct access_log *log, const struct exchange *x);
void access_log_flush(struct access_log *log);
/* Opens its file again, after a rotation. */
void access_log_reopen(struct access_log *log);
void access_log_free(struct access_log *log); /* NULL is fine */
/* Whether the file could be written to: checked before a configuration is taken. */
int access_log_check(const char *file, struct err *err);
