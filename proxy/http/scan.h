/*
 * Looking through bytes of HTTP/1: character classes, and "where is the first byte that stops this"
 * for the classes that heads are made of, sixteen at a time where the machine has SSE2 (every
 * x86-64), byte by byte elsewhere. Both ways give the same answer; the tests compare them.
 *
 * A scan reads base[0..to) only, never past it; it may read before `from`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum http_char_class {
	CHAR_TOKEN = 1 << 0,	 /* RFC 9110 5.6.2 */
	CHAR_NAME = 1 << 1,	 /* letters and '-': what nearly every field name is made of */
	CHAR_HOST = 1 << 2,	 /* unreserved of RFC 3986: a name or IPv4 address */
	CHAR_TEXT_STOP = 1 << 3, /* no part of a line: controls but TAB */
	CHAR_TARGET_STOP =
		1 << 4,		 /* no part of a request target: controls, space, '#', not ASCII */
	CHAR_PATH_STOP = 1 << 5, /* a path is perhaps not normal here, or ends: % \ . ? */
};
extern const uint8_t http_chars[256]; /* http_char_class bits */
extern const uint8_t http_hex[256];   /* value of a hexadecimal digit, or 255 */

static inline bool char_is(char c, enum http_char_class class)
{
	return http_chars[(unsigned char)c] & class;
}

/* The portable twin: the first byte in [from, to) of which (class bit set) == wanted, or `to`. */
static inline size_t scan_portable(
	const char *base, size_t from, size_t to, enum http_char_class class, bool wanted)
{
	while (from < to && char_is(base[from], class) != wanted)
		from++;
	return from;
}

