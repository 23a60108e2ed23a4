/*
 * The listeners' certificates as people see them: in status, in the log, and among the conditions
 * that the agent alerts of. Main thread.
 */
#pragma once

#include <jansson.h>

#include "proxy/settings/settings.h"

/* Whoever has to do something is told when so many days are left, and when there are none. */
#define CERTS_STAGES(X) X(30) X(14) X(7) X(0)
#define CERTS_LOOK_S 3600.0

/* [{names, file, not_after, days_left, key, listener}]; owned. */
json_t *certs_status(const struct settings *s);
/* A line for each that is near its end. since_s: only where that is news since then; 0: all. */
void certs_log(const struct settings *s, int64_t since_s);
/* For each certificate and each of the stages that it has reached. */
void certs_each_condition(const struct settings *s,
	void (*add)(json_t *list, const char *kind, const char *subject, const char *words),
	json_t *list);
