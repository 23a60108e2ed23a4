/*
 * Paths. Oracles: what is normal stays as it is and where it is; normalising gives something
 * normal, no longer than before, with the query untouched and no segment of dots; refusing and
 * normalising agree.
 */
#include <stdio.h>
#include <stdlib.h>

#include "proxy/http/http1.h"
#include "tests/fuzz/fuzz.h"

static void check_segments(struct span path)
{
	size_t at = 1, end;

	ASSERT(path.len && path.ptr[0] == '/');
	for (; at <= path.len; at = end + 1) {
		end = span_find(path, '/', at);
		ASSERT(!span_eq(span_make(path.ptr + at, end - at), SPAN(".")));
		ASSERT(!span_eq(span_make(path.ptr + at, end - at), SPAN("..")));
	}
	ASSERT(span_find(path, '\\', 0) == path.len && span_find(path, '?', 0) == path.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span target = span_make(data, size), path, query, raw, raw_query, once, once_query;
	struct http_fault fault = {0};
	char *out = malloc(size + 1), *twice = malloc(size + 1);
	enum parse_rc normal, reject;

	ASSERT(out && twice);
	normal = http_path(target, HTTP_PATH_NORMALIZE, out, size, &path, &query, &fault);
	reject = http_path(target, HTTP_PATH_REJECT, NULL, 0, &raw, &raw_query, &fault);
	if (normal == PARSE_BAD) {
		ASSERT(fault.status == 400 && fault.at <= size && reject == PARSE_BAD);
	} else if (!span_eq(target, SPAN("*"))) {
		ASSERT((reject == PARSE_DONE) == (path.ptr == target.ptr));
		ASSERT(http_path(target, HTTP_PATH_RAW, NULL, 0, &raw, &raw_query, &fault) ==
			PARSE_DONE);
		ASSERT(!query.ptr == !raw_query.ptr && span_eq(query, raw_query));
		ASSERT(path.len <= raw.len);
		check_segments(path);
		/* the target to send: path, '?' and query side by side */
		if (query.ptr)
			ASSERT(query.ptr == path.ptr + path.len + 1 && query.ptr[-1] == '?');
		target = span_make(path.ptr, path.len + (query.ptr ? query.len + 1 : 0));
		ASSERT(http_path(target, HTTP_PATH_NORMALIZE, twice, target.len, &once, &once_query,
			       &fault) == PARSE_DONE);
		ASSERT(once.ptr == path.ptr && once.len == path.len);
	}
	free(out);
	free(twice);
	return 0;
}
