/*
 * HTTP/1 heads, line by line and in place (RFC 9112 2 to 5). A line is taken when its CRLF is
 * there, after one scan over it that also finds every control byte; what has been scanned is never
 * scanned again. When the buffer has moved between calls the spans found so far are moved with it.
 * What the complete set of fields means is h1_meaning.c's.
 */
#include "proxy/http/h1_internal.h"

void http_head_init(struct http_head *h)
{
	char *p = (char *)h;
	size_t left = offsetof(struct http_head, fields);

	/* In pieces that become plain stores; of the whole the compiler makes a slow string
	 * instruction. */
	for (; left >= 64; left -= 64, p += 64)
		memset(p, 0, 64);
	memset(p, 0, left);
}

/* What stands for a part that was not there ("/") stays where it is. */
static void span_move(struct span *s, const struct http_head *h, const char *to)
{
	uintptr_t at = (uintptr_t)s->ptr - (uintptr_t)h->base;

	if (s->ptr && at <= h->scanned)
		s->ptr = to + at;
}

void http_head_move(struct http_head *h, const char *to)
{
	if (h->base) {
		span_move(&h->method_text, h, to);
		span_move(&h->target, h, to);
		span_move(&h->authority, h, to);
		span_move(&h->upgrade, h, to);
		span_move(&h->reason, h, to);
		for (unsigned i = 0; i < h->field_count; i++) {
			span_move(&h->fields[i].name, h, to);
			span_move(&h->fields[i].value, h, to);
		}
	}
	h->base = to;
}

enum parse_rc http1_line_find(struct span in, size_t start, const struct line_limit *limit,
	size_t *scanned, struct http_fault *ret_fault)
{
	size_t stop = in.len - start > limit->bytes ? start + limit->bytes + 1 : in.len;
	size_t at = *scanned < stop ? scan_text(in.ptr, *scanned, stop) : stop;

	*scanned = at;
	if (at < stop && in.len - at >= 2 && memcmp(in.ptr + at, "\r\n", 2) == 0)
		return PARSE_DONE;
	if (at == stop) {
		if (at - start > limit->bytes)
			return http_bad(ret_fault, limit->status, at - 1, limit->why);
		return PARSE_MORE;
	}
	if (in.ptr[at] == '\r')
		return at + 1 == in.len ? PARSE_MORE
					: http_bad(ret_fault, 400, at, "CR without LF");
	return http_bad(ret_fault, 400, at, in.ptr[at] == '\n' ? "LF without CR" : "control byte");
}

enum parse_rc http1_bad_name(
	const char *base, size_t at, size_t end, size_t bad, struct http_fault *ret_fault)
{
	const char *why = "byte in a field name that is not a token's";

	if (bad == end)
		why = "field line without a colon";
	else if (base[bad] == ':')
		why = "empty field name";
	else if (base[bad] == ' ' || base[bad] == '\t')
		why = bad == at ? "folded field line" : "space in or after a field name";
	return http_bad(ret_fault, 400, bad, why);
}

bool http1_is_lookalike(struct span name)
{
	static const uint64_t guarded =
		FIELDS_OURS | FIELD_BIT(X_FORWARDED) | FIELDS_HOP_BY_HOP | FIELD_BIT(EXPECT);
	char dashed[32];
	bool found = false;

	if (name.len > sizeof(dashed))
		return false;
	for (size_t i = 0; i < name.len; i++) {
		found |= name.ptr[i] == '_';
		dashed[i] = name.ptr[i] == '_' ? '-' : name.ptr[i];
	}
	return found && field_in(http_field_id(span_make(dashed, name.len)), guarded);
}

/*
 * The name of the line [at, end) where it cannot be read at once: its length and id, and whether
 * it looks like one that it is not.
 */
static __attribute__((noinline)) enum parse_rc odd_name(
	const char *base, size_t at, size_t end, struct http_field *f, struct http_fault *ret_fault)
{
	bool plain;
	size_t colon = name_end(base, at, end, &plain);

	if (colon == at || base[colon] != ':')
		return http1_bad_name(base, at, end, colon, ret_fault);
	f->name = span_make(base + at, colon - at);
	f->id = (uint8_t)http1_field_id(f->name);
	f->nominated = !plain && http1_is_lookalike(f->name);
	return PARSE_DONE;
}

/* In a line that line_find() found there is no control but TAB, and CR after its end. */
static inline bool is_blank_or_end(char c)
{
	return (unsigned char)c <= ' ';
}

