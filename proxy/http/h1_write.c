/*
 * Heads and chunk framing for the next hop: fields that pass go as they came, those of this hop are
 * left out, ours follow. A head is written into the caller's buffer in one go, as text in which the
 * fields that pass are copied in runs of whole lines, or for HTTP/2 as a list of fields. What goes
 * is said once, for both; which of the two it is the compiler knows wherever it says it, so that
 * text pays nothing for lists.
 */
#include "proxy/http/cookie.h"
#include "proxy/http/field_id.h"
#include "proxy/http/h1_internal.h"
#include "proxy/http/http2.h"

/*
 * A bounded pen: once something did not fit, what was written is worth nothing. What nearly every
 * head needs is in line, so that the pen is in registers; what is rare takes it and gives it back.
 */
struct pen {
	char *at, *end;
	bool full;
	struct http_list *list; /* NULL: text. Else its fields, which may borrow what is written */
};

/* Is there room for n more bytes? A piece that is made of several asks once. */
static inline bool has_room(struct pen *pen, size_t n)
{
	if (UNLIKELY((size_t)(pen->end - pen->at) < n)) {
		pen->at = pen->end;
		pen->full = true;
		return false;
	}
	return true;
}

/* What most pieces are, a few words, is done here: the library's memcpy costs more than they do.
 * Moves overlap rather than to be counted out. */
static inline __attribute__((always_inline)) void add(struct pen *pen, const char *p, size_t n)
{
	char *to = pen->at;

	pen->at += n;
	if (n >= 16) {
		if (n > 64) {
			memcpy(to, p, n);
			return;
		}
		for (size_t at = 0; at + 16 < n; at += 16)
			memcpy(to + at, p + at, 16);
		memcpy(to + n - 16, p + n - 16, 16);
	} else if (n >= 8) {
		memcpy(to, p, 8);
		memcpy(to + n - 8, p + n - 8, 8);
	} else if (n >= 4) {
		memcpy(to, p, 4);
		memcpy(to + n - 4, p + n - 4, 4);
	} else if (n) {
		to[0] = p[0];
		to[n / 2] = p[n / 2];
		to[n - 1] = p[n - 1];
	}
}

static inline void add_literal(struct pen *pen, const char *p, size_t n)
{
	memcpy(pen->at, p, n);
	pen->at += n;
}
#define ADD(pen, literal) add_literal(pen, "" literal, sizeof(literal) - 1)

static inline __attribute__((always_inline)) void put_span(struct pen *pen, struct span s)
{
	if (has_room(pen, s.len))
		add(pen, s.ptr, s.len);
}

#define PUT(pen, literal)                               \
	do {                                            \
		if (has_room(pen, sizeof(literal) - 1)) \
			ADD(pen, literal);              \
	} while (0)

static struct pen list_add(struct pen rest, struct span name, struct span value)
{
	struct http_list *list = rest.list;

	if (list->count == list->max)
		rest.full = true;
	else
		list->pairs[list->count++] = (struct http_pair){name, value};
	return rest;
}

/* A field named as in a line; names are of lower case in a list. */
static struct pen list_named(struct pen rest, struct span name, struct span value)
{
	char *to = rest.at;

	if (!has_room(&rest, name.len))
		return rest;
	for (size_t i = 0; i < name.len; i++)
		to[i] = ascii_lower(name.ptr[i]);
	rest.at += name.len;
	return list_add(rest, span_make(to, name.len), value);
}

/* The field of one of our own lines, of which the value may be gone soon. */
static __attribute__((noinline)) struct pen list_line(
	struct pen rest, const char *start, size_t n, struct span value)
{
	size_t colon = span_find(span_make(start, n), ':', 0);
	char *copy = rest.at;

	put_span(&rest, span_make(start + colon + 2, n - colon - 2));
	put_span(&rest, value);
	return list_named(rest, span_make(start, colon), span_make(copy, (size_t)(rest.at - copy)));
}

/* Whole lines that are ready. */
static __attribute__((noinline)) struct pen list_lines(struct pen rest, struct span lines)
{
	while (lines.len) {
		size_t end = span_find(lines, '\r', 0), colon = span_find(lines, ':', 0);

		rest = list_named(rest, span_make(lines.ptr, colon),
			span_make(lines.ptr + colon + 2, end - colon - 2));
		lines = span_from(lines, end + 2);
	}
	return rest;
}

