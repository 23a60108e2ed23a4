/*
 * What the files of the HTTP/1 core share and nobody else needs: faults, finding the end of a line,
 * field names, sets of known fields.
 */
#pragma once

#include "proxy/http/field_id.h"
#include "proxy/http/http1.h"
#include "proxy/http/scan.h"
#include "shared/assert.h"

#define UNLIKELY(cond) __builtin_expect(!!(cond), 0)

/* Sets of known fields, as bits. */
#define FIELD_BIT(id) (UINT64_C(1) << HTTP_F_##id)
_Static_assert(HTTP_F_COUNT <= 64, "a set of known fields is 64 bits");

static inline bool field_in(unsigned id, uint64_t set)
{
	return set >> id & 1;
}

/* For this hop only, in both directions (RFC 9110 7.6.1). */
#define FIELDS_HOP_BY_HOP                                                              \
	(FIELD_BIT(CONNECTION) | FIELD_BIT(KEEP_ALIVE) | FIELD_BIT(PROXY_CONNECTION) | \
		FIELD_BIT(TE) | FIELD_BIT(TRANSFER_ENCODING) | FIELD_BIT(UPGRADE) |    \
		FIELD_BIT(PROXY_AUTHENTICATE) | FIELD_BIT(PROXY_AUTHORIZATION))
#define FIELDS_FORWARDED                                                                           \
	(FIELD_BIT(X_FORWARDED_FOR) | FIELD_BIT(X_FORWARDED_PROTO) | FIELD_BIT(X_FORWARDED_HOST) | \
		FIELD_BIT(X_FORWARDED_PORT) | FIELD_BIT(FORWARDED) | FIELD_BIT(X_CLIENT_CERT))
/* What we set, or stake the framing and routing on: a Connection field cannot take it away. */
#define FIELDS_OURS                                                                       \
	(FIELDS_FORWARDED | FIELD_BIT(HOST) | FIELD_BIT(CONTENT_LENGTH) |                 \
		FIELD_BIT(TRANSFER_ENCODING) | FIELD_BIT(X_REQUEST_ID) | FIELD_BIT(VIA) | \
		FIELD_BIT(DATE))

/* The first field of an id and the one after f of the same id, or NULL. */
static inline const struct http_field *field_first(const struct http_head *h, enum http_field_id id)
{
	return h->first[id] ? &h->fields[h->first[id] - 1] : NULL;
}

static inline const struct http_field *field_next(
	const struct http_head *h, const struct http_field *f)
{
	unsigned id = f->id;

	if (field_in(id, h->repeated))
		while (++f < h->fields + h->field_count)
			if (f->id == id)
				return f;
	return NULL;
}

static inline enum parse_rc http_bad(
	struct http_fault *f, uint16_t status, size_t at, const char *why)
{
	*f = (struct http_fault){.status = status, .at = (uint32_t)at, .why = why};
	return PARSE_BAD;
}

/* How long a line may be, CRLF not counted, and what is said of a longer one. */
struct line_limit {
	uint32_t bytes;
	uint16_t status;
	const char *why;
};

/*
 * Looks for the end of the line that begins at `start`, from *scanned on. DONE: *scanned is the
 * offset of its CR, and LF follows. MORE: *scanned is where to go on. The verdict depends on the
 * bytes alone, not on how many of them are there. The second is for what is not found at once.
 */
enum parse_rc http1_line_find(struct span in, size_t start, const struct line_limit *limit,
	size_t *scanned, struct http_fault *ret_fault);
static inline __attribute__((always_inline)) enum parse_rc line_find(struct span in, size_t start,
	const struct line_limit *limit, size_t *scanned, struct http_fault *ret_fault)
{
	size_t at = scan_line(in.ptr, *scanned, in.len);
	enum parse_rc rc = PARSE_DONE;

	if (UNLIKELY(at + 1 >= in.len || memcmp(in.ptr + at, "\r\n", 2) != 0 ||
		     at - start > limit->bytes)) {
		size_t place = at; /* so that *scanned, if it is local, can stay in a register */

		rc = http1_line_find(in, start, limit, &place, ret_fault);
		at = place;
	}
	*scanned = at;
	return rc;
}

/*
 * Offset of the colon that ends the field name of the line [at, end), or of what is wrong there
 * (which http1_bad_name() then words); end is the offset of the line's CR. *ret_plain: letters,
 * digits and '-' only.
 */
static inline size_t name_end(const char *base, size_t at, size_t end, bool *ret_plain)
{
	size_t stop = scan_name(base, at, end);

	*ret_plain = base[stop] == ':'; /* at the end there is a CR */
	return *ret_plain ? stop : scan_portable(base, stop, end, CHAR_TOKEN, false);
}
enum parse_rc http1_bad_name(
	const char *base, size_t at, size_t end, size_t bad, struct http_fault *ret_fault);
/* Would a server that makes no difference between _ and - take this name for a field of FIELDS_OURS
 * or of a hop? */
bool http1_is_lookalike(struct span name);

/* What the fields of a complete head mean: framing, authority, persistence, expectations. */
enum parse_rc http1_request_meaning(struct http_head *h, struct http_fault *ret_fault);
enum parse_rc http1_response_meaning(
	struct http_head *h, enum http_method request_method, struct http_fault *ret_fault);
/* The same of an HTTP/2 head; ends: and with it the message. */
enum parse_rc http2_request_meaning(struct http_head *h, bool ends, struct http_fault *ret_fault);
enum parse_rc http2_response_meaning(struct http_head *h, enum http_method request_method,
	bool ends, struct http_fault *ret_fault);
enum http_method http_method_of(struct span text);
