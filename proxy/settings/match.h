/*
 * What a route wants of a request beyond host, plain path and method: conditions, all of which must
 * hold. Immutable once built; a look at them allocates nothing. Pure.
 *
 * A value is compared as it came, byte by byte: a header's with each line of that name, a cookie's
 * and a query parameter's without undoing any escapes. A media type is compared without its
 * parameters, and it and an upgrade's protocol without regard to case.
 */
#pragma once

#include "proxy/http/http1.h"
#include "proxy/settings/arena.h"
#include "proxy/settings/regex.h"
#include "shared/addr.h"

struct route;

/* A request as routes look at it. */
struct route_ask {
	const struct http_head *head;
	struct span host;	   /* as in Host, without port, any case */
	struct span path, query;   /* made normal; query.ptr NULL: there is none */
	const struct addr *client; /* behind the proxies that are trusted */
	struct span location;	   /* of the client; empty: not known */
	struct span scheme;	   /* "http" or "https" */
	struct regex_room *room;   /* of this thread */
	/* The last route whose regular expression gave up on this request; NULL: none. */
	const struct route *gave_up;
};

/* In the order in which they are looked at: the cheap ones first. Name, word in the file. */
#define CONDITIONS(X)                   \
	X(UPGRADE, "upgrade")           \
	X(CLIENT, "client")             \
	X(LOCATION, "location")         \
	X(CONTENT_TYPE, "content_type") \
	X(HEADER, "header")             \
	X(COOKIE, "cookie")             \
	X(QUERY, "query")               \
	X(PATH, "path")
enum condition_kind {
#define X(name, word) CONDITION_##name,
	CONDITIONS(X)
#undef X
};
const char *condition_word(enum condition_kind kind);

struct wanted {			   /* one of the values that will do */
	struct span text;	   /* as written in the file */
	const struct regex *regex; /* NULL: this very text */
};

struct condition {
	enum condition_kind kind;
	enum http_field_id field;    /* of HEADER */
	struct span name;	     /* of HEADER, COOKIE, QUERY */
	const struct wanted *wanted; /* none: any value at all */
	unsigned wanted_count;
	const struct cidr *networks; /* of CLIENT */
	unsigned network_count;
};

struct match {
	const struct condition *conditions;
	unsigned count;
};

/* False for the first condition that fails: *ret_failed (may be NULL). A regular expression that
 * gives up sets *ret_gave_up, and fails. */
bool match_holds(const struct match *m, const struct route_ask *ask,
	const struct condition **ret_failed, bool *ret_gave_up);
/* Does each request that `narrow` takes satisfy `wide`? True is certain, false may be a "who
 * knows". */
bool match_implies(const struct match *narrow, const struct match *wide);
/* The groups of the regular expression for the path; false: there is none, or it does not match. */
bool match_captures(const struct match *m, const struct route_ask *ask, struct captures *ret);
/* "header x-beta is none of 'yes', '1'", for people. */
void condition_describe(const struct condition *c, char *out, size_t size);