/* The whole lines written since `from` are fields of the list, if it is one. */
static struct pen as_listed(struct pen rest, const char *from)
{
	if (!rest.list || rest.full)
		return rest;
	return list_lines(rest, span_make(from, (size_t)(rest.at - from)));
}

/* A whole line; start is a literal with colon and blank. */
static inline __attribute__((always_inline)) void put_line(
	struct pen *pen, const char *start, size_t n, struct span value)
{
	if (pen->list) {
		*pen = list_line(*pen, start, n, value);
		return;
	}
	if (!has_room(pen, n + value.len + 2))
		return;
	add_literal(pen, start, n);
	add(pen, value.ptr, value.len);
	ADD(pen, "\r\n");
}
#define PUT_LINE(pen, start, value) put_line(pen, "" start, sizeof(start) - 1, value)

static inline __attribute__((always_inline)) void put_lines(struct pen *pen, struct span lines)
{
	if (pen->list)
		*pen = list_lines(*pen, lines);
	else
		put_span(pen, lines);
}

/* Lines as they came. */
static inline void put_run(struct pen *pen, const char *from, const char *to)
{
	size_t n = (size_t)(to - from);

	if (n && has_room(pen, n)) {
		memcpy(pen->at, from, n);
		pen->at += n;
	}
}

static bool passes(const struct http_field *f, uint64_t skip)
{
	return !field_in(f->id, skip) && !f->nominated;
}

static struct pen put_fields_one_by_one(struct pen rest, const struct http_head *h, uint64_t skip)
{
	struct pen *pen = &rest;

	for (const struct http_field *f = h->fields; f < h->fields + h->field_count; f++) {
		if (!passes(f, skip) || !has_room(pen, f->name.len + f->value.len + 4))
			continue;
		add(pen, f->name.ptr, f->name.len);
		ADD(pen, ": ");
		add(pen, f->value.ptr, f->value.len);
		ADD(pen, "\r\n");
	}
	return rest;
}

static __attribute__((noinline)) struct pen list_fields(
	struct pen rest, const struct http_head *h, uint64_t skip)
{
	for (const struct http_field *f = h->fields; f < h->fields + h->field_count; f++) {
		if (!passes(f, skip))
			continue;
		if (h->h2)
			rest = list_add(rest, f->name, f->value);
		else if (http_id_names_one((enum http_field_id)f->id)) /* ready in lower case */
			rest = list_add(rest, span_make(http1_names[f->id], f->name.len), f->value);
		else
			rest = list_named(rest, f->name, f->value);
	}
	return rest;
}

/* Every field but those in `skip` and the nominated ones. */
static inline __attribute__((always_inline)) void put_fields(
	struct pen *pen, const struct http_head *h, uint64_t skip)
{
	const struct http_field *f = h->fields, *end = f + h->field_count;
	const char *run = f->name.ptr; /* the lines from here on pass */

	if (pen->list) {
		*pen = list_fields(*pen, h, skip);
		return;
	}
	if (UNLIKELY(!h->base || h->ragged)) {
		*pen = put_fields_one_by_one(*pen, h, skip);
		return;
	}
	if (f == end)
		return;
	for (; f < end; f++) {
		if (passes(f, skip))
			continue;
		put_run(pen, run, f->name.ptr);
		run = f->value.ptr + f->value.len + 2;
	}
	put_run(pen, run, h->base + h->head_bytes - 2);
}

static inline __attribute__((always_inline)) void put_via(
	struct pen *pen, const struct http_head *h, struct span pseudonym)
{
	if (pseudonym.len)
		put_line(pen,
			h->h2	   ? "Via: 2.0 "
			: h->minor ? "Via: 1.1 "
				   : "Via: 1.0 ",
			9, pseudonym);
}

static inline __attribute__((always_inline)) void put_length(struct pen *pen, uint64_t length)
{
	char digits[20], *p = digits + sizeof(digits);

	do
		*--p = (char)('0' + length % 10);
	while (length /= 10);
	PUT_LINE(pen, "Content-Length: ", span_make(p, (size_t)(digits + sizeof(digits) - p)));
}

static inline __attribute__((always_inline)) size_t finish(struct pen *pen, const char *out)
{
	if (pen->list)
		return !pen->full;
	PUT(pen, "\r\n");
	return pen->full ? 0 : (size_t)(pen->at - out);
}

