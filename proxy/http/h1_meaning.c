/*
 * What the fields of a complete head mean: how its content is framed, whom it is for, what becomes
 * of the connection, what is expected (RFC 9110 7 to 10, RFC 9112 6 and 9). Strictness is here or
 * nowhere.
 */
#include "proxy/http/h1_internal.h"
#include "proxy/http/items.h"

#include <arpa/inet.h>

/* More tokens than anybody needs, and few enough to compare each with every field. */
#define CONNECTION_TOKENS_MAX 32
#define HOST_BYTES_MAX 255

static size_t offset(const struct http_head *h, struct span s)
{
	return (size_t)(s.ptr - h->base);
}

static bool is_token(struct span s)
{
	return s.len && scan_portable(s.ptr, 0, s.len, CHAR_TOKEN, false) == s.len;
}

/* Bits that the fields of one id add up to. */
enum coding { CODING_CHUNKED = 1, CODING_OTHER = 2, CODING_JUNK = 4, CODING_MISPLACED = 8 };

/* All Transfer-Encoding fields as one list; junk is what has no place in any such list. */
static unsigned transfer_codings(const struct http_head *h)
{
	struct span list, coding;
	unsigned seen = 0;

	for (const struct http_field *f = field_first(h, HTTP_F_TRANSFER_ENCODING); f;
		f = field_next(h, f)) {
		list = f->value;
		while (item_next(&list, ',', &coding)) {
			if (seen & CODING_CHUNKED) /* whatever this is: chunked is not last, or
						      twice */
				seen |= CODING_MISPLACED;
			if (SPAN_IS(coding, "chunked"))
				seen |= CODING_CHUNKED;
			else
				seen |= is_token(coding) ? CODING_OTHER : CODING_JUNK;
		}
	}
	return seen;
}

/* One Content-Length value: digits, no more than 2^63-1. */
static int length_value(struct span s, uint64_t *ret_length)
{
	uint64_t value = 0;

	if (!s.len)
		return -1;
	for (const char *p = s.ptr, *end = s.ptr + s.len; p < end; p++) {
		unsigned digit = (unsigned)(unsigned char)*p - '0';

		if (digit > 9 || value > INT64_MAX / 10 ||
			(value == INT64_MAX / 10 && digit > INT64_MAX % 10))
			return -1;
		value = value * 10 + digit;
	}
	*ret_length = value;
	return 0;
}

static enum parse_rc request_framing(struct http_head *h, struct http_fault *ret_fault)
{
	const struct http_field *length = field_first(h, HTTP_F_CONTENT_LENGTH);
	const struct http_field *coding = field_first(h, HTTP_F_TRANSFER_ENCODING);
	unsigned seen;

	h->framing = HTTP_NO_BODY;
	if (coding) {
		if (length)
			return http_bad(ret_fault, 400, offset(h, length->name),
				"Content-Length beside Transfer-Encoding");
		if (h->minor == 0)
			return http_bad(ret_fault, 400, offset(h, coding->name),
				"Transfer-Encoding in HTTP/1.0");
		seen = transfer_codings(h);
		if (seen & CODING_MISPLACED)
			return http_bad(ret_fault, 400, offset(h, coding->value),
				"chunked is not the last transfer coding, or is there twice");
		if (seen & CODING_JUNK)
			return http_bad(ret_fault, 400, offset(h, coding->value),
				"junk in Transfer-Encoding");
		if (seen & CODING_OTHER)
			return http_bad(ret_fault, 501, offset(h, coding->value),
				"transfer coding other than chunked");
		h->framing = HTTP_CHUNKED;
	} else if (length) {
		if (field_in(HTTP_F_CONTENT_LENGTH, h->repeated))
			return http_bad(ret_fault, 400, offset(h, length->name),
				"two Content-Length fields");
		if (length_value(length->value, &h->length) < 0)
			return http_bad(ret_fault, 400, offset(h, length->value),
				"Content-Length that is not one number");
		h->framing = HTTP_LENGTH;
		h->has_length = true;
	}
	if (h->framing != HTTP_NO_BODY && h->method == HTTP_CONNECT)
		return http_bad(ret_fault, 400, 0, "CONNECT with content");
	return PARSE_DONE;
}

/* "[...]" of an IPv6 address at the front: its length, else 0. */
static __attribute__((noinline)) size_t ipv6_literal(struct span s)
{
	char text[INET6_ADDRSTRLEN];
	size_t close = span_find(s, ']', 0);
	struct in6_addr address;

	if (close == s.len || close < 3 ||
		span_copy(span_make(s.ptr + 1, close - 1), text, sizeof(text)) < 0)
		return 0;
	return inet_pton(AF_INET6, text, &address) == 1 ? close + 1 : 0;
}

/* host[:port] as RFC 3986 has it, without escapes and sub-delimiters, which no name has; s is a
 * part of h's head. */
