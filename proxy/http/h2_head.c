/*
 * A head as HTTP/2 brings it, field by field (RFC 9113 8.2, 8.3). What nghttp2 has checked before
 * is checked again: what passes on as HTTP/1 must not rest on somebody else's options.
 */
#include "proxy/http/http2.h"

#include "proxy/http/h1_internal.h"

#define PSEUDO_FIELDS(X)           \
	X(METHOD, ":method")       \
	X(SCHEME, ":scheme")       \
	X(AUTHORITY, ":authority") \
	X(PATH, ":path")           \
	X(PROTOCOL, ":protocol")   \
	X(STATUS, ":status")
enum pseudo {
#define X(name, text) PSEUDO_##name,
	PSEUDO_FIELDS(X)
#undef X
		PSEUDO_COUNT
};
#define SEEN(name) (1u << PSEUDO_##name)
#define OF_REQUESTS (SEEN(METHOD) | SEEN(SCHEME) | SEEN(AUTHORITY) | SEEN(PATH) | SEEN(PROTOCOL))

/* What has no place in HTTP/2 (RFC 9113 8.2.2). */
#define FIELDS_OF_CONNECTIONS                                                          \
	(FIELD_BIT(CONNECTION) | FIELD_BIT(KEEP_ALIVE) | FIELD_BIT(PROXY_CONNECTION) | \
		FIELD_BIT(TRANSFER_ENCODING) | FIELD_BIT(UPGRADE))

void http2_read_start(struct http2_reader *r, enum http2_kind kind, struct http_head *head,
	const struct http_limits *limits)
{
	*r = (struct http2_reader){.kind = kind, .head = head, .limits = limits};
	if (!head)
		return;
	http_head_init(head);
	head->h2 = true;
	head->minor = 1;
}

static void bad(struct http2_reader *r, uint16_t status, const char *why)
{
	if (!r->fault.status)
		http_bad(&r->fault, status, r->bytes, why);
}

static bool is_name(struct span name)
{
	for (size_t i = 0; i < name.len; i++)
		if (!char_is(name.ptr[i], CHAR_TOKEN) || ascii_lower(name.ptr[i]) != name.ptr[i])
			return false;
	return name.len > 0;
}

static bool is_value(struct span value)
{
	return scan_portable(value.ptr, 0, value.len, CHAR_TEXT_STOP, true) == value.len &&
	       span_trim(value).len == value.len;
}

static enum pseudo pseudo_of(struct span name)
{
#define X(id, text)                    \
	if (span_eq(name, SPAN(text))) \
		return PSEUDO_##id;
	PSEUDO_FIELDS(X)
#undef X
	return PSEUDO_COUNT;
}

/* value lies in the text. */
static void pseudo_field(struct http2_reader *r, struct span name, struct span value)
{
	struct http_head *h = r->head;
	unsigned allowed = r->kind == HTTP2_REQUEST    ? OF_REQUESTS
			   : r->kind == HTTP2_RESPONSE ? SEEN(STATUS)
						       : 0;
	enum pseudo which = pseudo_of(name);

	if (r->regular) {
		bad(r, 400, "pseudo-field after other fields");
		return;
	}
	if (which == PSEUDO_COUNT || !(allowed & 1u << which)) {
		bad(r, 400, "pseudo-field that does not belong here");
		return;
	}
	if (r->seen & 1u << which) {
		bad(r, 400, "pseudo-field that is there twice");
		return;
	}
	r->seen |= (uint8_t)(1u << which);
	switch (which) {
	case PSEUDO_METHOD:
		h->method_text = value;
		h->method = http_method_of(value);
		break;
	case PSEUDO_AUTHORITY:
		h->authority = value;
		break;
	case PSEUDO_PATH:
		h->target = value;
		if (value.len > r->limits->line_bytes)
			bad(r, 414, "path too long");
		break;
	case PSEUDO_PROTOCOL:
		h->upgrade = value;
		break;
	case PSEUDO_STATUS:
		if (value.len != 3 || value.ptr[0] < '1' || value.ptr[0] > '9' ||
			value.ptr[1] < '0' || value.ptr[1] > '9' || value.ptr[2] < '0' ||
			value.ptr[2] > '9')
			bad(r, 400, "status that is not three digits");
		else
			h->status = (uint16_t)((value.ptr[0] - '0') * 100 +
					       (value.ptr[1] - '0') * 10 + value.ptr[2] - '0');
		break;
	case PSEUDO_SCHEME:
	case PSEUDO_COUNT:
		break;
	}
}

static void regular_field(struct http2_reader *r, struct span name, struct span value)
{
	struct http_head *h = r->head;
	struct http_field *f = &h->fields[h->field_count];
	unsigned id = http1_field_id(name);

	r->regular = true;
	if (field_in(id, FIELDS_OF_CONNECTIONS))
		bad(r, 400, "field of a connection, which HTTP/2 does not have");
	if (id == HTTP_F_TE && !SPAN_IS(value, "trailers"))
		bad(r, 400, "TE other than trailers");
	f->name = name;
	f->value = value;
	f->id = (uint8_t)id;
	f->nominated = http1_is_lookalike(name);
	h->field_count++;
	if (id == HTTP_F_OTHER)
		return;
	if (h->first[id])
		h->repeated |= UINT64_C(1) << id;
	else
		h->first[id] = (uint8_t)h->field_count;
}

/* Crumbs of a cookie are one again (RFC 9113 8.2.3): this one goes behind the first, and what came
 * in between makes room for it. The text has the room. */
