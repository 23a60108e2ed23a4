#include "proxy/observe/excerpt.h"

#include <stdio.h>

#include "proxy/http/http1.h"
#include "shared/assert.h"

#define LOOK_BACK_BYTES (16 * 1024)
#define LOOK_AHEAD_BYTES 1024
#define FRONT_CHARS 60 /* what stays of a line's beginning when the fault is far behind it */
#define BACK_CHARS 60
#define NOT_HERE SIZE_MAX

/* --- putting -------------------------------------------------------------------------------------
 */

struct canvas {
	struct excerpt_line *line;
	struct span bytes; /* of the line */
	size_t fault;	   /* in bytes; NOT_HERE */
	bool starred;	   /* the last that was put are stars */
	bool full;
};

/* The middle goes, so that the fault comes into sight. */
static void make_room(struct excerpt_line *l)
{
	memmove(l->text + FRONT_CHARS + 3, l->text + l->len - BACK_CHARS, BACK_CHARS);
	memcpy(l->text + FRONT_CHARS, "...", 3);
	l->len = FRONT_CHARS + 3 + BACK_CHARS;
}

static void put_text(struct canvas *c, const char *text, size_t len)
{
	struct excerpt_line *l = c->line;

	if (c->full)
		return;
	if (l->len + len + 3 > EXCERPT_TEXT_MAX) {
		if (l->caret >= 0 || c->fault == NOT_HERE) {
			memcpy(l->text + l->len, "...", 3);
			l->len += 3;
			c->full = true;
			return;
		}
		make_room(l);
	}
	memcpy(l->text + l->len, text, len);
	l->len = (uint16_t)(l->len + len);
}

static void put_byte(struct canvas *c, unsigned char byte)
{
	char text[5];
	int n;

	c->starred = false;
	if (byte == '\r' || byte == '\n' || byte == '\t')
		n = snprintf(text, sizeof(text), "\\%c",
			byte == '\r'   ? 'r'
			: byte == '\n' ? 'n'
				       : 't');
	else if (byte == '\\')
		n = snprintf(text, sizeof(text), "\\\\");
	else if (byte < 0x20 || byte > 0x7e)
		n = snprintf(text, sizeof(text), "\\x%02x", byte);
	else
		n = snprintf(text, sizeof(text), "%c", byte);
	put_text(c, text, (size_t)n);
}

static void put_stars(struct canvas *c)
{
	if (!c->starred)
		put_text(c, "***", 3);
	c->starred = true;
}

static bool is_line_end(char b)
{
	return b == '\r' || b == '\n';
}

static bool is_alnum(char b)
{
	return (b >= '0' && b <= '9') || (ascii_lower(b) >= 'a' && ascii_lower(b) <= 'z');
}

static void put_run(struct canvas *c, size_t from, size_t to, bool shown)
{
	if (!shown && from < to)
		put_stars(c);
	for (; shown && from < to; from++)
		put_byte(c, (unsigned char)c->bytes.ptr[from]);
}

/* Bytes [from, to) of the line, as they are or as stars, with the caret where the fault is. */
static void put(struct canvas *c, size_t from, size_t to, bool shown)
{
	size_t fault = c->fault;

	if (fault < from || fault >= to) {
		put_run(c, from, to, shown);
		return;
	}
	put_run(c, from, fault, shown);
	c->starred = false;
	if (c->line->len + 4 + 3 > EXCERPT_TEXT_MAX)
		make_room(c->line);
	c->line->caret = (int16_t)c->line->len;
	put_run(c, fault, fault + 1, shown || !is_alnum(c->bytes.ptr[fault]));
	put_run(c, fault + 1, to, shown);
}

/* --- what may be shown
 * ---------------------------------------------------------------------------------- */

static size_t find(struct span s, size_t from, size_t to, char byte)
{
	size_t at = span_find(span_make(s.ptr, to), byte, from);

	return at < to ? at : to;
}

/* Names as they are, what they stand for as stars; a word alone may be a key. */
static void put_pairs(struct canvas *c, size_t from, size_t to, char between)
{
	while (from < to) {
		size_t next = find(c->bytes, from, to, between);
		size_t is = find(c->bytes, from, next, '=');
		bool named = is < next;

		if (named)
			put(c, from, is + 1, true);
		put(c, named ? is + 1 : from, next, false);
		if (next < to)
			put(c, next, next + 1, true);
		from = next + 1;
	}
}

/* What parameters a segment has (";jsessionid=...") is as much of a secret as a query. */
static void put_path(struct canvas *c, size_t from, size_t to)
{
	while (from < to) {
		size_t next = find(c->bytes, from, to, '/');
		size_t params = find(c->bytes, from, next, ';');

		put(c, from, params < next ? params + 1 : next, true);
		put_pairs(c, params + 1, next, ';');
		if (next < to)
			put(c, next, next + 1, true);
		from = next + 1;
	}
}

