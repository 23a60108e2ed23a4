#include "proxy/http/cookie.h"

bool http_cookie_next(struct span *list, struct span *ret_pair)
{
	while (list->len) {
		size_t end = span_find(*list, ';', 0);
		struct span pair = span_trim(span_make(list->ptr, end));

		*list = span_from(*list, end < list->len ? end + 1 : end);
		if (!pair.len)
			continue;
		*ret_pair = pair;
		return true;
	}
	return false;
}

bool http_cookie_is(struct span pair, struct span name, struct span *ret_value)
{
	if (pair.len <= name.len || pair.ptr[name.len] != '=' ||
		!span_eq(span_make(pair.ptr, name.len), name))
		return false;
	*ret_value = span_from(pair, name.len + 1);
	return true;
}

struct span http_cookie_find(const struct http_head *h, struct span name)
{
	if (!h->first[HTTP_F_COOKIE])
		return (struct span){0};
	for (unsigned i = h->first[HTTP_F_COOKIE] - 1u; i < h->field_count; i++) {
		struct span list = h->fields[i].value, pair, value;

		while (h->fields[i].id == HTTP_F_COOKIE && http_cookie_next(&list, &pair))
			if (http_cookie_is(pair, name, &value))
				return value;
	}
	return (struct span){0};
}