/* The list that came from a proxy we trust, and the client's address after it. */
static struct pen put_forwarded_list(
	struct pen rest, const struct http_head *h, const struct http1_request_out *o)
{
	struct pen *pen = &rest;
	const char *line = pen->at;

	for (unsigned i = h->first[HTTP_F_X_FORWARDED_FOR] - 1u; i <= h->field_count; i++) {
		const struct http_field *f = &h->fields[i];
		struct span item = i < h->field_count ? f->value : o->client_ip;

		if (!item.len || (i < h->field_count && f->id != HTTP_F_X_FORWARDED_FOR))
			continue;
		if (pen->at > line)
			PUT(pen, ", ");
		else
			PUT(pen, "X-Forwarded-For: ");
		put_span(pen, item);
	}
	if (pen->at > line)
		PUT(pen, "\r\n");
	return as_listed(rest, line);
}

/* The cookies but the one that is ours, in a line for each that came and has any left. */
static struct pen put_other_cookies(struct pen rest, const struct http_head *h, struct span own)
{
	struct pen *pen = &rest;
	const char *lines = pen->at;

	for (unsigned i = h->first[HTTP_F_COOKIE] - 1u; i < h->field_count; i++) {
		const struct http_field *f = &h->fields[i];
		struct span list = f->value, pair, value;
		bool begun = false;

		if (f->id != HTTP_F_COOKIE || f->nominated)
			continue;
		while (http_cookie_next(&list, &pair)) {
			if (http_cookie_is(pair, own, &value))
				continue;
			if (begun)
				PUT(pen, "; ");
			else
				PUT(pen, "Cookie: ");
			put_span(pen, pair);
			begun = true;
		}
		if (begun)
			PUT(pen, "\r\n");
	}
	return as_listed(rest, lines);
}

static inline __attribute__((always_inline)) void put_request_connection(
	struct pen *pen, const struct http_head *h, bool upgrade)
{
	bool te = h->te_trailers;

	if (pen->list) {
		if (te)
			PUT_LINE(pen, "TE: ", SPAN("trailers"));
	} else if (upgrade && h->upgrade.len) {
		if (te)
			PUT(pen, "Connection: upgrade, te\r\nTE: trailers\r\n");
		else
			PUT(pen, "Connection: upgrade\r\n");
		PUT_LINE(pen, "Upgrade: ", h->upgrade);
	} else if (te) {
		PUT(pen, "Connection: te\r\nTE: trailers\r\n");
	}
}

static inline __attribute__((always_inline)) void put_request_line(
	struct pen *pen, const struct http_head *h, const struct http1_request_out *o)
{
	if (pen->list) {
		bool tunnel = o->upgrade && h->upgrade.len;

		*pen = list_add(*pen, SPAN(":method"), tunnel ? SPAN("CONNECT") : h->method_text);
		if (tunnel)
			*pen = list_add(*pen, SPAN(":protocol"), h->upgrade);
		*pen = list_add(*pen, SPAN(":scheme"), o->scheme);
		*pen = list_add(*pen, SPAN(":authority"), o->host);
		*pen = list_add(*pen, SPAN(":path"), o->target);
		return;
	}
	if (has_room(pen, h->method_text.len + 1 + o->target.len)) {
		add(pen, h->method_text.ptr, h->method_text.len);
		ADD(pen, " ");
		add(pen, o->target.ptr, o->target.len);
	}
	PUT_LINE(pen, " HTTP/1.1\r\nHost: ", o->host);
}

static inline __attribute__((always_inline)) size_t write_request(
	struct pen pen, const struct http_head *h, const struct http1_request_out *o)
{
	static const uint64_t never = FIELDS_HOP_BY_HOP | FIELD_BIT(HOST) |
				      FIELD_BIT(CONTENT_LENGTH) | FIELD_BIT(EXPECT) |
				      FIELD_BIT(X_FORWARDED_FOR);
	static const uint64_t of_the_untrusted =
		FIELDS_FORWARDED | FIELD_BIT(X_FORWARDED) | FIELD_BIT(X_REQUEST_ID);
	const char *out = pen.at;
	uint64_t skip = o->trusted ? never : never | of_the_untrusted;
	/* The set of ids that came in and stay. */
	bool has_host = o->trusted && h->first[HTTP_F_X_FORWARDED_HOST];
	bool has_fixed = o->trusted &&
			 (h->first[HTTP_F_X_FORWARDED_PROTO] || h->first[HTTP_F_X_FORWARDED_PORT]);
	bool has_id = o->trusted && http_request_id_given(h).len;
	bool takes_cookie = o->own_cookie.len && h->first[HTTP_F_COOKIE];

