/*
 * The PROXY protocol, versions 1 and 2, as HAProxy's proxy-protocol.txt has it: what a proxy says
 * in front of a connection about whose it is. Pure: bytes in, values out, and back.
 *
 * Nothing is repaired: a header that is not exactly as the text says is refused, and with it the
 * connection.
 */
#pragma once

#include "proxy/http/http1.h"
#include "shared/addr.h"

#define PROXY_HEADER_MAX (16 * 1024) /* of version 2 with all its TLVs; a longer one is refused */

struct proxy_header {
	/* False: LOCAL, UNKNOWN or UNSPEC, or not TCP over IP: the connection's own addresses hold.
	 */
	bool has_addresses;
	struct addr source, destination;
};

/*
 * Parses the header at the start of `in`. PARSE_DONE: it is the first *ret_bytes. PARSE_MORE: all
 * of `in` belongs to it, and it is at least *ret_bytes long. PARSE_BAD: *ret_why says why.
 */
enum parse_rc proxy_header_parse(
	struct span in, struct proxy_header *ret_header, size_t *ret_bytes, const char **ret_why);

enum proxy_version { PROXY_NONE, PROXY_V1, PROXY_V2 };

#define PROXY_HEADER_OUT_MAX 108

/* The header for a connection between these two; a NULL source: our own, such as a check's. What
 * are not two addresses of one family is said as IPv6. Returns its length. */
size_t proxy_header_write(char out[PROXY_HEADER_OUT_MAX], enum proxy_version version,
	const struct addr *source, const struct addr *destination);
