/*
 * Content of HTTP/1 messages (RFC 9112 6 and 7): where it ends, and with chunked, what is content
 * and what is framing. Extensions are dropped; trailers are taken as one whole section, so that
 * they can be spans.
 */
#include "proxy/http/h1_internal.h"

enum chunk_state {
	CHUNK_SIZE,
	CHUNK_EXTENSION,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	CHUNK_TRAILERS,
	CHUNK_DONE
};

#define CHUNK_DIGITS_MAX 16

void http1_body_init(struct http1_body *b, enum http_framing framing, uint64_t length)
{
	*b = (struct http1_body){
		.framing = framing,
		.state = CHUNK_SIZE,
		.left = framing == HTTP_LENGTH ? length : 0,
	};
}

/* A byte of the chunk size, or what ends it. */
static enum parse_rc size_byte(
	struct http1_body *b, char c, size_t at, struct http_fault *ret_fault)
{
	unsigned digit = http_hex[(unsigned char)c];

	if (digit < 16) {
		if (++b->digits > CHUNK_DIGITS_MAX)
			return http_bad(ret_fault, 400, at, "chunk size of more than 16 digits");
		b->left = b->left << 4 | digit;
		return PARSE_DONE;
	}
	if (!b->digits || (c != '\r' && c != ';'))
		return http_bad(ret_fault, 400, at, "chunk size that is not a hexadecimal number");
	if (b->left > INT64_MAX)
		return http_bad(ret_fault, 400, at, "chunk size over 2^63-1");
	b->extension_bytes = 0;
	b->state = c == ';' ? CHUNK_EXTENSION : CHUNK_SIZE_LF;
	return PARSE_DONE;
}

/* Skips extension bytes from `at` on; returns the place after them. */
static enum parse_rc extension(
	struct http1_body *b, struct span in, size_t *at, struct http_fault *ret_fault)
{
	size_t room = HTTP1_EXTENSION_MAX - b->extension_bytes;
	size_t stop = in.len - *at > room ? *at + room : in.len;
	size_t end = scan_text(in.ptr, *at, stop);

	b->extension_bytes = (uint16_t)(b->extension_bytes + (end - *at));
	*at = end;
	if (end == in.len)
		return PARSE_MORE;
	if (in.ptr[end] == '\r') {
		b->state = CHUNK_SIZE_LF;
		*at = end + 1;
		return PARSE_DONE;
	}
	return http_bad(ret_fault, 400, end,
		end == stop ? "chunk extensions too long" : "control byte in a chunk extension");
}

/* The whole trailer section at the front of `in`, its empty line after it; nothing is taken on
 * MORE. */
static enum parse_rc trailers(struct http1_body *b, struct span in, struct http_fault *ret_fault)
{
	const struct line_limit limit = {HTTP1_TRAILERS_MAX, 431, "trailers too long"};
	struct span section =
		span_make(in.ptr, in.len < HTTP1_TRAILERS_MAX ? in.len : HTTP1_TRAILERS_MAX);
	size_t scanned = b->scanned, colon;
	enum parse_rc rc;
	bool plain;

	for (;;) {
		rc = line_find(section, b->line, &limit, &scanned, ret_fault);
		b->scanned = (uint32_t)scanned;
		if (rc == PARSE_MORE && section.len == HTTP1_TRAILERS_MAX)
			return http_bad(ret_fault, limit.status, section.len - 1, limit.why);
		if (rc != PARSE_DONE)
			return rc;
		if (scanned == b->line)
			break;
		colon = name_end(in.ptr, b->line, scanned, &plain);
		if (colon == b->line || in.ptr[colon] != ':')
			return http1_bad_name(in.ptr, b->line, scanned, colon, ret_fault);
		b->line = b->scanned = (uint32_t)(scanned += 2);
	}
	b->trailers = span_make(in.ptr, b->line);
	return PARSE_DONE;
}

