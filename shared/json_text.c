#include "shared/json_text.h"

#include <stdlib.h>

static int put_value(struct buf *out, json_t *value);

static int put(struct buf *out, const char *text)
{
	return buf_append(out, span_of(text));
}

static bool is_plain(char c)
{
	return (unsigned char)c >= 0x20 && c != '"' && c != '\\';
}

/* RFC 8259 7 */
static int put_escape(struct buf *out, char c)
{
	static const char names[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
	const char *at = c ? strchr(names, c) : NULL;

	if (at)
		return buf_printf(out, "\\%c", letters[at - names]);
	return buf_printf(out, "\\u%04X", (unsigned)(unsigned char)c);
}

static int put_string(struct buf *out, const char *text, size_t len)
{
	size_t end = 0;

	if (put(out, "\"") < 0)
		return -1;
	for (size_t at = 0; at < len; at = end + 1) {
		for (end = at; end < len && is_plain(text[end]);)
			end++;
		if (buf_append(out, span_make(text + at, end - at)) < 0 ||
			(end < len && put_escape(out, text[end]) < 0))
			return -1;
	}
	return put(out, "\"");
}

static int put_integer(struct buf *out, json_int_t n)
{
	char digits[24], *at = digits + sizeof(digits);
	uint64_t left = n < 0 ? -(uint64_t)n : (uint64_t)n;

	do
		*--at = (char)('0' + left % 10);
	while ((left /= 10) > 0);
	if (n < 0)
		*--at = '-';
	return buf_append(out, span_make(at, (size_t)(digits + sizeof(digits) - at)));
}

static int put_real(struct buf *out, const json_t *value)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY);
	int rc = text ? put(out, text) : -1;

	free(text);
	return rc;
}

static int put_object(struct buf *out, json_t *all)
{
	const char *before = "{";

	for (void *it = json_object_iter(all); it; it = json_object_iter_next(all, it)) {
		if (put(out, before) < 0 ||
			put_string(out, json_object_iter_key(it), json_object_iter_key_len(it)) <
				0 ||
			put(out, ":") < 0 || put_value(out, json_object_iter_value(it)) < 0)
			return -1;
		before = ",";
	}
	return put(out, *before == '{' ? "{}" : "}");
}

static int put_array(struct buf *out, const json_t *array)
{
	size_t count = json_array_size(array);

	for (size_t i = 0; i < count; i++)
		if (put(out, i ? "," : "[") < 0 || put_value(out, json_array_get(array, i)) < 0)
			return -1;
	return put(out, count ? "]" : "[]");
}

static int put_value(struct buf *out, json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return put_object(out, value);
	case JSON_ARRAY:
		return put_array(out, value);
	case JSON_STRING:
		return put_string(out, json_string_value(value), json_string_length(value));
	case JSON_INTEGER:
		return put_integer(out, json_integer_value(value));
	case JSON_REAL:
		return put_real(out, value);
	case JSON_TRUE:
		return put(out, "true");
	case JSON_FALSE:
		return put(out, "false");
	case JSON_NULL:
		return put(out, "null");
	}
	return -1;
}

int json_text_put(struct buf *out, json_t *value)
{
	size_t before = out->len;
	int rc = put_value(out, value);

	if (rc < 0)
		buf_shorten(out, before);
	return rc;
}
