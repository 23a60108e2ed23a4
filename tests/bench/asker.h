/*
 * The clients of the load: connections that ask the proxy, closed loop (each asks again as soon as
 * it was answered) or open loop (requests are due at the random times of a Poisson process, whether
 * or not earlier ones were answered; a latency counts from when the request was due, so that a
 * stall of the proxy is charged to every request that it delayed).
 *
 * An answer counts only with status 200 and exactly as many bytes as its Content-Length says. Lives
 * in the epoll loop of whoever opens it; knows nothing about the time but what monotonic_ns() says.
 */
#pragma once

#include <stdbool.h>

#include "tests/bench/histogram.h"

struct asker_plan {
	uint16_t port;	      /* the proxy, on 127.0.0.1 */
	unsigned connections; /* opened when first needed, and kept */
	unsigned parallel;    /* closed loop: requests under way at a time; at most connections */
	const char *path;     /* borrowed */
	uint64_t post_bytes;  /* 0: GET */
	unsigned hosts;	      /* above 0: Host is h0.example to h<hosts-1>.example, at random */
	bool fresh;	      /* a connection a request */
	bool hold;	      /* a connection is used once and stays open */
	uint64_t rate_per_s;  /* 0: closed loop */
};

/* One run: it ends with the last answer after `count` requests (if > 0) or `duration_ns` (if > 0).
 */
struct asker_run {
	uint64_t count, duration_ns;
	uint64_t patience_ns; /* after this it ends anyway, and what is not answered is lost */
};

struct asker_result {
	uint64_t answered, failed, lost; /* lost: due, and never answered */
	uint64_t body_bytes;		 /* of answers */
	uint64_t elapsed_ns;
	uint64_t reopened;  /* kept connections that the proxy closed while they were idle */
	const char *reason; /* of the last failure, static; or NULL */
	char answer[64];    /* ... with the beginning of an answer that we did not like */
	struct histogram latency_ns;
	struct histogram lag_ns; /* how late we ourselves noticed that a request was due */
};

struct asker;

/* Returns owned, or NULL with errno; lives until the process ends. */
struct asker *asker_new(int epoll, const struct asker_plan *plan);
/* Carries the whole epoll loop until the run has ended. Polls, so that nobody pays for waking us.
 */
void asker_run(struct asker *a, const struct asker_run *run, struct asker_result *ret_result);
