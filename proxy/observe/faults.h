/*
 * The last malformed requests and responses of a worker, for `tandemctl errors`: who sent them,
 * what was wrong, and where (observe/excerpt.h says what is shown of them). A ring of 16 for either
 * side. What comes faster than 100 a second is counted, and not looked at: a flood of rubbish costs
 * no more for being shown.
 *
 * The worker writes, the main thread reads: under a lock, which no request takes that is good.
 */
#pragma once

#include <jansson.h>
#include <pthread.h>

#include "proxy/http/http1.h"
#include "proxy/observe/excerpt.h"
#include "shared/addr.h"
#include "shared/units.h"

#define FAULTS_KEPT 16
#define FAULTS_BURST 16			  /* looked at in a row, */
#define FAULTS_REFILL_NS (10 * NS_PER_MS) /* and one more each so often */

enum fault_side { FAULT_REQUEST, FAULT_RESPONSE, FAULT_SIDES };

struct fault_entry {
	uint64_t time_ns; /* of the wall clock */
	enum excerpt_kind part;
	uint16_t status; /* answered, where an answer was possible */
	uint64_t at;	 /* offset in the head; or bytes of content before it */
	const char *why; /* static */
	char place[128]; /* the listener's name, or pool/server */
	char peer[ADDR_TEXT_MAX];
	struct excerpt_line request; /* of a response: what it was to answer */
	struct excerpt excerpt;
};

struct fault_ring {
	uint64_t total;	   /* that came */
	uint64_t recorded; /* of these; the n-th is kept[n % FAULTS_KEPT] */
	struct fault_entry kept[FAULTS_KEPT];
};

struct fault_log {
	pthread_mutex_t lock;
	struct fault_ring sides[FAULT_SIDES];
	uint64_t spent_ns; /* the worker's own: when its allowance is whole again */
};

struct exchange;

void fault_log_init(struct fault_log *l);
void fault_log_fini(struct fault_log *l);
/* bytes: the head, or what of the content is in hand, from the byte that fault->at counts from. */
void fault_note(struct exchange *x, enum fault_side side, enum excerpt_kind part, struct span bytes,
	const struct http_fault *fault);
/* What all workers saw, the oldest first; any thread; NULL when out of memory. */
json_t *fault_logs_json(struct fault_log *const *logs, unsigned count);