	if (!has_id)
		skip |= FIELD_BIT(X_REQUEST_ID);
	if (UNLIKELY(o->client_cert.len))
		skip |= FIELD_BIT(X_CLIENT_CERT);
	if (UNLIKELY(takes_cookie))
		skip |= FIELD_BIT(COOKIE);
	put_request_line(&pen, h, o);
	put_fields(&pen, h, skip);
	if (UNLIKELY(takes_cookie))
		pen = put_other_cookies(pen, h, o->own_cookie);
	if (UNLIKELY(o->trusted && h->first[HTTP_F_X_FORWARDED_FOR]))
		pen = put_forwarded_list(pen, h, o);
	else if (o->client_ip.len)
		PUT_LINE(&pen, "X-Forwarded-For: ", o->client_ip);
	if (!has_host && h->authority.len)
		PUT_LINE(&pen, "X-Forwarded-Host: ", h->authority);
	if (!has_fixed)
		put_lines(&pen, o->fixed);
	if (UNLIKELY(o->client_cert.len))
		put_lines(&pen, o->client_cert);
	if (!has_id && o->request_id.len)
		PUT_LINE(&pen, "X-Request-Id: ", o->request_id);
	put_via(&pen, h, o->via);
	if (UNLIKELY(o->extra.len))
		put_lines(&pen, o->extra);
	if (UNLIKELY(o->websocket.len))
		put_lines(&pen, o->websocket);
	put_request_connection(&pen, h, o->upgrade);
	switch (o->framing) {
	case HTTP_NO_BODY:
		break;
	case HTTP_LENGTH:
		put_length(&pen, o->length);
		break;
	case HTTP_CHUNKED:
		ASSERT(!pen.list);
		PUT(&pen, "Transfer-Encoding: chunked\r\n");
		break;
	case HTTP_UNTIL_CLOSE: /* until the stream's end, that is */
		ASSERT(pen.list);
	}
	return finish(&pen, out);
}

size_t http1_write_request(
	char *out, size_t size, const struct http_head *h, const struct http1_request_out *o)
{
	return write_request((struct pen){.at = out, .end = out + size}, h, o);
}

int http2_list_request(struct http_list *list, char *room, size_t size, const struct http_head *h,
	const struct http1_request_out *o)
{
	list->count = 0;
	return write_request((struct pen){.at = room, .end = room + size, .list = list}, h, o) ? 0
											       : -1;
}

static inline __attribute__((always_inline)) void put_response_connection(
	struct pen *pen, const struct http_head *h, const struct http1_response_out *o)
{
	if (pen->list)
		return;
	if (h->status == 101 && o->upgrade) {
		PUT(pen, "Connection: upgrade\r\n");
		PUT_LINE(pen, "Upgrade: ", h->upgrade);
	} else if (h->status < 200) {
		return; /* what becomes of the connection is the final response's to say */
	} else if (!o->keep_alive) {
		PUT(pen, "Connection: close\r\n");
	} else if (o->client_minor == 0) {
		PUT(pen, "Connection: keep-alive\r\n");
	}
}

static inline __attribute__((always_inline)) void put_status_line(
	struct pen *pen, const struct http_head *h)
{
	if (!has_room(pen, sizeof("HTTP/1.1 200 ") - 1 + h->reason.len))
		return;
	ADD(pen, "HTTP/1.1 200 ");
	pen->at[-4] = (char)('0' + h->status / 100);
	pen->at[-3] = (char)('0' + h->status / 10 % 10);
	pen->at[-2] = (char)('0' + h->status % 10);
	if (pen->list) {
		*pen = list_add(*pen, SPAN(":status"), span_make(pen->at - 4, 3));
		return;
	}
	add(pen, h->reason.ptr, h->reason.len);
	PUT(pen, "\r\n");
}

static inline __attribute__((always_inline)) size_t write_response(
	struct pen pen, const struct http_head *h, const struct http1_response_out *o)
{
	static const uint64_t skip = FIELDS_HOP_BY_HOP | FIELD_BIT(CONTENT_LENGTH);
	const char *out = pen.at;