/* The value of a line between its colon and its CR, at which the search for a value stops. */
static inline struct span value_between(struct http_head *h, const char *from, const char *end)
{
	if (*++from == ' ')
		from++;
	if (UNLIKELY(is_blank_or_end(*from)))
		while (from < end && is_blank_or_end(*from))
			from++;
	if (UNLIKELY(is_blank_or_end(end[-1])))
		for (; end > from && is_blank_or_end(end[-1]); end--)
			h->ragged = true;
	return span_make(from, (size_t)(end - from));
}

/* The field lines from h->at on, and the empty line. */
static enum parse_rc field_lines(struct http_head *h, struct span in,
	const struct http_limits *limits, struct http_fault *ret_fault)
{
	const struct line_limit line = {limits->field_bytes, 431, "field too long"};
	unsigned fields_max = limits->fields < HTTP_FIELDS_MAX ? limits->fields : HTTP_FIELDS_MAX;
	unsigned count = h->field_count;
	struct http_field *f = h->fields + count;
	size_t at = h->at, scanned = h->scanned;
	enum parse_rc rc;

	for (;; at = scanned += 2) {
		unsigned id = HTTP_F_OTHER;
		size_t len;

		rc = line_find(in, at, &line, &scanned, ret_fault);
		if (UNLIKELY(rc != PARSE_DONE))
			break;
		if (scanned == at) {
			h->head_bytes = (uint32_t)at + 2;
			break;
		}
		if (UNLIKELY(count == fields_max)) {
			rc = http_bad(ret_fault, 431, at, "too many fields");
			break;
		}
		len = in.len - at >= NAME_ROOM ? name_at_once(in.ptr + at, &id) : 0;
		if (len) {
			f->name = span_make(in.ptr + at, len);
			f->id = (uint8_t)id;
			f->nominated = false;
		} else {
			rc = odd_name(in.ptr, at, scanned, f, ret_fault);
			if (rc != PARSE_DONE)
				break;
			len = f->name.len;
			id = f->id;
		}
		f->value = value_between(h, in.ptr + at + len, in.ptr + scanned);
		f++;
		count++;
		if (id == HTTP_F_OTHER)
			continue;
		if (UNLIKELY(h->first[id]))
			h->repeated |= UINT64_C(1) << id;
		else
			h->first[id] = (uint8_t)count;
	}
	h->field_count = (uint16_t)count;
	h->at = (uint32_t)at;
	h->scanned = (uint32_t)scanned;
	return rc;
}

/* "HTTP/1.x" of 8 bytes: DONE and *ret_minor, else BAD with 505 for what is newer and 400 for junk.
 */
static inline enum parse_rc version(
	const char *p, size_t at, uint8_t *ret_minor, struct http_fault *ret_fault)
{
	if (memcmp(p, "HTTP/1.1", 8) == 0) {
		*ret_minor = 1;
		return PARSE_DONE;
	}
	if (memcmp(p, "HTTP/", 5) != 0 || p[5] < '0' || p[5] > '9' || p[6] != '.' || p[7] < '0' ||
		p[7] > '9')
		return http_bad(ret_fault, 400, at, "junk where HTTP/1.1 belongs");
	if (p[5] != '1')
		return http_bad(
			ret_fault, p[5] == '0' ? 400 : 505, at, "HTTP version that is not 1.x");
	*ret_minor = p[7] != '0';
	return PARSE_DONE;
}

enum http_method http_method_of(struct span text)
{
#define X(name, literal)                                              \
	if (sizeof(literal) > 1 && text.len == sizeof(literal) - 1 && \
		memcmp(text.ptr, literal, sizeof(literal) - 1) == 0)  \
		return HTTP_##name;
	HTTP_METHODS(X)
#undef X
	return HTTP_OTHER;
}

/* method SP target SP version, in [at, end). */
static enum parse_rc request_line(
	struct http_head *h, const char *base, size_t at, size_t end, struct http_fault *ret_fault)
{
	bool get = end - at > 4 && memcmp(base + at, "GET ", 4) == 0;
	size_t stop = get ? at + 3 : scan_portable(base, at, end, CHAR_TOKEN, false);
	size_t from = stop + 1;
	enum parse_rc rc;

	if (stop == at || stop == end || base[stop] != ' ')
		return http_bad(ret_fault, 400, stop, "byte in the method that is not a token's");
	h->target = span_make(base + from, scan_target(base, from, end) - from);
	h->method = get ? HTTP_GET : http_method_of(span_make(base + at, stop - at));
	stop = from + h->target.len;
	if (stop == from)
		return http_bad(ret_fault, 400, from, "request line without a target");
	if (stop == end)
		return http_bad(ret_fault, 400, end, "request line without a version (HTTP/0.9)");
	if (base[stop] != ' ')
		return http_bad(ret_fault, 400, stop, "byte in the target that must be escaped");
	if (end - stop != 9)
		return http_bad(ret_fault, 400, stop, "space in the target, or junk after it");
	rc = version(base + stop + 1, stop + 1, &h->minor, ret_fault);
	if (rc == PARSE_DONE) /* last, for it says that this line is done */
		h->method_text = span_make(base + at, from - 1 - at);
	return rc;
}

