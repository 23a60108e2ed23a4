/*
 * HTTP/1 as bytes in, values out: head parsing in place, body framing, and the writing of heads for
 * the next hop (RFC 9110, RFC 9112). Pure: no I/O, no clock, no allocation.
 *
 * Nothing is repaired. What two parsers could read in two ways is refused with the status to
 * answer, a reason and the place; the caller answers and closes.
 */
#pragma once

#include "shared/span.h"

enum parse_rc { PARSE_DONE, PARSE_MORE, PARSE_BAD };

/* clang-format off */
#define HTTP_METHODS(X) \
	X(GET, "GET") X(HEAD, "HEAD") X(POST, "POST") X(PUT, "PUT") X(DELETE, "DELETE") \
	X(OPTIONS, "OPTIONS") X(PATCH, "PATCH") X(CONNECT, "CONNECT") X(TRACE, "TRACE") X(OTHER, "")
/* clang-format on */
enum http_method {
#define X(name, text) HTTP_##name,
	HTTP_METHODS(X)
#undef X
};

/* Fields that Tandem itself reads, sets or strips; everything else is HTTP_F_OTHER. */
/* clang-format off */
#define HTTP_FIELDS(X) \
	X(OTHER, "") X(HOST, "host") X(CONNECTION, "connection") X(CONTENT_LENGTH, "content-length") \
	X(TRANSFER_ENCODING, "transfer-encoding") X(TE, "te") X(TRAILER, "trailer") \
	X(UPGRADE, "upgrade") X(KEEP_ALIVE, "keep-alive") X(PROXY_CONNECTION, "proxy-connection") \
	X(PROXY_AUTHENTICATE, "proxy-authenticate") X(PROXY_AUTHORIZATION, "proxy-authorization") \
	X(EXPECT, "expect") X(VIA, "via") X(DATE, "date") X(FORWARDED, "forwarded") \
	X(X_FORWARDED_FOR, "x-forwarded-for") X(X_FORWARDED_PROTO, "x-forwarded-proto") \
	X(X_FORWARDED_HOST, "x-forwarded-host") X(X_FORWARDED_PORT, "x-forwarded-port") \
	X(X_REQUEST_ID, "x-request-id") X(CONTENT_TYPE, "content-type") X(COOKIE, "cookie") \
	X(AUTHORIZATION, "authorization") X(USER_AGENT, "user-agent") X(REFERER, "referer") \
	X(RETRY_AFTER, "retry-after") X(SET_COOKIE, "set-cookie") \
	X(X_CLIENT_CERT, "x-client-cert-") /* and all that begin so */ \
	X(X_FORWARDED, "x-forwarded-") /* and all that begin so but the four above */ \
	X(STRICT_TRANSPORT_SECURITY, "strict-transport-security")
/* clang-format on */
enum http_field_id {
#define X(name, text) HTTP_F_##name,
	HTTP_FIELDS(X)
#undef X
		HTTP_F_COUNT
};

struct http_field {
	struct span name, value; /* as received; value without white space around it */
	uint8_t id;		 /* enum http_field_id */
	bool nominated; /* not to be forwarded: named by a Connection field, or a look-alike
			 * (X_Forwarded_For) of a field that we set */
};

/* How the end of the content is known (RFC 9112 6.3). */
enum http_framing { HTTP_NO_BODY, HTTP_LENGTH, HTTP_CHUNKED, HTTP_UNTIL_CLOSE };

#define HTTP_FIELDS_MAX 128 /* the hard limit; http_limits.fields is the configured one */

struct http_limits {
	uint32_t line_bytes; /* request line: 414; default 8 KiB */
	uint32_t head_bytes; /* whole head: 431, for responses 502; default 32 KiB (response 40 KiB)
			      */
	uint32_t field_bytes; /* one field line: 431; default 16 KiB */
	uint16_t fields;      /* number of fields: 431; default 100 */
};

struct http_fault {
	uint16_t status; /* to answer; 502 for a response */
	uint32_t at;	 /* offset in the head or body input where it was seen */
	const char *why; /* static, for the log: "two Content-Length fields" */
};

/*
 * A parsed head. All spans borrow from the bytes given to the last parse call. About 5 KiB: one
 * lives only as long as its exchange. Spans of `target`: in absolute-form the path and query only;
 * authority form (CONNECT) and "*" as they are.
 */