	ASSERT(h->status >= 100 && h->status <= 999);
	put_status_line(&pen, h);
	put_fields(&pen, h, skip);
	if (!h->first[HTTP_F_DATE] && h->status >= 200)
		put_lines(&pen, o->date);
	if (o->hsts.len && h->status >= 200 && !h->first[HTTP_F_STRICT_TRANSPORT_SECURITY])
		put_lines(&pen, o->hsts);
	if (UNLIKELY(o->own.len))
		put_lines(&pen, o->own);
	if (UNLIKELY(o->websocket.len))
		put_lines(&pen, o->websocket);
	put_via(&pen, h, o->via);
	put_response_connection(&pen, h, o);
	switch (o->framing) {
	case HTTP_NO_BODY:
		if (o->has_length && h->status >= 200 && h->status != 204)
			put_length(&pen, o->length);
		break;
	case HTTP_LENGTH:
		put_length(&pen, o->length);
		break;
	case HTTP_CHUNKED:
		ASSERT(o->client_minor > 0 && !pen.list);
		PUT(&pen, "Transfer-Encoding: chunked\r\n");
		break;
	case HTTP_UNTIL_CLOSE:
		ASSERT(!o->keep_alive || pen.list);
	}
	return finish(&pen, out);
}

size_t http1_write_response(
	char *out, size_t size, const struct http_head *h, const struct http1_response_out *o)
{
	return write_response((struct pen){.at = out, .end = out + size}, h, o);
}

int http2_list_response(struct http_list *list, char *room, size_t size, const struct http_head *h,
	const struct http1_response_out *o)
{
	list->count = 0;
	return write_response((struct pen){.at = room, .end = room + size, .list = list}, h, o)
		       ? 0
		       : -1;
}

size_t http1_write_chunk_head(char out[HTTP1_CHUNK_HEAD_MAX], uint64_t data_bytes)
{
	int digits = (67 - __builtin_clzll(data_bytes | 1)) / 4;

	ASSERT(data_bytes > 0);
	for (int i = 0; i < digits; i++)
		out[i] = "0123456789abcdef"[data_bytes >> (digits - 1 - i) * 4 & 15];
	out[digits] = '\r';
	out[digits + 1] = '\n';
	return (size_t)digits + 2;
}

/* May this field come after the content? Not what framing, routing, authentication or control of
 * the message stand on, which a recipient has acted on by then (RFC 9110 6.5.1). */
static bool trailer_passes(struct span name)
{
	static const struct span refused[] = {
		SPAN("age"),
		SPAN("cache-control"),
		SPAN("content-encoding"),
		SPAN("content-range"),
		SPAN("expires"),
		SPAN("location"),
		SPAN("max-forwards"),
		SPAN("range"),
		SPAN("vary"),
		SPAN("www-authenticate"),
	};

	if (http_field_id(name) != HTTP_F_OTHER || http1_is_lookalike(name))
		return false;
	for (size_t i = 0; i < countof(refused); i++)
		if (span_ieq(name, refused[i]))
			return false;
	return true;
}

/* The next trailer that passes, of whole lines: as the chunk reader found them, or HTTP/2's. */
static bool next_trailer(struct span *trailers, struct span *ret_line, size_t *ret_name)
{
	while (trailers->len) {
		size_t name = span_find(*trailers, ':', 0);

		*ret_line = span_make(trailers->ptr, span_find(*trailers, '\n', 0) + 1);
		ASSERT(name < ret_line->len && ret_line->len <= trailers->len);
		*trailers = span_from(*trailers, ret_line->len);
		*ret_name = name;
		if (trailer_passes(span_make(ret_line->ptr, name)))
			return true;
	}
	return false;
}

size_t http1_write_last_chunk(char *out, size_t size, struct span trailers)
{
	struct pen pen = {.at = out, .end = out + size};
	struct span line;
	size_t name;

	PUT(&pen, "0\r\n");
	while (next_trailer(&trailers, &line, &name))
		put_run(&pen, line.ptr, line.ptr + line.len);
	return finish(&pen, out);
}

int http2_list_trailers(struct http_list *list, char *room, size_t size, struct span trailers)
{
	struct pen pen = {.at = room, .end = room + size, .list = list};
	struct span line;
	size_t name;

	list->count = 0;
	while (next_trailer(&trailers, &line, &name))
		pen = list_named(pen, span_make(line.ptr, name),
			span_trim(span_make(line.ptr + name + 1, line.len - name - 3)));
	return pen.full ? -1 : 0;
}