/* The whole head was not in as much as a head may be? */
static enum parse_rc more(
	struct span in, const struct http_limits *limits, struct http_fault *ret_fault)
{
	if (in.len < limits->head_bytes)
		return PARSE_MORE;
	return http_bad(ret_fault, 431, limits->head_bytes, "head too long");
}

enum parse_rc http1_parse_request(struct http_head *h, struct span in,
	const struct http_limits *limits, struct http_fault *ret_fault)
{
	const struct line_limit line = {limits->line_bytes, 414, "request line too long"};
	struct span head =
		span_make(in.ptr, in.len < limits->head_bytes ? in.len : limits->head_bytes);
	size_t scanned = h->scanned;
	enum parse_rc rc;

	ASSERT(head.len >= h->scanned && h->scanned >= h->at);
	if (h->base != in.ptr)
		http_head_move(h, in.ptr);
	while (!h->method_text.len) {
		rc = line_find(head, h->at, &line, &scanned, ret_fault);
		if (rc == PARSE_DONE && scanned > h->at)
			rc = request_line(h, in.ptr, h->at, scanned, ret_fault);
		h->scanned = (uint32_t)scanned;
		if (rc != PARSE_DONE)
			return rc == PARSE_MORE ? more(in, limits, ret_fault) : rc;
		h->at = h->scanned = (uint32_t)(scanned += 2);
	}
	rc = field_lines(h, head, limits, ret_fault);
	if (rc == PARSE_DONE)
		return http1_request_meaning(h, ret_fault);
	return rc == PARSE_MORE ? more(in, limits, ret_fault) : rc;
}

/* version SP three digits [SP reason], in [0, end). */
static enum parse_rc status_line(
	struct http_head *h, const char *base, size_t end, struct http_fault *ret_fault)
{
	enum parse_rc rc;
	unsigned status = 0;

	if (end < 12 || base[8] != ' ')
		return http_bad(ret_fault, 502, 0, "no status line");
	rc = version(base, 0, &h->minor, ret_fault);
	if (rc != PARSE_DONE)
		return rc;
	for (unsigned i = 9; i < 12; i++) {
		if (base[i] < '0' || base[i] > '9')
			return http_bad(ret_fault, 502, i, "status that is not three digits");
		status = status * 10 + (unsigned)(base[i] - '0');
	}
	if (status < 100 || (end > 12 && base[12] != ' '))
		return http_bad(ret_fault, 502, 9, "junk for a status");
	h->reason = end > 13 ? span_make(base + 13, end - 13) : span_make(base + end, 0);
	h->status = (uint16_t)status;
	return PARSE_DONE;
}

static enum parse_rc response_lines(struct http_head *h, struct span in,
	const struct http_limits *limits, struct http_fault *ret_fault)
{
	const struct line_limit line = {limits->line_bytes, 502, "status line too long"};
	struct span head =
		span_make(in.ptr, in.len < limits->head_bytes ? in.len : limits->head_bytes);
	size_t scanned = h->scanned;
	enum parse_rc rc = PARSE_DONE;

	ASSERT(head.len >= h->scanned && h->scanned >= h->at);
	if (h->base != in.ptr)
		http_head_move(h, in.ptr);
	if (!h->status) {
		rc = line_find(head, h->at, &line, &scanned, ret_fault);
		if (rc == PARSE_DONE)
			rc = status_line(h, in.ptr, scanned, ret_fault);
		h->scanned = (uint32_t)scanned;
		if (rc == PARSE_DONE)
			h->at = h->scanned += 2;
	}
	if (rc == PARSE_DONE)
		rc = field_lines(h, head, limits, ret_fault);
	return rc == PARSE_MORE ? more(in, limits, ret_fault) : rc;
}

enum parse_rc http1_parse_response(struct http_head *h, struct span in,
	const struct http_limits *limits, enum http_method request_method,
	struct http_fault *ret_fault)
{
	enum parse_rc rc = response_lines(h, in, limits, ret_fault);

	if (rc == PARSE_DONE)
		rc = http1_response_meaning(h, request_method, ret_fault);
	if (rc == PARSE_BAD)
		ret_fault->status = 502; /* whatever is wrong, it is the server's fault */
	return rc;
}