#ifdef __SSE2__
static inline __m128i text_stops(__m128i v)
{
	__m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
	__m128i tab = _mm_cmpeq_epi8(v, _mm_set1_epi8('\t'));

	return _mm_or_si128(_mm_andnot_si128(tab, low), _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
}

/*
 * Which of 32 bytes may end a line, as bits: the controls and DEL, but TAB and what is not ASCII
 * too. One more than the byte makes DEL the least of the signed values; less 0x21 and kept from
 * wrapping round, all of these, and no others, are below zero.
 */
static inline unsigned line_marks(const char *p)
{
	const __m128i one = _mm_set1_epi8(1), bound = _mm_set1_epi8(0x21);
	__m128i a = _mm_loadu_si128((const __m128i *)(const void *)p);
	__m128i b = _mm_loadu_si128((const __m128i *)(const void *)(p + 16));

	a = _mm_subs_epi8(_mm_add_epi8(a, one), bound);
	b = _mm_subs_epi8(_mm_add_epi8(b, one), bound);
	return (unsigned)_mm_movemask_epi8(a) | (unsigned)_mm_movemask_epi8(b) << 16;
}

/* Bytes from 0x80 are negative: one signed comparison finds them, the controls and the space. */
static inline __m128i target_stops(__m128i v)
{
	__m128i low = _mm_cmplt_epi8(v, _mm_set1_epi8(0x21));
	__m128i hash = _mm_cmpeq_epi8(v, _mm_set1_epi8('#'));

	return _mm_or_si128(_mm_or_si128(low, hash), _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
}

static inline __m128i path_stops(__m128i v)
{
	__m128i percent = _mm_cmpeq_epi8(v, _mm_set1_epi8('%'));
	__m128i backslash = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
	__m128i dot = _mm_cmpeq_epi8(v, _mm_set1_epi8('.'));
	__m128i query = _mm_cmpeq_epi8(v, _mm_set1_epi8('?'));

	return _mm_or_si128(_mm_or_si128(percent, backslash), _mm_or_si128(dot, query));
}

/*
 * The top bits of the bytes that are letters; `lower` has bit 0x20 set in every byte. The letters
 * are moved to the 26 least of the signed values, and then are the only ones below zero.
 */
static inline __m128i letters(__m128i lower)
{
	return _mm_adds_epi8(
		_mm_add_epi8(lower, _mm_set1_epi8((char)(0x80 - 'a'))), _mm_set1_epi8(128 - 26));
}

static inline __m128i name_bytes(__m128i v, __m128i lower)
{
	return _mm_or_si128(letters(lower), _mm_cmpeq_epi8(v, _mm_set1_epi8('-')));
}

static inline __m128i name_stops(__m128i v)
{
	return _mm_xor_si128(
		name_bytes(v, _mm_or_si128(v, _mm_set1_epi8(0x20))), _mm_set1_epi8(-1));
}

/* In the same way the digits; '-' and '.' are neighbours, '_' and '~' are not. */
static inline __m128i host_stops(__m128i v)
{
	__m128i letter = letters(_mm_or_si128(v, _mm_set1_epi8(0x20)));
	__m128i digit = _mm_adds_epi8(
		_mm_add_epi8(v, _mm_set1_epi8((char)(0x80 - '0'))), _mm_set1_epi8(128 - 10));
	__m128i dot = _mm_adds_epi8(
		_mm_add_epi8(v, _mm_set1_epi8((char)(0x80 - '-'))), _mm_set1_epi8(128 - 2));
	__m128i other = _mm_or_si128(
		_mm_cmpeq_epi8(v, _mm_set1_epi8('_')), _mm_cmpeq_epi8(v, _mm_set1_epi8('~')));

	return _mm_xor_si128(_mm_or_si128(_mm_or_si128(letter, digit), _mm_or_si128(dot, other)),
		_mm_set1_epi8(-1));
}

static inline __attribute__((always_inline)) size_t scan_vector(const char *base, size_t from,
	size_t to, __m128i (*stops)(__m128i), enum http_char_class class, bool wanted)
{
	unsigned mask;

	for (; to - from >= 16; from += 16) {
		mask = (unsigned)_mm_movemask_epi8(
			stops(_mm_loadu_si128((const __m128i *)(const void *)(base + from))));
		if (mask)
			return from + (unsigned)__builtin_ctz(mask);
	}
	if (from == to || to < 16)
		return scan_portable(base, from, to, class, wanted);
	/* The rest, as the end of the last sixteen: what lies before `from` is shifted out. */
	mask = (unsigned)_mm_movemask_epi8(
		       stops(_mm_loadu_si128((const __m128i *)(const void *)(base + to - 16)))) >>
	       (16 - (to - from));
	return mask ? from + (unsigned)__builtin_ctz(mask) : to;
}
#define SCAN(base, from, to, stops, class, wanted) scan_vector(base, from, to, stops, class, wanted)
#else
#define SCAN(base, from, to, stops, class, wanted) scan_portable(base, from, to, class, wanted)
#endif

/* First control byte other than TAB in [from, to), or `to`. */
static inline size_t scan_text(const char *base, size_t from, size_t to)
{
	return SCAN(base, from, to, text_stops, CHAR_TEXT_STOP, true);
}

/*
 * A place in [from, to] before which there is no control byte other than TAB: the end of the line
 * if one is there and no TAB and nothing but ASCII before it, as nearly always; else scan_text()
 * goes on from here. In a buffer too short for the vectors that is `from`.
 */
static inline size_t scan_line(const char *base, size_t from, size_t to)
{
#ifdef __SSE2__
	size_t block;
	unsigned marks;

	for (; to - from >= 32; from += 32) {
		marks = line_marks(base + from);
		if (marks)
			return from + (unsigned)__builtin_ctz(marks);
	}
	if (from == to || to < 32)
		return from;
	block = to - 32; /* what lies before `from` is shifted out */
	marks = line_marks(base + block) >> (from - block);
	return marks ? from + (unsigned)__builtin_ctz(marks) : to;
#else
	return scan_portable(base, from, to, CHAR_TEXT_STOP, true);
#endif
}

/* First byte that a request target cannot hold. */
static inline size_t scan_target(const char *base, size_t from, size_t to)
{
	return SCAN(base, from, to, target_stops, CHAR_TARGET_STOP, true);
}

/* First byte at which a path must be looked at closely. */
static inline size_t scan_path(const char *base, size_t from, size_t to)
{
	return SCAN(base, from, to, path_stops, CHAR_PATH_STOP, true);
}

/* First byte that is neither a letter nor '-'. */
static inline size_t scan_name(const char *base, size_t from, size_t to)
{
	return SCAN(base, from, to, name_stops, CHAR_NAME, false);
}

/* First byte that no host name and no IPv4 address holds. */
static inline size_t scan_host(const char *base, size_t from, size_t to)
{
	return SCAN(base, from, to, host_stops, CHAR_HOST, false);
}