/* One byte of fixed framing. */
static enum parse_rc expect(struct http1_body *b, char c, char expected, enum chunk_state next,
	size_t at, struct http_fault *ret_fault)
{
	if (c != expected)
		return http_bad(ret_fault, 400, at,
			expected == '\n' ? "CR without LF in chunk framing"
					 : "chunk longer than its size, or LF without CR");
	b->state = (uint8_t)next;
	return PARSE_DONE;
}

/* The part of `in` that the content may have. */
static struct span content(struct http1_body *b, struct span in)
{
	struct span data = span_make(in.ptr, in.len < b->left ? in.len : (size_t)b->left);

	b->left -= data.len;
	return data;
}

static enum parse_rc chunked_next(struct http1_body *b, struct span in, size_t *ret_used,
	struct span *ret_data, struct http_fault *ret_fault)
{
	enum parse_rc rc = PARSE_DONE;
	size_t at = 0;

	while (at < in.len && rc == PARSE_DONE) {
		switch ((enum chunk_state)b->state) {
		case CHUNK_SIZE:
			rc = size_byte(b, in.ptr[at], at, ret_fault);
			at++;
			break;
		case CHUNK_EXTENSION:
			rc = extension(b, in, &at, ret_fault);
			break;
		case CHUNK_SIZE_LF:
			rc = expect(b, in.ptr[at], '\n', b->left ? CHUNK_DATA : CHUNK_TRAILERS, at,
				ret_fault);
			at++;
			break;
		case CHUNK_DATA:
			*ret_data = content(b, span_from(in, at));
			at += ret_data->len;
			if (!b->left)
				b->state = CHUNK_DATA_CR;
			rc = PARSE_MORE;
			break;
		case CHUNK_DATA_CR:
			rc = expect(b, in.ptr[at], '\r', CHUNK_DATA_LF, at, ret_fault);
			at++;
			break;
		case CHUNK_DATA_LF:
			rc = expect(b, in.ptr[at], '\n', CHUNK_SIZE, at, ret_fault);
			b->digits = 0;
			at++;
			break;
		case CHUNK_TRAILERS:
			rc = trailers(b, span_from(in, at), ret_fault);
			if (rc == PARSE_BAD)
				ret_fault->at += (uint32_t)at;
			if (rc != PARSE_DONE)
				break;
			b->state = CHUNK_DONE;
			at += b->trailers.len + 2;
			*ret_used = at;
			return PARSE_DONE;
		case CHUNK_DONE:
			return PARSE_DONE;
		}
	}
	if (rc == PARSE_BAD)
		return rc;
	*ret_used = at;
	return b->state == CHUNK_DONE ? PARSE_DONE : PARSE_MORE;
}

enum parse_rc http1_body_next(struct http1_body *b, struct span in, size_t *ret_used,
	struct span *ret_data, struct http_fault *ret_fault)
{
	*ret_used = 0;
	*ret_data = span_make(in.ptr, 0);
	switch (b->framing) {
	case HTTP_NO_BODY:
		return PARSE_DONE;
	case HTTP_LENGTH:
		*ret_data = content(b, in);
		*ret_used = ret_data->len;
		return b->left ? PARSE_MORE : PARSE_DONE;
	case HTTP_UNTIL_CLOSE:
		*ret_data = in;
		*ret_used = in.len;
		return PARSE_MORE;
	case HTTP_CHUNKED:
		return chunked_next(b, in, ret_used, ret_data, ret_fault);
	}
	ASSERT(!"a framing");
	return PARSE_BAD;
}

enum parse_rc http1_body_skip(struct http1_body *b, uint64_t bytes)
{
	ASSERT(bytes <= http1_body_opaque(b));
	if (b->framing == HTTP_UNTIL_CLOSE)
		return PARSE_MORE;
	b->left -= bytes;
	return b->left ? PARSE_MORE : PARSE_DONE;
}

enum parse_rc http1_body_eof(const struct http1_body *b)
{
	bool done = b->framing == HTTP_UNTIL_CLOSE || b->framing == HTTP_NO_BODY ||
		    (b->framing == HTTP_LENGTH && b->left == 0) ||
		    (b->framing == HTTP_CHUNKED && b->state == CHUNK_DONE);

	return done ? PARSE_DONE : PARSE_BAD;
}
