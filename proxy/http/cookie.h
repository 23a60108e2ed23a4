/*
 * The pairs of a request's Cookie fields (RFC 6265 5.4). Pure; nothing is unquoted or decoded.
 */
#pragma once

#include "proxy/http/http1.h"

/* Takes the next pair ("a=1", without blanks around it) off the front of a Cookie field's value.
 * False: there is none left. */
bool http_cookie_next(struct span *list, struct span *ret_pair);
/* Has this pair the name? Then *ret_value is what it says. */
bool http_cookie_is(struct span pair, struct span name, struct span *ret_value);
/* The value of the first cookie of that name; ptr NULL: there is none. */
struct span http_cookie_find(const struct http_head *h, struct span name);
