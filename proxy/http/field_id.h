/*
 * Which known field a name is, in line for the loop over field lines: its length and first letter
 * say which one it could be, and it is compared with that one's text. Nearly every name is shorter
 * than sixteen bytes and made of letters and '-': where the machine has SSE2, its end and its id
 * come out of the same sixteen bytes.
 */
#pragma once

#include "proxy/http/http1.h"
#include "proxy/http/scan.h"
#include "shared/assert.h"

/* Words of 8, 4 or 2 bytes in lower case: bit 0x20 is set only where 0x40 is, so '-' and CR stay
 * apart. */
static inline uint64_t word_lower(const char *p, size_t n)
{
	uint64_t word = 0;

	memcpy(&word, p, n);
	return word | ((word & 0x4040404040404040) >> 1);
}

/* Is p the same as text, n >= 2 lower-case letters, digits and '-'? The last word overlaps the one
 * before it. */
static inline __attribute__((always_inline)) bool name_is(const char *p, const char *text, size_t n)
{
	const char *last = p + n, *text_last = text + n;

	if (n < 4)
		return word_lower(p, 2) == word_lower(text, 2) &&
		       word_lower(last - 2, 2) == word_lower(text_last - 2, 2);
	if (n < 8)
		return word_lower(p, 4) == word_lower(text, 4) &&
		       word_lower(last - 4, 4) == word_lower(text_last - 4, 4);
	for (; last - p > 8; p += 8, text += 8)
		if (word_lower(p, 8) != word_lower(text, 8))
			return false;
	return word_lower(last - 8, 8) == word_lower(text_last - 8, 8);
}

/* Is this span the literal, in any case? */
#define SPAN_IS(s, literal) \
	((s).len == sizeof(literal) - 1 && name_is((s).ptr, literal, sizeof(literal) - 1))

/* Names by id, with room for a whole vector. */
#define NAME_BYTES 32
extern const char http1_names[HTTP_F_COUNT][NAME_BYTES];
/* By length and first letter (modulo 32): the id that a name may have. Some have a second, see
 * http1_second_field_id(). */
#define NAME_LENGTHS 20
extern const uint8_t http1_candidates[NAME_LENGTHS][32];

enum http_field_id http1_long_field_id(struct span name);
/* Of a name that has a candidate and is not that one. */
enum http_field_id http1_second_field_id(struct span name);

static inline unsigned name_candidate(const char *name, size_t len)
{
	return http1_candidates[len][name[0] & 31];
}

static inline enum http_field_id http1_field_id(struct span name)
{
	unsigned id;

	if (name.len < 2)
		return HTTP_F_OTHER;
	if (name.len >= NAME_LENGTHS)
		return http1_long_field_id(name);
	id = name_candidate(name.ptr, name.len);
	if (id == HTTP_F_OTHER)
		return HTTP_F_OTHER;
	if (name_is(name.ptr, http1_names[id], name.len))
		return id;
	return http1_second_field_id(name);
}

/*
 * The length of the name that the line at p begins with, and its id, in one look at the NAME_ROOM
 * bytes that must be there. 0: too long for that, or not made of letters and '-', or no name.
 */
#define NAME_ROOM 16
#ifdef __SSE2__
static inline __attribute__((always_inline)) size_t name_at_once(const char *p, unsigned *ret_id)
{
	__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
	__m128i lower = _mm_or_si128(v, _mm_set1_epi8(0x20)); /* as far as the name goes */
	unsigned len = (unsigned)__builtin_ctz(~(unsigned)_mm_movemask_epi8(name_bytes(v, lower)));
	unsigned id, same;

	if (len - 1 >= NAME_ROOM - 1 || p[len] != ':')
		return 0;
	id = name_candidate(p, len);
	if (id != HTTP_F_OTHER) {
		const void *known = http1_names[id];

		/* The NULs after the known name are like nothing in lower case. */
		same = (unsigned)_mm_movemask_epi8(
			_mm_cmpeq_epi8(lower, _mm_load_si128((const __m128i *)known)));
		if (same + 1 != 1u << len)
			id = http1_second_field_id(span_make(p, len));
	}
	*ret_id = id;
	return len;
}
#else
static inline size_t name_at_once(const char *p, unsigned *ret_id)
{
	(void)p, (void)ret_id;
	return 0;
}
#endif