static void join_crumb(struct http2_reader *r, char *text, struct span crumb)
{
	struct http_head *h = r->head;
	unsigned first = h->first[HTTP_F_COOKIE] - 1u;
	size_t at = (size_t)(h->fields[first].value.ptr - text) + h->fields[first].value.len;
	size_t more = crumb.len + 2;

	memmove(text + at + more, text + at, r->bytes - at);
	memcpy(text + at, "; ", 2);
	memcpy(text + at + 2, crumb.ptr, crumb.len);
	h->fields[first].value.len += more;
	for (unsigned i = first + 1; i < h->field_count; i++) {
		h->fields[i].name.ptr += more;
		h->fields[i].value.ptr += more;
	}
	r->bytes += (uint32_t)more;
}

/* What no line may be, and more of it than there may be. */
static void check(struct http2_reader *r, struct span name, struct span value)
{
	const struct http_limits *l = r->limits;
	bool pseudo = name.len && name.ptr[0] == ':';

	if (!is_name(pseudo ? span_from(name, 1) : name))
		bad(r, 400, "byte in a field name that is not a lower-case token's");
	else if (!is_value(value))
		bad(r, 400, "control byte in a value, or blank at its edge");
	else if (name.len + value.len + 2 > l->field_bytes && !pseudo)
		bad(r, 431, "field too long");
	else if (r->bytes + name.len + value.len + 4 + HTTP2_READ_SPARE > l->head_bytes)
		bad(r, 431, "head too long");
	else if (!pseudo &&
		 ++r->fields > (l->fields < HTTP_FIELDS_MAX ? l->fields : HTTP_FIELDS_MAX))
		bad(r, 431, "too many fields");
	else if (pseudo && r->kind == HTTP2_TRAILERS)
		bad(r, 400, "pseudo-field in trailers");
}

bool http2_read_field(
	struct http2_reader *r, char *text, size_t size, struct span name, struct span value)
{
	struct http_head *h = r->head;
	size_t line = name.len + value.len + 4;
	char *at = text + r->bytes;

	if (r->fault.status)
		return true;
	check(r, name, value);
	if (r->fault.status)
		return true;
	if (size - r->bytes < line + HTTP2_READ_SPARE) {
		r->fields -= name.ptr[0] != ':';
		return false;
	}
	if (h)
		h->base = text;
	if (h && name.ptr[0] != ':' && h->first[HTTP_F_COOKIE] && span_eq(name, SPAN("cookie"))) {
		join_crumb(r, text, value);
		h->at = h->scanned = r->bytes;
		return true;
	}
	memcpy(at, name.ptr, name.len);
	memcpy(at + name.len, ": ", 2);
	memcpy(at + name.len + 2, value.ptr, value.len);
	memcpy(at + line - 2, "\r\n", 2);
	r->bytes += (uint32_t)line;
	if (!h)
		return true;
	h->at = h->scanned = r->bytes;
	if (name.ptr[0] == ':')
		pseudo_field(r, span_make(at, name.len), span_make(at + name.len + 2, value.len));
	else
		regular_field(r, span_make(at, name.len), span_make(at + name.len + 2, value.len));
	return true;
}

/* The pseudo-fields that a request must have, and must not (RFC 9113 8.3.1, 8.5; RFC 8441 4). */
static void check_request(struct http2_reader *r)
{
	struct http_head *h = r->head;
	bool extended = r->seen & SEEN(PROTOCOL);

	if (!h->method_text.len || scan_portable(h->method_text.ptr, 0, h->method_text.len,
					   CHAR_TOKEN, false) != h->method_text.len)
		bad(r, 400, "no :method, or none that is a token");
	else if (h->method == HTTP_CONNECT && !extended) {
		if (r->seen & (SEEN(SCHEME) | SEEN(PATH)))
			bad(r, 400, "CONNECT with :scheme or :path");
		h->target = h->authority;
	} else if (extended && (h->method != HTTP_CONNECT || !(r->seen & SEEN(AUTHORITY))))
		bad(r, 400, ":protocol without CONNECT or :authority");
	else if (!(r->seen & SEEN(SCHEME)) || !(r->seen & SEEN(PATH)))
		bad(r, 400, "no :scheme, or no :path");
	else if (!h->target.len || scan_target(h->target.ptr, 0, h->target.len) != h->target.len)
		bad(r, 400, "byte in :path that must be escaped, or none at all");
	else if (h->target.ptr[0] != '/' &&
		 !(h->target.len == 1 && h->target.ptr[0] == '*' && h->method == HTTP_OPTIONS))
		bad(r, 400, ":path that does not begin with a slash");
	if (extended && !SPAN_IS(h->upgrade, "websocket"))
		bad(r, 501, ":protocol other than websocket");
	if (!extended || r->fault.status)
		return;
	h->extended = true;
	h->method = HTTP_GET;
	h->method_text = SPAN("GET");
}

enum parse_rc http2_read_end(
	struct http2_reader *r, char *text, bool ends, enum http_method request_method)
{
	struct http_head *h = r->head;
	enum parse_rc rc = PARSE_DONE;

	if (h) {
		h->base = text;
		memcpy(text + r->bytes, "\r\n", 2);
		h->head_bytes = r->bytes + 2;
		h->at = h->scanned = h->head_bytes;
		if (r->kind == HTTP2_REQUEST)
			check_request(r);
		else if (!(r->seen & SEEN(STATUS)))
			bad(r, 400, "no :status");
	}
	if (r->fault.status)
		rc = PARSE_BAD;
	else if (r->kind == HTTP2_REQUEST)
		rc = http2_request_meaning(h, ends, &r->fault);
	else if (r->kind == HTTP2_RESPONSE)
		rc = http2_response_meaning(h, request_method, ends, &r->fault);
	if (rc == PARSE_BAD && r->kind == HTTP2_RESPONSE)
		r->fault.status = 502;
	return rc;
}
