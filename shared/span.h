/*
 * A borrowed run of bytes: pointer and length, never NUL-terminated, owned by somebody else.
 * Part of the core: no I/O, no allocation.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const char *ptr;
	size_t len;
};

#define SPAN(literal) ((struct span){"" literal, sizeof(literal) - 1})
/* For printf: printf("%.*s", SPAN_ARG(s)). */
#define SPAN_ARG(s) (int)(s).len, (s).ptr

static inline struct span span_make(const void *ptr, size_t len)
{
	return (struct span){ptr, len};
}

static inline struct span span_of(const char *text)
{
	return (struct span){text, text ? strlen(text) : 0};
}

static inline bool span_eq(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* The tail of s from `from` (which may not pass the end). */
static inline struct span span_from(struct span s, size_t from)
{
	return (struct span){s.ptr + from, s.len - from};
}

static inline bool span_starts(struct span s, struct span prefix)
{
	return s.len >= prefix.len &&
	       (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

/* ASCII only, whatever the locale says. */
static inline char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool span_ieq(struct span a, struct span b);
/* Without the spaces and tabs (OWS of RFC 9110 5.6.3) at both ends. */
struct span span_trim(struct span s);
/* Offset of the first c at or after `from`, or s.len. */
size_t span_find(struct span s, char c, size_t from);
/* A NUL-terminated copy, owned by the caller; NULL when out of memory. */
char *span_dup(struct span s);
/* Copies into out (size bytes, always NUL-terminated); -1 when it did not fit. */
int span_copy(struct span s, char *out, size_t size);
/* Decimal digits only, whole span, no sign; -1 on anything else or overflow of max. */
int span_to_u64(struct span s, uint64_t max, uint64_t *ret_value);
/* Offset of the first byte that is not part of well-formed UTF-8 (RFC 3629), or s.len. */
size_t span_utf8(struct span s);