/* Where userinfo may end, wherever it is: behind the last '@' that no segment of a path begins
 * with. */
static size_t userinfo_end(struct span s, size_t from, size_t to)
{
	for (size_t at = to; at > from; at--)
		if (s.ptr[at - 1] == '@' && at - 1 > from && s.ptr[at - 2] != '/')
			return at - 1;
	return from;
}

static void put_target(struct canvas *c, size_t from, size_t to)
{
	size_t query = find(c->bytes, from, to, '?'), fragment = find(c->bytes, from, to, '#');
	size_t path_end = query < fragment ? query : fragment;
	size_t secret = userinfo_end(c->bytes, from, path_end);

	put(c, from, secret, false);
	put_path(c, secret, path_end);
	if (path_end == query && query < to) {
		put(c, query, query + 1, true);
		put_pairs(c, query + 1, fragment > query ? fragment : to, '&');
	}
	if (fragment < to)
		put(c, fragment > query ? fragment : to, to, false);
}

/* Where "HTTP/1.1" and the like begin, at the end of a request line; `to` where there is none. */
static size_t version_at(struct span s, size_t from, size_t to)
{
	for (size_t at = to; at > from && to - at < 12; at--)
		if (s.ptr[at - 1] == ' ')
			return span_starts(span_make(s.ptr + at, to - at), SPAN("HTTP/")) ? at - 1
											  : to;
	return to;
}

/* A method, and what could be a target after it? Else who knows what this is. */
static bool is_request_line(struct span s, size_t end, size_t *ret_target)
{
	size_t at = 0;

	while (at < end && at < 24 && s.ptr[at] >= 'A' && s.ptr[at] <= 'Z')
		at++;
	*ret_target = at + 1;
	return at > 1 && at + 1 < end && s.ptr[at] == ' ' &&
	       (s.ptr[at + 1] == '/' || s.ptr[at + 1] == '*' ||
		       span_find(span_make(s.ptr, end), ':', at) < end);
}

/* "HTTP/1.1 200", of which the reason is left out. */
static size_t status_end(struct span s, size_t end)
{
	size_t space = span_find(span_make(s.ptr, end), ' ', 0);

	if (!span_starts(span_make(s.ptr, end), SPAN("HTTP/")) || space > 12)
		return 0;
	for (size_t i = 1; i <= 3 && space + i < end; i++)
		if (s.ptr[space + i] < '0' || s.ptr[space + i] > '9')
			return space + i;
	return space + 4 < end ? space + 4 : end;
}

static void put_start_line(struct canvas *c, size_t end)
{
	size_t target, version, status = status_end(c->bytes, end);

	if (status) {
		put(c, 0, status, true);
		put(c, status, end, false);
	} else if (is_request_line(c->bytes, end, &target)) {
		version = version_at(c->bytes, target, end);
		put(c, 0, target, true);
		put_target(c, target, version);
		put(c, version, end, true);
	} else {
		put(c, 0, end, false);
	}
}

static bool is_open(enum http_field_id id)
{
	switch (id) {
	case HTTP_F_HOST:
	case HTTP_F_CONNECTION:
	case HTTP_F_CONTENT_LENGTH:
	case HTTP_F_TRANSFER_ENCODING:
	case HTTP_F_TE:
	case HTTP_F_TRAILER:
	case HTTP_F_UPGRADE:
	case HTTP_F_KEEP_ALIVE:
	case HTTP_F_PROXY_CONNECTION:
	case HTTP_F_EXPECT:
	case HTTP_F_VIA:
	case HTTP_F_DATE:
	case HTTP_F_CONTENT_TYPE:
	case HTTP_F_RETRY_AFTER:
		return true;
	case HTTP_F_OTHER:
	case HTTP_F_PROXY_AUTHENTICATE:
	case HTTP_F_PROXY_AUTHORIZATION:
	case HTTP_F_FORWARDED:
	case HTTP_F_X_FORWARDED_FOR:
	case HTTP_F_X_FORWARDED_PROTO:
	case HTTP_F_X_FORWARDED_HOST:
	case HTTP_F_X_FORWARDED_PORT:
	case HTTP_F_X_REQUEST_ID:
	case HTTP_F_COOKIE:
	case HTTP_F_AUTHORIZATION:
	case HTTP_F_USER_AGENT:
	case HTTP_F_REFERER:
	case HTTP_F_SET_COOKIE:
	case HTTP_F_X_CLIENT_CERT:
	case HTTP_F_X_FORWARDED:
	case HTTP_F_STRICT_TRANSPORT_SECURITY:
	case HTTP_F_COUNT:
		break;
	}
	return false;
}

