/*
 * Borrowed runs of bytes: comparing, trimming, copying out. ASCII rules only, whatever the locale
 * says.
 */
#include "shared/span.h"

#include <stdlib.h>

#include "shared/assert.h"

bool span_ieq(struct span a, struct span b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i]))
			return false;
	return true;
}

struct span span_trim(struct span s)
{
	while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
		s = span_from(s, 1);
	while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
		s.len--;
	return s;
}

size_t span_find(struct span s, char c, size_t from)
{
	const char *hit;

	if (from >= s.len)
		return s.len;
	hit = memchr(s.ptr + from, c, s.len - from);
	return hit ? (size_t)(hit - s.ptr) : s.len;
}

char *span_dup(struct span s)
{
	char *copy = malloc(s.len + 1);

	if (!copy)
		return NULL;
	if (s.len)
		memcpy(copy, s.ptr, s.len);
	copy[s.len] = '\0';
	return copy;
}

int span_copy(struct span s, char *out, size_t size)
{
	size_t n = s.len < size ? s.len : size - 1;

	ASSERT(size > 0);
	if (n)
		memcpy(out, s.ptr, n);
	out[n] = '\0';
	return n == s.len ? 0 : -1;
}

int span_to_u64(struct span s, uint64_t max, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (s.len == 0)
		return -1;
	for (size_t i = 0; i < s.len; i++) {
		uint64_t digit = (uint64_t)(unsigned char)s.ptr[i] - '0';

		if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, digit, &value))
			return -1;
	}
	if (value > max)
		return -1;
	*ret_value = value;
	return 0;
}

/* Bytes of the sequence that begins at s, 0 when it is not well formed. */
static size_t utf8_sequence(struct span s)
{
	unsigned char c = (unsigned char)s.ptr[0], low = 0x80, high = 0xbf;
	size_t n;

	if (c < 0x80)
		return 1;
	if (c >= 0xc2 && c <= 0xdf)
		n = 2;
	else if (c >= 0xe0 && c <= 0xef)
		n = 3;
	else if (c >= 0xf0 && c <= 0xf4)
		n = 4;
	else
		return 0;
	if (s.len < n)
		return 0;
	/* The second byte rules out overlong forms, surrogates and what is past U+10FFFF. */
	if (c == 0xe0)
		low = 0xa0;
	else if (c == 0xed)
		high = 0x9f;
	else if (c == 0xf0)
		low = 0x90;
	else if (c == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i < n; i++, low = 0x80, high = 0xbf) {
		unsigned char next = (unsigned char)s.ptr[i];

		if (next < low || next > high)
			return 0;
	}
	return n;
}

size_t span_utf8(struct span s)
{
	size_t at = 0;

	while (at < s.len) {
		size_t n = utf8_sequence(span_from(s, at));

		if (n == 0)
			break;
		at += n;
	}
	return at;
}
