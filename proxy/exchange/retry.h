/*
 * Whether a request that failed may be sent again: a pure decision about what failed, what may have
 * happened to the request at the server, and what the pool allows. Whether there is another server
 * and room in the budget is for the caller to see.
 */
#pragma once

#include "proxy/settings/settings.h"

enum retry_failure {
	RETRY_UNCONNECTED, /* no connection: nothing of the request left us */
	RETRY_WENT_STALE,  /* a kept connection, closed before any byte of an answer */
	RETRY_BROKE,	   /* closed or reset before the head of an answer */
	RETRY_TOO_SLOW,	   /* no answer in time */
	RETRY_STATUS,	   /* an answer that may be one of the listed */
};

struct retry_case {
	enum retry_failure failure;
	uint16_t status; /* for RETRY_STATUS */
	enum http_method method;
	bool sent;	 /* bytes of the request have left for that server */
	bool held;	 /* all of its content so far can be sent again */
	unsigned others; /* servers that it was tried at beside the first */
};

bool retry_allowed(const struct retry_conf *conf, const struct retry_case *what);
/* Whether content of such a request is worth holding once it was passed on: it might be sent again.
 */
bool retry_may_resend(const struct retry_conf *conf, enum http_method method);
/* What a further try after this failure is counted under. */
enum retry_word retry_reason(enum retry_failure failure, uint16_t status);
/* The bit of retry_conf.on for this status; 0: never tried again. */
unsigned retry_status_bit(uint16_t status);