static bool is_authority(const struct http_head *h, struct span s, bool *ret_has_port)
{
	size_t at;
	unsigned port = 0;

	if (s.len && s.ptr[0] == '[')
		at = ipv6_literal(s);
	else
		at = scan_host(h->base, offset(h, s), offset(h, s) + s.len) - offset(h, s);
	*ret_has_port = at < s.len;
	if (at == 0 || at > HOST_BYTES_MAX)
		return false;
	if (at == s.len)
		return true;
	if (s.ptr[at] != ':' || s.len - at < 2 || s.len - at > 6)
		return false;
	while (++at < s.len) {
		if (s.ptr[at] < '0' || s.ptr[at] > '9')
			return false;
		port = port * 10 + (unsigned)(s.ptr[at] - '0');
	}
	return port <= UINT16_MAX;
}

/* Takes absolute-form apart: its authority, and in h->target what is left of it. */
static enum parse_rc absolute_form(
	struct http_head *h, struct span *ret_authority, struct http_fault *ret_fault)
{
	struct span rest = h->target;
	size_t scheme = rest.len > 8 && name_is(rest.ptr, "https://", 8) ? 8 : 7;
	size_t end;
	bool has_port;

	if (scheme == 7 && (rest.len <= 7 || !name_is(rest.ptr, "http://", 7)))
		return http_bad(ret_fault, 400, offset(h, rest),
			"target that is neither a path nor an http or https URI");
	rest = span_from(rest, scheme);
	end = span_find(rest, '/', 0);
	end = span_find(span_make(rest.ptr, end), '?', 0);
	*ret_authority = span_make(rest.ptr, end);
	if (!is_authority(h, *ret_authority, &has_port))
		return http_bad(
			ret_fault, 400, offset(h, rest), "authority that is not host[:port]");
	rest = span_from(rest, end);
	if (rest.len && rest.ptr[0] != '/') /* to send it, we would have to make up a path */
		return http_bad(ret_fault, 400, offset(h, rest), "URI without a path");
	h->absolute_form = true;
	h->target = rest.len ? rest : h->method == HTTP_OPTIONS ? SPAN("*") : SPAN("/");
	return PARSE_DONE;
}

/* The form of the target (RFC 9112 3.2), and the one host that it and Host must name. */
static enum parse_rc request_authority(struct http_head *h, struct http_fault *ret_fault)
{
	const struct http_field *host = field_first(h, HTTP_F_HOST);
	struct span named = {NULL, 0};
	bool has_port = false;
	enum parse_rc rc;

	if (host && field_in(HTTP_F_HOST, h->repeated))
		return http_bad(ret_fault, 400, offset(h, host->name), "two Host fields");
	if (!host && h->minor > 0)
		return http_bad(ret_fault, 400, h->head_bytes - 2, "HTTP/1.1 without Host");
	if (host && !is_authority(h, host->value, &has_port))
		return http_bad(
			ret_fault, 400, offset(h, host->value), "Host that is not host[:port]");
	if (h->method == HTTP_CONNECT) {
		named = h->target;
		if (!is_authority(h, named, &has_port) || !has_port)
			return http_bad(ret_fault, 400, offset(h, named),
				"CONNECT to what is not host:port");
	} else if (h->target.ptr[0] != '/' &&
		   !(h->target.len == 1 && h->target.ptr[0] == '*' && h->method == HTTP_OPTIONS)) {
		rc = absolute_form(h, &named, ret_fault);
		if (rc != PARSE_DONE)
			return rc;
	}
	if (host && named.ptr && !span_ieq(host->value, named))
		return http_bad(
			ret_fault, 400, offset(h, host->value), "Host differs from the target");
	h->authority = host ? host->value : named;
	return PARSE_DONE;
}

/* A Connection field named `token`: the fields of that name go no further. */
static void nominate(struct http_head *h, struct span token)
{
	enum http_field_id id = http_field_id(token);

	if (field_in(id, FIELDS_OURS))
		return;
	for (unsigned i = 0; i < h->field_count; i++) {
		struct http_field *f = &h->fields[i];

		if (http_field_is(f, id, token))
			f->nominated = true;
	}
}

/* The tokens of all Connection fields, as bits. */
enum wish { WISH_CLOSE = 1, WISH_KEEP_ALIVE = 2, WISH_UPGRADE = 4 };

