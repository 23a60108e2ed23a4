/*
 * The first message of a TLS client (RFC 8446 4.1.2, and the same in older versions), read without
 * ending the encryption: only for the name of the server that it wants (RFC 6066 3). Pure: bytes
 * in, values out.
 *
 * What is malformed is refused: two readers could see two names in it.
 */
#pragma once

#include "proxy/http/http1.h"

#define CLIENT_HELLO_MAX (16 * 1024)	  /* the message */
#define CLIENT_HELLO_WIRE_MAX (17 * 1024) /* with the records around it */

struct client_hello {
	struct span server_name; /* as sent, in room; empty: none */
};

/* The first byte, which is there, could be TLS's. */
bool client_hello_is_tls(struct span in);

/*
 * Parses the message at the start of `in`, which may lie in several records; room is for its bytes
 * without these. PARSE_MORE: at least *ret_bytes are needed. PARSE_BAD: *ret_why says why.
 */
enum parse_rc client_hello_parse(struct span in, char room[CLIENT_HELLO_MAX],
	struct client_hello *ret_hello, size_t *ret_bytes, const char **ret_why);
