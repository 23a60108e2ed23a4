/*
 * Content of HTTP/1. The first byte is the framing (c: chunked; u: until close; else a length), the
 * second says how it is cut, and the length. Oracles: any cutting gives the same content, end,
 * trailers and fault; content chunked anew, and its trailers, are read back as they were.
 */
#include <stdio.h>
#include <stdlib.h>

#include "proxy/http/http1.h"
#include "tests/fuzz/fuzz.h"

/* What a body came to. */
struct outcome {
	enum parse_rc rc, eof;
	size_t used, data_len, trailers_len, at;
	struct http_fault fault;
	char data[8192], trailers[HTTP1_TRAILERS_MAX];
};
static struct outcome whole, pieces, again;

/* As a connection would; step 0: in pieces as the seed says. */
static void read_body(struct outcome *o, enum http_framing framing, uint64_t length,
	struct span text, uint32_t seed, size_t step)
{
	struct http1_body body;
	struct span data;
	size_t have = 0, used;

	o->used = o->data_len = o->trailers_len = o->at = 0;
	o->fault = (struct http_fault){0};
	http1_body_init(&body, framing, length);
	do {
		size_t piece = step ? step : fuzz_piece(&seed);

		have = piece < text.len - have ? have + piece : text.len;
		do {
			char *in = malloc(have - o->used + 1);

			ASSERT(in);
			memcpy(in, text.ptr + o->used, have - o->used);
			o->rc = http1_body_next(
				&body, span_make(in, have - o->used), &used, &data, &o->fault);
			if (o->rc == PARSE_BAD) {
				o->at = o->used + o->fault.at;
			} else {
				ASSERT(used <= have - o->used);
				ASSERT(data.ptr >= in && data.ptr + data.len <= in + used);
				memcpy(o->data + o->data_len, data.ptr, data.len);
				o->data_len += data.len;
				o->used += used;
			}
			if (o->rc == PARSE_DONE && framing == HTTP_CHUNKED) {
				o->trailers_len = body.trailers.len;
				memcpy(o->trailers, body.trailers.ptr, body.trailers.len);
			}
			free(in);
		} while (o->rc == PARSE_MORE && used);
	} while (o->rc == PARSE_MORE && have < text.len);
	o->eof = http1_body_eof(&body);
}

static void same(const struct outcome *a, const struct outcome *b)
{
	ASSERT(a->rc == b->rc && a->at == b->at && a->data_len == b->data_len);
	ASSERT(a->fault.status == b->fault.status && a->fault.why == b->fault.why);
	ASSERT(a->rc == PARSE_BAD || (a->used == b->used && a->eof == b->eof));
	ASSERT(memcmp(a->data, b->data, a->data_len) == 0);
	ASSERT(a->trailers_len == b->trailers_len);
	ASSERT(memcmp(a->trailers, b->trailers, a->trailers_len) == 0);
}

/* Chunked anew, in chunks as the seed says. */
static void check_written(uint32_t seed)
{
	static char out[65536], last[16384];
	size_t n = 0, at = 0, tail;

	while (at < whole.data_len) {
		size_t chunk = fuzz_piece(&seed);

		chunk = chunk < whole.data_len - at ? chunk : whole.data_len - at;
		n += http1_write_chunk_head(out + n, chunk);
		memcpy(out + n, whole.data + at, chunk);
		memcpy(out + n + chunk, "\r\n", 2);
		n += chunk + 2;
		at += chunk;
	}
	tail = http1_write_last_chunk(
		out + n, sizeof(out) - n, span_make(whole.trailers, whole.trailers_len));
	ASSERT(tail > 0);
	read_body(&again, HTTP_CHUNKED, 0, span_make(out, n + tail), seed, 0);
	ASSERT(again.rc == PARSE_DONE && again.used == n + tail);
	ASSERT(again.data_len == whole.data_len &&
		memcmp(again.data, whole.data, whole.data_len) == 0);
	/* what may pass once may pass always */
	ASSERT(http1_write_last_chunk(
		       last, sizeof(last), span_make(again.trailers, again.trailers_len)) == tail);
	ASSERT(memcmp(last, out + n, tail) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum http_framing framing;
	struct span text;

	if (size < 3 || size > sizeof(whole.data))
		return 0;
	framing = data[0] == 'c' ? HTTP_CHUNKED : data[0] == 'u' ? HTTP_UNTIL_CLOSE : HTTP_LENGTH;
	text = span_make(data + 2, size - 2);
	read_body(&whole, framing, data[1], text, 0, text.len);
	read_body(&pieces, framing, data[1], text, data[1], 0);
	same(&whole, &pieces);
	read_body(&pieces, framing, data[1], text, 0, 1);
	same(&whole, &pieces);
	ASSERT(whole.used <= text.len && (whole.rc != PARSE_BAD || whole.at < text.len));
	ASSERT(whole.rc != PARSE_DONE || whole.eof == PARSE_DONE);
	if (whole.rc == PARSE_DONE && framing == HTTP_CHUNKED)
		check_written(data[1]);
	return 0;
}