static enum parse_rc connection_field(struct http_head *h, const struct http_field *f,
	unsigned *tokens, unsigned *wishes, struct http_fault *ret_fault)
{
	struct span list = f->value, token;

	if (SPAN_IS(list, "keep-alive")) { /* which nearly all of them are */
		*wishes |= WISH_KEEP_ALIVE;
		return PARSE_DONE;
	}
	while (item_next(&list, ',', &token)) {
		if (token.len == 0) /* an empty element of a list means nothing (RFC 9110 5.6.1) */
			continue;
		if (++*tokens > CONNECTION_TOKENS_MAX)
			return http_bad(
				ret_fault, 400, offset(h, token), "too many Connection options");
		if (SPAN_IS(token, "close"))
			*wishes |= WISH_CLOSE;
		else if (SPAN_IS(token, "keep-alive"))
			*wishes |= WISH_KEEP_ALIVE;
		else if (SPAN_IS(token, "upgrade"))
			*wishes |= WISH_UPGRADE;
		else if (is_token(token))
			nominate(h, token);
		else
			return http_bad(ret_fault, 400, offset(h, token), "junk in Connection");
	}
	return PARSE_DONE;
}

/* Upgrade's value, if it can be passed on: protocols (name[/version]), none of them h2c. */
static struct span upgrade_value(const struct http_head *h)
{
	const struct http_field *f = field_first(h, HTTP_F_UPGRADE);
	struct span list, protocol, none = {NULL, 0};

	if (!f || field_in(HTTP_F_UPGRADE, h->repeated) || h->minor == 0)
		return none;
	list = f->value;
	while (item_next(&list, ',', &protocol)) {
		size_t slash = span_find(protocol, '/', 0);

		if (!is_token(span_make(protocol.ptr, slash)) ||
			(slash < protocol.len && !is_token(span_from(protocol, slash + 1))) ||
			SPAN_IS(protocol, "h2c"))
			return none;
	}
	return f->value;
}

static enum parse_rc connection(struct http_head *h, struct http_fault *ret_fault)
{
	unsigned tokens = 0, wishes = 0;
	enum parse_rc rc;

	for (const struct http_field *f = field_first(h, HTTP_F_CONNECTION); f;
		f = field_next(h, f)) {
		rc = connection_field(h, f, &tokens, &wishes, ret_fault);
		if (rc != PARSE_DONE)
			return rc;
	}
	h->keep_alive = !(wishes & WISH_CLOSE) && (h->minor > 0 || wishes & WISH_KEEP_ALIVE);
	if (wishes & WISH_UPGRADE)
		h->upgrade = upgrade_value(h);
	return PARSE_DONE;
}

static bool te_has_trailers(const struct http_head *h)
{
	struct span list, coding;

	for (const struct http_field *f = field_first(h, HTTP_F_TE); f; f = field_next(h, f)) {
		list = f->value;
		while (item_next(&list, ',', &coding))
			if (SPAN_IS(coding, "trailers"))
				return true;
	}
	return false;
}

static enum parse_rc expectation(struct http_head *h, struct http_fault *ret_fault)
{
	const struct http_field *f = field_first(h, HTTP_F_EXPECT);

	if (!f)
		return PARSE_DONE;
	if (field_in(HTTP_F_EXPECT, h->repeated) || !SPAN_IS(f->value, "100-continue"))
		return http_bad(
			ret_fault, 417, offset(h, f->value), "expectation other than 100-continue");
	h->expect_continue =
		h->h2 || (h->minor > 0 && (h->framing == HTTP_CHUNKED || h->length > 0));
	return PARSE_DONE;
}

enum parse_rc http1_request_meaning(struct http_head *h, struct http_fault *ret_fault)
{
	enum parse_rc rc = request_framing(h, ret_fault);

	if (rc == PARSE_DONE)
		rc = request_authority(h, ret_fault);
	if (rc == PARSE_DONE)
		rc = connection(h, ret_fault);
	if (rc == PARSE_DONE)
		rc = expectation(h, ret_fault);
	h->te_trailers = te_has_trailers(h);
	return rc;
}

/* :authority, or Host where there is none; they must agree (RFC 9113 8.3.1). */
static enum parse_rc stream_authority(struct http_head *h, struct http_fault *ret_fault)
{
	const struct http_field *host = field_first(h, HTTP_F_HOST);
	bool has_port;

	if (host && field_in(HTTP_F_HOST, h->repeated))
		return http_bad(ret_fault, 400, offset(h, host->name), "two Host fields");
	if (!h->authority.ptr && host)
		h->authority = host->value;
	if (!h->authority.ptr)
		return http_bad(ret_fault, 400, 0, "neither :authority nor Host");
	if (!is_authority(h, h->authority, &has_port))
		return http_bad(ret_fault, 400, offset(h, h->authority),
			"authority that is not host[:port]");
	if (host && !span_ieq(host->value, h->authority))
		return http_bad(
			ret_fault, 400, offset(h, host->value), "Host differs from :authority");
	if (h->method == HTTP_CONNECT && !h->upgrade.len && !has_port)
		return http_bad(ret_fault, 400, offset(h, h->authority),
			"CONNECT to what is not host:port");
	return PARSE_DONE;
}

