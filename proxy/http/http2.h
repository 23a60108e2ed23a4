/*
 * Heads of HTTP/2 as values: fields in, a struct http_head out, and lists of fields for the next
 * hop (RFC 9113 8). Frames, HPACK and streams are nghttp2's (net/h2.c); this knows neither. Pure:
 * no I/O, no clock, no allocation.
 *
 * The fields of a head are kept in the caller's buffer as lines ("name: value" CRLF), pseudo-fields
 * before the others, so that what holds of a head from HTTP/1 holds of it too: it lies in front of
 * its content, moves with its buffer, is quoted in the same way when it is malformed, and what
 * passes to an HTTP/1 server is copied in runs. Nobody parses those lines.
 */
#pragma once

#include "proxy/http/http1.h"

struct http_pair {
	struct span name, value;
};
struct http_list { /* fields in order, pseudo-fields first */
	struct http_pair *pairs;
	unsigned count, max;
};
#define HTTP_LIST_MAX (HTTP_FIELDS_MAX + 24) /* a head's fields and ours */

enum http2_kind { HTTP2_REQUEST, HTTP2_RESPONSE, HTTP2_TRAILERS };

struct http2_reader {
	enum http2_kind kind;
	struct http_head *head; /* NULL for trailers */
	const struct http_limits *limits;
	uint32_t bytes; /* of text so far */
	uint16_t fields;
	uint8_t seen;		 /* pseudo-fields, as bits */
	bool regular;		 /* a field that is none of them has come */
	struct http_fault fault; /* the first; status 0: none. Fields after it are passed over */
};

/* head is made ready here. */
void http2_read_start(struct http2_reader *r, enum http2_kind kind, struct http_head *head,
	const struct http_limits *limits);
/*
 * The next field. text[0, size) is the buffer, whose beginning the lines so far fill (r->bytes).
 * False: it is too small; call again with a larger one that begins with the same lines (after
 * http_head_move()). Bytes that could make two messages of one are a fault: nothing is repaired.
 */
bool http2_read_field(
	struct http2_reader *r, char *text, size_t size, struct span name, struct span value);
/*
 * The head is complete; ends: so is the message with it. request_method is for a response. DONE:
 * head->head_bytes says where content begins, behind the lines. BAD: r->fault says why. Of trailers
 * the text is what http1_write_last_chunk() and http2_list_trailers() take.
 */
enum parse_rc http2_read_end(
	struct http2_reader *r, char *text, bool ends, enum http_method request_method);
/* So many bytes beyond the lines the buffer must have. */
#define HTTP2_READ_SPARE 2

/* What http1_write_request() and its kin write, as lists. room is for what the list cannot borrow
 * from the head. -1: one of the two is too small. */
int http2_list_request(struct http_list *list, char *room, size_t size, const struct http_head *h,
	const struct http1_request_out *o);
int http2_list_response(struct http_list *list, char *room, size_t size, const struct http_head *h,
	const struct http1_response_out *o);
int http2_list_trailers(struct http_list *list, char *room, size_t size, struct span trailers);