static bool is_name_byte(char b)
{
	return is_alnum(b) || b == '-' || b == '_';
}

/* A name, even one with something wrong at its end ("Host :"); not the rest of a value that a stray
 * line end has put on a line of its own. */
static void put_field_line(struct canvas *c, size_t end)
{
	size_t colon = find(c->bytes, 0, end, ':'), plain = 0, value;
	struct span name = span_make(c->bytes.ptr, colon);
	bool open;

	while (plain < colon && is_name_byte(name.ptr[plain]))
		plain++;
	if (colon == end || !plain) {
		put(c, 0, end, false);
		return;
	}
	open = plain == colon && is_open(http_field_id(name));
	put(c, 0, plain, true);
	put(c, plain, colon, false);
	value = colon + 1;
	while (value < end && (c->bytes.ptr[value] == ' ' || c->bytes.ptr[value] == '\t'))
		value++;
	put(c, colon, value, true);
	if (open) { /* Host may have userinfo where it must not */
		size_t secret = userinfo_end(c->bytes, value, end);

		put(c, value, secret, false);
		value = secret;
	}
	put(c, value, end, open);
}

/* --- lines ---------------------------------------------------------------------------------------
 */

enum line_kind { LINE_START, LINE_FIELD, LINE_OPAQUE };

static void draw(struct excerpt_line *l, enum line_kind kind, struct span bytes, size_t fault)
{
	struct canvas c = {.line = l, .bytes = bytes, .fault = fault};
	size_t end = bytes.len;

	while (end > 0 && is_line_end(bytes.ptr[end - 1]))
		end--;
	l->len = 0;
	l->caret = -1;
	switch (kind) {
	case LINE_START:
		put_start_line(&c, end);
		break;
	case LINE_FIELD:
		put_field_line(&c, end);
		break;
	case LINE_OPAQUE:
		put(&c, 0, end, false);
		break;
	}
	put(&c, end, bytes.len, true);
	if (fault == bytes.len)
		l->caret = (int16_t)l->len;
}

/* The line that byte `at` is in, or that it is one past: ends with its LF, or a CR that has none.
 */
static struct span line_around(struct span s, size_t at, size_t *ret_start)
{
	size_t start = at, end = at;
	size_t first = at > LOOK_BACK_BYTES ? at - LOOK_BACK_BYTES : 0;
	size_t last = s.len - at > LOOK_AHEAD_BYTES ? at + LOOK_AHEAD_BYTES : s.len;

	while (start > first && s.ptr[start - 1] != '\n' &&
		!(s.ptr[start - 1] == '\r' && (start == s.len || s.ptr[start] != '\n')))
		start--;
	while (end < last && !is_line_end(s.ptr[end]))
		end++;
	if (end < last && s.ptr[end] == '\r')
		end++;
	if (end < last && s.ptr[end] == '\n')
		end++;
	*ret_start = start;
	return span_make(s.ptr + start, end - start);
}

static void add(struct excerpt *e, enum excerpt_kind kind, struct span message, size_t line_at,
	size_t fault)
{
	struct excerpt_line *l = &e->lines[e->count++];
	size_t start;
	struct span line = line_around(message, line_at, &start);
	enum line_kind what = LINE_FIELD;

	if (kind == EXCERPT_CONTENT || (start > 0 && !is_line_end(message.ptr[start - 1])))
		what = LINE_OPAQUE; /* or its beginning is too far away */
	else if (start == 0)
		what = LINE_START;
	l->at = (uint32_t)start;
	draw(l, what, line, fault == NOT_HERE ? NOT_HERE : fault - start);
}

void excerpt_make(struct excerpt *e, enum excerpt_kind kind, struct span message, size_t at)
{
	size_t start, before;

	e->count = 0;
	if (!message.len)
		return;
	if (at > message.len)
		at = message.len;
	line_around(message, at, &start);
	if (kind == EXCERPT_HEAD && start > 0) {
		add(e, kind, message, 0, NOT_HERE);
		line_around(message, start - 1, &before);
		if (before > 0 && is_line_end(message.ptr[start - 1]))
			add(e, kind, message, before, NOT_HERE);
	}
	add(e, kind, message, at, at);
}

void excerpt_start_line(struct excerpt_line *l, struct span method, struct span target)
{
	struct canvas c = {.line = l, .bytes = method, .fault = NOT_HERE};

	*l = (struct excerpt_line){.caret = -1};
	put(&c, 0, method.len, true);
	put_byte(&c, ' ');
	c.bytes = target;
	put_target(&c, 0, target.len);
}