enum parse_rc http2_request_meaning(struct http_head *h, bool ends, struct http_fault *ret_fault)
{
	enum parse_rc rc = request_framing(h, ret_fault);

	if (rc == PARSE_DONE)
		rc = stream_authority(h, ret_fault);
	if (rc == PARSE_DONE)
		rc = expectation(h, ret_fault);
	if (rc != PARSE_DONE)
		return rc;
	h->keep_alive = true;
	h->te_trailers = h->first[HTTP_F_TE];
	if (h->upgrade.len) /* what follows is not content */
		return PARSE_DONE;
	if (!ends && h->framing == HTTP_NO_BODY) {
		h->framing = HTTP_UNTIL_CLOSE;
	} else if (ends && h->framing == HTTP_LENGTH && h->length > 0) {
		return http_bad(ret_fault, 400, 0, "content shorter than Content-Length");
	} else if (ends &&
		   (h->method == HTTP_POST || h->method == HTTP_PUT || h->method == HTTP_PATCH)) {
		h->framing = HTTP_LENGTH; /* others want to be told (RFC 9110 8.6) */
		h->has_length = true;
	}
	h->expect_continue &= !ends;
	return PARSE_DONE;
}

/* Every Content-Length of a response, as a list and as repeated fields, must say the same. */
static __attribute__((noinline)) enum parse_rc agreed_length(
	struct http_head *h, struct http_fault *ret_fault)
{
	struct span list, element;
	uint64_t length;

	for (const struct http_field *f = field_first(h, HTTP_F_CONTENT_LENGTH); f;
		f = field_next(h, f)) {
		list = f->value;
		while (item_next(&list, ',', &element)) {
			if (length_value(element, &length) < 0)
				return http_bad(ret_fault, 502, offset(h, element),
					"Content-Length that is not a number");
			if (h->has_length && length != h->length)
				return http_bad(ret_fault, 502, offset(h, element),
					"two different Content-Lengths");
			h->length = length;
			h->has_length = true;
		}
	}
	return PARSE_DONE;
}

static inline enum parse_rc response_length(struct http_head *h, struct http_fault *ret_fault)
{
	const struct http_field *only = field_first(h, HTTP_F_CONTENT_LENGTH);

	if (!only)
		return PARSE_DONE;
	if (field_in(HTTP_F_CONTENT_LENGTH, h->repeated) ||
		length_value(only->value, &h->length) < 0)
		return agreed_length(h, ret_fault);
	h->has_length = true; /* as it should be */
	return PARSE_DONE;
}

/* RFC 9112 6.3, in its order. */
static enum parse_rc response_framing(
	struct http_head *h, enum http_method request_method, struct http_fault *ret_fault)
{
	bool coded = h->first[HTTP_F_TRANSFER_ENCODING] != 0;
	bool no_length = h->status < 200 || h->status == 204 ||
			 (request_method == HTTP_CONNECT && h->status < 300);

	if (coded && transfer_codings(h) != CODING_CHUNKED)
		return http_bad(ret_fault, 502, 0, "Transfer-Encoding that is not chunked alone");
	if (response_length(h, ret_fault) != PARSE_DONE)
		return PARSE_BAD;
	/* Two framings, or one that the version or the status does not have: read it by the rules,
	 * but trust no byte after it. */
	if (coded && (h->has_length || h->minor == 0 || no_length))
		h->keep_alive = false;
	if (no_length && h->length > 0)
		h->keep_alive = false;
	if (coded || no_length) {
		h->has_length = false;
		h->length = 0;
	}
	if (no_length || h->status == 304 || request_method == HTTP_HEAD) {
		h->framing = HTTP_NO_BODY;
	} else if (coded) {
		h->framing = HTTP_CHUNKED;
	} else if (h->has_length) {
		h->framing = HTTP_LENGTH;
	} else {
		h->framing = HTTP_UNTIL_CLOSE;
		h->keep_alive = false;
	}
	return PARSE_DONE;
}

enum parse_rc http1_response_meaning(
	struct http_head *h, enum http_method request_method, struct http_fault *ret_fault)
{
	enum parse_rc rc = connection(h, ret_fault);

	if (rc == PARSE_DONE)
		rc = response_framing(h, request_method, ret_fault);
	return rc;
}

enum parse_rc http2_response_meaning(struct http_head *h, enum http_method request_method,
	bool ends, struct http_fault *ret_fault)
{
	bool no_content = h->status < 200 || h->status == 204 || h->status == 304 ||
			  request_method == HTTP_HEAD;

	if (response_length(h, ret_fault) != PARSE_DONE)
		return PARSE_BAD;
	h->keep_alive = true;
	if (no_content || ends)
		h->framing = HTTP_NO_BODY;
	else
		h->framing = h->has_length ? HTTP_LENGTH : HTTP_UNTIL_CLOSE;
	return PARSE_DONE;
}
