/*
 * The access log: one line an exchange, JSON or combined. Each worker formats into a buffer of its
 * own and writes it out when it is full or 100 ms old: a file in one go, a pipe, a socket or a
 * terminal in pieces of whole lines, since other workers write there, too. A disk that is full and
 * a reader that stands still lose lines, which are counted and said, and never delay a request.
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
