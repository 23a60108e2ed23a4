/*
 * Sends alerts to where people read them: JSON by HTTP POST, from a thread of its own, since names
 * must be resolved, connections made and answers waited for. The only home of libcurl.
 *
 * One after the other, in order; each has ten seconds, and three more tries when the other side
 * cannot be reached, answers 5xx or 429. What is given up is logged. At most 64 wait.
 */
#pragma once

#include "shared/err.h"

#define WEBHOOK_WAITING_MAX 64
#define WEBHOOK_URL_MAX 1024
#define WEBHOOK_BODY_MAX 4096

struct webhook;

struct webhook *webhook_new(struct err *err);
/* What waits is dropped; what is being sent is given two seconds. */
void webhook_free(struct webhook *w);
/* Copies both. -1 with err: too many wait, too long, or memory is short. */
int webhook_post(struct webhook *w, const char *url, const char *json, struct err *err);
