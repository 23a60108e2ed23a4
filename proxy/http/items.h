/*
 * Items of a list in a field or a query, one after the other, without copying: "a, b", "a=1; b=2",
 * "a=1&b=2".
 */
#pragma once

#include "shared/span.h"

/* The next item, without the blanks around it; false at the end. Takes it off the list. */
static inline bool item_next(struct span *list, char separator, struct span *ret_item)
{
	size_t end;

	if (!list->ptr)
		return false;
	end = span_find(*list, separator, 0);
	*ret_item = span_trim(span_make(list->ptr, end));
	*list = end < list->len ? span_from(*list, end + 1) : (struct span){0};
	return true;
}

/* The same for items such as name=value; without a "=" the value is empty. */
static inline bool parameter_next(
	struct span *list, char separator, struct span *ret_name, struct span *ret_value)
{
	struct span item;
	size_t equals;

	if (!item_next(list, separator, &item))
		return false;
	equals = span_find(item, '=', 0);
	*ret_name = span_make(item.ptr, equals);
	*ret_value = equals < item.len ? span_from(item, equals + 1) : span_make("", 0);
	return true;
}
