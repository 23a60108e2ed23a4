/*
 * Keep-Alive, which no RFC keeps any more and most servers send: for how long an idle connection
 * stays open (RFC 2068 19.7.1.1).
 */
#include "proxy/http/http1.h"

static bool timeout_of(struct span parameter, uint64_t *ret_s)
{
	size_t equals = span_find(parameter, '=', 0);
	struct span value;

	if (equals == parameter.len ||
		!span_ieq(span_trim(span_make(parameter.ptr, equals)), SPAN("timeout")))
		return false;
	value = span_trim(span_from(parameter, equals + 1));
	if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
		value = span_make(value.ptr + 1, value.len - 2);
	return span_to_u64(value, HTTP_KEEP_ALIVE_MAX_S, ret_s) == 0;
}

bool http_keep_alive_timeout(const struct http_head *h, uint64_t *ret_s)
{
	uint64_t least = UINT64_MAX, one;

	if (!h->first[HTTP_F_KEEP_ALIVE])
		return false;
	for (unsigned i = h->first[HTTP_F_KEEP_ALIVE] - 1u; i < h->field_count; i++) {
		struct span list = h->fields[i].value;

		if (h->fields[i].id != HTTP_F_KEEP_ALIVE)
			continue;
		while (list.len) {
			size_t comma = span_find(list, ',', 0);

			if (timeout_of(span_make(list.ptr, comma), &one) && one < least)
				least = one;
			list = span_from(list, comma < list.len ? comma + 1 : comma);
		}
	}
	if (least == UINT64_MAX)
		return false;
	*ret_s = least;
	return true;
}
