/*
 * Asks DNS servers, on the main loop. The only home of c-ares, which sends and sends again, goes
 * over to TCP after a truncated answer and to the next server after a silent one. Names are asked
 * for as they are, without the search list.
 *
 * Without servers of our own those of /etc/resolv.conf are asked, and /etc/hosts is looked at
 * first; changes of that file are noticed.
 */
#pragma once

#include <ev.h>

#include "proxy/discover/dns_answer.h"

#define RESOLVER_RECORDS_MAX 256 /* of an answer; the rest is left out */

struct resolver_result {
	enum dns_verdict verdict;
	const struct dns_record *records; /* borrows for the call */
	unsigned count, dropped;
	uint32_t ttl_s;
	const char *why; /* when failed, in words; valid during the call */
};

struct resolver;
/* Servers: none for the system's. NULL with err. */
struct resolver *resolver_new(
	struct ev_loop *loop, const struct addr *servers, unsigned count, struct err *err);
void resolver_free(struct resolver *r); /* nobody is called any more */
/* Other servers from now on; what is being asked fails and can be asked again. The same ones:
 * nothing. -1 with err: those before go on. */
int resolver_set_servers(
	struct resolver *r, const struct addr *servers, unsigned count, struct err *err);

/* A question that is out. on_result is called once, never from within resolver_ask(), unless it is
 * cancelled before. NULL: out of memory. */
struct resolver_query;
struct resolver_query *resolver_ask(struct resolver *r, const char *name, enum dns_type type,
	void (*on_result)(void *ctx, const struct resolver_result *result), void *ctx);
void resolver_cancel(struct resolver_query *q); /* NULL is fine */