struct http_head {
	/* request */
	enum http_method method;
	struct span method_text, target;
	struct span authority; /* Host's value (or that of absolute-form, which must agree); may be
				  empty in 1.0 */
	bool absolute_form;
	/* response */
	uint16_t status;
	struct span reason;
	/* both */
	uint8_t minor; /* HTTP/1.x: 0, or 1 for 1 and above; 1 also in HTTP/2 */
	bool h2;       /* of HTTP/2 (http2.h) */
	bool extended; /* its CONNECT with a :protocol (RFC 8441), which `upgrade` is: read as the
			* GET that it would be in HTTP/1 */
	enum http_framing framing;
	uint64_t length; /* HTTP_LENGTH; also what HEAD or 304 said, when has_length */
	bool has_length;
	bool keep_alive;      /* the sender's wish after Connection and version; false where framing
				 forbids */
	bool expect_continue; /* Expect: 100-continue in a 1.1 request that has content */
	bool te_trailers;     /* TE: trailers */
	/* Upgrade's value when Connection: upgrade is there too; else empty. Never h2c: nothing may
	 * speak HTTP/2 through us where we cannot see it. */
	struct span upgrade;
	uint32_t head_bytes; /* length of the whole head, set when DONE; content starts there */
	uint16_t field_count;
	/* index + 1 of the first field of each known id; 0: not there */
	uint8_t first[HTTP_F_COUNT];
	uint64_t repeated; /* bit per known id: came more than once */
	/* The parser's own place, for resuming. base is NULL where the fields are not lines of one
	 * text, ragged is set where there are blanks after a value: the writers then put the fields
	 * one by one, and do not copy runs of whole lines. */
	uint32_t at, scanned;
	const char *base;
	bool ragged;
	struct http_field fields[HTTP_FIELDS_MAX];
};

/* Makes ready for a new head; does not touch the field array. */
void http_head_init(struct http_head *h);
/* The bytes that the head borrows lie at `to` now. */
void http_head_move(struct http_head *h, const char *to);

/*
 * Parses the head at the start of `in`; call again with more bytes (the same ones first; they may
 * have moved) after MORE. In total linear in the head's size. Empty lines before a request line are
 * skipped (RFC 9112 2.2). On DONE h->head_bytes says where content begins.
 */
enum parse_rc http1_parse_request(struct http_head *h, struct span in,
	const struct http_limits *limits, struct http_fault *ret_fault);
/* request_method: what was asked, since HEAD and CONNECT change the framing. */
enum parse_rc http1_parse_response(struct http_head *h, struct span in,
	const struct http_limits *limits, enum http_method request_method,
	struct http_fault *ret_fault);

/* Is every protocol that a 101's Upgrade names (one at least) among those that the request's asked
 * for? Case does not count. */
bool http_upgrade_agrees(struct span asked, struct span named);
/* For how many seconds the sender says (Keep-Alive: timeout=5) that it keeps the connection when it
 * is idle; of several the least. False: it says nothing that can be read. */
bool http_keep_alive_timeout(const struct http_head *h, uint64_t *ret_s);
#define HTTP_KEEP_ALIVE_MAX_S 31536000 /* more is nonsense */
/* Has one name only this id? */
static inline bool http_id_names_one(enum http_field_id id)
{
	return id != HTTP_F_OTHER && id != HTTP_F_X_CLIENT_CERT && id != HTTP_F_X_FORWARDED;
}
/* Is this the field of that name, of which `id` is the id? */
static inline bool http_field_is(
	const struct http_field *f, enum http_field_id id, struct span name)
{
	return f->id == id && (http_id_names_one(id) || span_ieq(f->name, name));
}
const struct http_field *http_field_find(const struct http_head *h, enum http_field_id id);
/* What a proxy before us, if it is to be trusted, calls the request; empty: nothing. */
static inline struct span http_request_id_given(const struct http_head *h)
{
	unsigned n = h->first[HTTP_F_X_REQUEST_ID];

	return n ? h->fields[n - 1].value : (struct span){0};
}
const char *http_reason(uint16_t status); /* "Bad Gateway"; "" when not known */
enum http_field_id http_field_id(struct span name);
/* NULL, or why the operator's file may not set or remove this field. */
const char *http_field_reserved(struct span name);

/* --- path ------------------------------------------------------------------------------------ */
enum http_path_mode { HTTP_PATH_NORMALIZE, HTTP_PATH_REJECT, HTTP_PATH_RAW };
/*
 * Splits an origin-form target (or "*") into path and query and applies the mode: dot segments and
 * escaped unreserved bytes are normalised, or refused, or left alone; %00, %2f, %5c, a backslash
 * and a broken escape in the path are refused unless RAW. The query is never touched. Already
 * normal: spans into target, nothing copied. Else written to out (size bytes, at least target.len).
 * ret_query->ptr is NULL where there is no '?'; else path, '?' and query lie side by side, so that
 * the target to send is path->ptr up to the end of the query. PARSE_DONE or PARSE_BAD.
 */
enum parse_rc http_path(struct span target, enum http_path_mode mode, char *out, size_t size,
	struct span *ret_path, struct span *ret_query, struct http_fault *ret_fault);

