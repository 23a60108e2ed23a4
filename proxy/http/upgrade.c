/*
 * Upgrade: did the server switch to what it was asked for (RFC 9110 7.8)?
 */
#include "proxy/http/http1.h"

static struct span next_protocol(struct span *list)
{
	size_t comma = span_find(*list, ',', 0);
	struct span one = span_trim(span_make(list->ptr, comma));

	*list = span_from(*list, comma < list->len ? comma + 1 : comma);
	return one;
}

static bool asked_for(struct span list, struct span protocol)
{
	while (list.len)
		if (span_ieq(next_protocol(&list), protocol))
			return true;
	return false;
}

bool http_upgrade_agrees(struct span asked, struct span named)
{
	if (!named.len)
		return false;
	while (named.len) {
		struct span protocol = next_protocol(&named);

		if (!protocol.len || !asked_for(asked, protocol))
			return false;
	}
	return true;
}
