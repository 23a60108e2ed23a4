/*
 * A DNS message (RFC 1035) as values: what the answer section has of one type, and for how long.
 * Core: no I/O. Asking, matching answers to questions, TCP after a truncated answer and the choice
 * of a resolver are c-ares' part (resolver.h).
 */
#pragma once

#include "shared/addr.h"

#define DNS_NAME_MAX 256 /* with its NUL */

enum dns_type { DNS_A = 1, DNS_CNAME = 5, DNS_SOA = 6, DNS_AAAA = 28, DNS_SRV = 33 };

struct dns_record {
	struct addr addr; /* A, AAAA: without port */
	uint16_t priority, weight, port;
	char target[DNS_NAME_MAX]; /* SRV: without the last dot, in lower case; "" for the root */
};

enum dns_verdict {
	DNS_GOOD,     /* NOERROR; without records too */
	DNS_NXDOMAIN, /* there is no such name */
	DNS_FAILED    /* another code, or a message that cannot be read */
};

struct dns_answer {
	unsigned count;	  /* records */
	unsigned dropped; /* there was no room for */
	uint32_t ttl_s; /* the least of those used; of an empty answer what its SOA says; 0: nothing
			   says so */
	const char *why; /* DNS_FAILED: "SERVFAIL", "the message is cut short" */
};

/* Fills up to `room` records of `type`. */
enum dns_verdict dns_answer_read(struct span message, enum dns_type type,
	struct dns_record *records, unsigned room, struct dns_answer *ret_answer);
