/*
 * PROXY protocol headers. Oracles: every beginning of a header wants more, and no more than there
 * is; what is refused stays refused with more bytes; what was read, written again, is read as the
 * same.
 */
#include <stdlib.h>

#include "proxy/net/proxy_protocol.h"
#include "tests/fuzz/fuzz.h"

/* From memory of exactly that size. */
static enum parse_rc parse(
	const uint8_t *data, size_t size, struct proxy_header *h, size_t *ret_bytes)
{
	char *in = malloc(size + !size);
	const char *why = NULL;
	enum parse_rc rc;

	ASSERT(in);
	memcpy(in, data, size);
	rc = proxy_header_parse(span_make(in, size), h, ret_bytes, &why);
	ASSERT(rc != PARSE_BAD || why);
	free(in);
	return rc;
}

static void check_written(const struct proxy_header *h, enum proxy_version version)
{
	char out[PROXY_HEADER_OUT_MAX];
	size_t len = proxy_header_write(out, version, &h->source, &h->destination), bytes;
	struct proxy_header again;

	ASSERT(parse((uint8_t *)out, len, &again, &bytes) == PARSE_DONE);
	ASSERT(bytes == len && again.has_addresses);
	ASSERT(addr_port(&again.source) == addr_port(&h->source) &&
		addr_eq_ip(&again.source, &h->source));
	ASSERT(addr_port(&again.destination) == addr_port(&h->destination) &&
		addr_eq_ip(&again.destination, &h->destination));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_header whole, part;
	size_t bytes, need;
	enum parse_rc rc = parse(data, size, &whole, &bytes);
	size_t end = rc == PARSE_DONE ? bytes : size;

	ASSERT(rc != PARSE_DONE || (bytes > 0 && bytes <= size));
	ASSERT(rc != PARSE_MORE || (bytes > size && bytes <= PROXY_HEADER_MAX));
	for (size_t n = 0; n < end; n += n < 256 ? 1 : 97) {
		enum parse_rc of_part = parse(data, n, &part, &need);

		ASSERT(of_part == PARSE_MORE || (of_part == PARSE_BAD && rc == PARSE_BAD));
		ASSERT(of_part == PARSE_BAD || need > n);
		ASSERT(of_part == PARSE_BAD || rc != PARSE_DONE || need <= bytes);
	}
	if (rc == PARSE_DONE && whole.has_addresses) {
		check_written(&whole, PROXY_V1);
		check_written(&whole, PROXY_V2);
	}
	return 0;
}