/* --- content --------------------------------------------------------------------------------- */
struct http1_body {
	enum http_framing framing;
	uint8_t state; /* of the chunk reader */
	uint8_t digits;
	uint16_t extension_bytes; /* of this chunk */
	uint32_t line, scanned;	  /* place in the trailer section */
	uint64_t left;		  /* of the content (LENGTH) or of this chunk */
	struct span
		trailers; /* after DONE of CHUNKED: the raw trailer lines, valid until `in` goes */
};
#define HTTP1_TRAILERS_MAX 8192	 /* the whole section, its empty line included: 431 */
#define HTTP1_EXTENSION_MAX 1024 /* the extensions of one chunk, which are dropped: 400 */

void http1_body_init(struct http1_body *b, enum http_framing framing, uint64_t length);
/*
 * One step: takes framing and at most one run of content from the front of `in`. *ret_data is a run
 * of content inside in (may be empty), *ret_used how many bytes of in are done with, data included.
 * MORE: call again with what follows (when used is 0: once there are more bytes; the trailer
 * section is taken only whole, so the buffer must be able to hold HTTP1_TRAILERS_MAX); DONE: the
 * content is complete, the rest of `in` is the next message's; BAD: ret_fault (400; the caller
 * makes it 502 for a response).
 */
enum parse_rc http1_body_next(struct http1_body *b, struct span in, size_t *ret_used,
	struct span *ret_data, struct http_fault *ret_fault);
/* How much of what follows is content and nothing else, whatever its bytes; 0: it must be looked
 * at. */
static inline uint64_t http1_body_opaque(const struct http1_body *b)
{
	return b->framing == HTTP_LENGTH	? b->left
	       : b->framing == HTTP_UNTIL_CLOSE ? UINT64_MAX
						: 0;
}
/* So many bytes, no more than that, have gone by unseen. */
enum parse_rc http1_body_skip(struct http1_body *b, uint64_t bytes);
/* The sender closed: DONE only where that ends the content (UNTIL_CLOSE), else BAD. */
enum parse_rc http1_body_eof(const struct http1_body *b);

/* --- writing --------------------------------------------------------------------------------- */
#define HTTP1_CHUNK_HEAD_MAX 18
/* "1f4\r\n" for a chunk of data_bytes > 0; returns its length. */
size_t http1_write_chunk_head(char out[HTTP1_CHUNK_HEAD_MAX], uint64_t data_bytes);
/* "0\r\n" + the trailers that may pass (no framing, authentication, routing names) + "\r\n"; 0 when
 * it does not fit. */
size_t http1_write_last_chunk(char *out, size_t size, struct span trailers);

struct http1_request_out {
	struct span target;    /* to send */
	struct span host;      /* Host's value to send */
	struct span client_ip; /* X-Forwarded-For; appended to the list that came when trusted */
	bool trusted;	       /* X-Forwarded-*, Forwarded and X-Request-Id that came in are kept */
	struct span fixed; /* ready lines, each with CRLF: X-Forwarded-Proto, X-Forwarded-Port (left
			    * out when trusted and the client sent its own) */
	struct span
		client_cert;	/* ready lines of what we know of it, which replace all that came */
	struct span request_id; /* sent unless a trusted one came */
	struct span via;	/* pseudonym; empty: no Via */
	struct span extra;	/* further ready lines; empty: none */
	struct span scheme;	/* HTTP/2: of the way to the server, "http" or "https" */
	bool upgrade;		/* forward Upgrade (with Connection: upgrade), or :protocol */
	struct span websocket;	/* a ready line of its handshake; mostly empty */
	struct span own_cookie; /* a cookie of ours, which the server is not shown; empty: none */
	enum http_framing framing;
	uint64_t length;
};
/*
 * The request's head for an HTTP/1.1 server: hop-by-hop fields taken out, ours put in. Returns the
 * bytes written, 0 when they do not fit.
 */
size_t http1_write_request(
	char *out, size_t size, const struct http_head *h, const struct http1_request_out *o);

struct http1_response_out {
	enum http_framing framing; /* towards the client */
	uint64_t length;
	bool has_length;       /* HEAD, 304: Content-Length is kept as information */
	bool keep_alive;       /* else Connection: close is said */
	uint8_t client_minor;  /* a 1.0 client that keeps alive is told so */
	bool upgrade;	       /* 101: Upgrade and Connection pass */
	struct span via;       /* empty: none */
	struct span date;      /* ready "Date: ...\r\n", used when the response has none */
	struct span hsts;      /* a ready line, used when the response has none; empty: none */
	struct span own;       /* ready lines of ours, each with CRLF; mostly empty */
	struct span websocket; /* a ready line of its handshake; mostly empty */
};
size_t http1_write_response(
	char *out, size_t size, const struct http_head *h, const struct http1_response_out *o);

/* UUIDv7 (RFC 9562 5.7) as 36 characters. */
void http_request_id(char out[36], uint64_t realtime_ms, uint64_t random_a, uint64_t random_b);
/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 5.6.7), 29 characters. */
void http_date(char out[29], uint64_t realtime_s);
