/*
 * ClientHellos. Oracles: every beginning wants more, and no more than there is; what is refused
 * stays refused with more bytes; the same message cut into other records has the same name.
 */
#include <stdlib.h>

#include "proxy/net/client_hello.h"
#include "tests/fuzz/fuzz.h"

static char room[CLIENT_HELLO_MAX], name[256], again[6 * 4096];
static struct client_hello hello;

/* From memory of exactly that size. */
static enum parse_rc parse(const void *data, size_t size, size_t *ret_bytes)
{
	char *in = malloc(size + !size);
	const char *why = NULL;
	enum parse_rc rc;

	ASSERT(in);
	memcpy(in, data, size);
	rc = client_hello_parse(span_make(in, size), room, &hello, ret_bytes, &why);
	ASSERT(rc != PARSE_BAD || why);
	free(in);
	return rc;
}

/* The message that stands in room, in records as the seed says. */
static void check_cut(size_t name_len, uint32_t seed)
{
	const uint8_t *m = (const uint8_t *)room;
	size_t left = 4 + ((size_t)m[1] << 16 | (size_t)m[2] << 8 | m[3]), at = 0, n = 0, bytes;
	static char copy[CLIENT_HELLO_MAX];

	memcpy(copy, room, left);
	while (left) {
		size_t piece = fuzz_piece(&seed);

		piece = piece < left ? piece : left;
		if (n + 5 + piece > sizeof(again) || n + 5 + piece > CLIENT_HELLO_WIRE_MAX)
			return;
		memcpy(again + n, "\x16\x03\x03\0", 4);
		again[n + 4] = (char)piece;
		memcpy(again + n + 5, copy + at, piece);
		n += 5 + piece;
		at += piece;
		left -= piece;
	}
	ASSERT(parse(again, n, &bytes) == PARSE_DONE);
	ASSERT(span_eq(hello.server_name, span_make(name, name_len)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t bytes, need, name_len = 0;
	enum parse_rc rc = parse(data, size, &bytes);
	bool over = false;

	ASSERT(rc != PARSE_MORE || (bytes > size && bytes <= CLIENT_HELLO_WIRE_MAX));
	if (rc == PARSE_DONE) {
		name_len = hello.server_name.len;
		ASSERT(name_len < sizeof(name));
		memcpy(name, hello.server_name.ptr ? hello.server_name.ptr : "", name_len);
		check_cut(name_len, (uint32_t)size);
	}
	for (size_t n = 0; n <= size; n += n < 300 ? 1 : 97) {
		enum parse_rc of_part = parse(data, n, &need);

		ASSERT(!over || of_part != PARSE_MORE);
		ASSERT(of_part != PARSE_MORE || need > n);
		ASSERT(of_part == PARSE_MORE || of_part == rc);
		over = of_part != PARSE_MORE;
	}
	return 0;
}
