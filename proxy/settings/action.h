/*
 * What a route does with a request beyond handing it to one pool as it is: who may come at all,
 * which of several pools, another path, host or fields, or an answer of our own. A route without
 * any of it has no action (NULL), and then none of it costs anything. Immutable once built. Pure.
 */
#pragma once

#include "proxy/settings/settings.h"
#include "proxy/settings/template.h"
#include "shared/rng.h"

struct choice { /* one of several pools */
	const struct pool *pool;
	uint32_t below; /* of action.shares: a number drawn lower than this, and not before, is its
			 */
	struct timeouts timeouts;
};

struct field_value {
	struct span name;
	struct template value;
};

/* Of the fields of a head: those that go, and those that come. */
struct field_edits {
	const struct span *gone; /* what is removed, and what is set anew */
	unsigned gone_count;
	const struct field_value *put;
	unsigned put_count;
};

struct rewrite {
	bool has_path; /* path takes the place of the whole path */
	struct template path;
	struct span strip_prefix, add_prefix; /* empty: none */
	const struct regex *replace;	      /* its first match becomes `with`; NULL: none */
	struct template with;
	struct span host; /* empty: as it came */
	struct field_edits request, response;
};

struct own_answer { /* that a route gives */
	uint16_t status;
	bool is_redirect;
	struct template location; /* of a redirect */
	struct span fields;	  /* ready lines */
	struct span content_type, content;
};

struct action {
	struct access access;
	const struct match *match;	 /* the route's own, for its groups */
	const struct own_answer *answer; /* NULL: a server answers */
	const struct choice *choices;	 /* none: the route's pool */
	unsigned choice_count;
	uint32_t shares;	       /* of all choices */
	const struct rewrite *rewrite; /* NULL: nothing */
};

/* Deny comes first; then, where there is an allow list, only who is on it. */
bool access_allows(const struct access *a, const struct addr *client);

/* By their shares. */
const struct choice *action_choose(const struct action *a, struct rng *rng);

#define ACTION_PATH_MAX 8192 /* of a target that we make: path, "?" and query */
/*
 * The target as the server is to have it, written to out (ACTION_PATH_MAX bytes, which ask->path
 * and ask->query may be in): made normal again, so that nothing can be put together that would not
 * have been let in. 0, or the status to answer with.
 */
uint16_t action_rewrite_path(const struct action *a, const struct route_ask *ask,
	enum http_path_mode mode, char *out, struct span *ret_path, struct span *ret_query);
/* Where a redirect goes; 0: it does not fit, or the request names no host. */
size_t action_location(const struct action *a, const struct route_ask *ask, char *out, size_t size);
/* Marks the fields of h that are not to be passed on, and writes the lines that come: their bytes,
 * or -1 when they do not fit. */
int action_edit_fields(const struct action *a, const struct field_edits *edits,
	const struct route_ask *ask, struct http_head *h, char *out, size_t size);
