/*
 * Texts made of numbers: request ids and dates. Time and randomness are arguments.
 */
#include "proxy/http/http1.h"

#include <endian.h>

#include "shared/assert.h"

/* Eight hexadecimal digits at once: a nibble to a byte, then all to ASCII. */
static inline void hex_word(char *out, uint32_t value)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t x = value, over_9;

	x = (x | x << 16) & UINT64_C(0x0000ffff0000ffff);
	x = (x | x << 8) & UINT64_C(0x00ff00ff00ff00ff);
	x = (x | x << 4) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	over_9 = (x + 6 * ones) >> 4 & ones;
	x = htobe64(x + '0' * ones + over_9 * ('a' - '9' - 1));
	memcpy(out, &x, 8);
}

void http_request_id(char out[36], uint64_t realtime_ms, uint64_t random_a, uint64_t random_b)
{
	/* 48 bits of time, version 7, 12 random bits; variant 10, 62 random bits. */
	uint64_t high = realtime_ms << 16 | 0x7000 | (random_a & 0x0fff);
	uint64_t low = UINT64_C(1) << 63 | (random_b & UINT64_C(0x3fffffffffffffff));

	hex_word(out, (uint32_t)(high >> 32));
	hex_word(out + 9, (uint32_t)high);
	hex_word(out + 19, (uint32_t)(low >> 32));
	hex_word(out + 28, (uint32_t)low);
	memmove(out + 14, out + 13, 4); /* the second half of a word goes behind a dash */
	memmove(out + 24, out + 23, 4);
	out[8] = out[13] = out[18] = out[23] = '-';
}

static void two_digits(char *out, unsigned value)
{
	ASSERT(value < 100);
	out[0] = (char)('0' + value / 10);
	out[1] = (char)('0' + value % 10);
}

void http_date(char out[29], uint64_t realtime_s)
{
	/* Days are counted from 0000-03-01, so that a leap day is the last of its year; 400 years
	 * are 146,097 days, and the months from March on are 153 days in every five. */
	uint64_t days = realtime_s / 86400 + 719468;
	unsigned second = (unsigned)(realtime_s % 86400);
	unsigned day_of_era = (unsigned)(days % 146097);
	unsigned year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	unsigned day_of_year =
		day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	unsigned march_month = (5 * day_of_year + 2) / 153;
	unsigned month = march_month < 10 ? march_month + 2 : march_month - 10; /* 0 is January */
	unsigned year = (unsigned)(days / 146097) * 400 + year_of_era + (month < 2);

	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): 29 bytes, no C string */
	memcpy(out, "Thu, 00 Jan 0000 00:00:00 GMT", 29);
	memcpy(out, &"ThuFriSatSunMonTueWed"[realtime_s / 86400 % 7 * 3], 3);
	two_digits(out + 5, day_of_year - (153 * march_month + 2) / 5 + 1);
	memcpy(out + 8, &"JanFebMarAprMayJunJulAugSepOctNovDec"[month * 3], 3);
	two_digits(out + 12, year / 100 % 100);
	two_digits(out + 14, year % 100);
	two_digits(out + 17, second / 3600);
	two_digits(out + 20, second / 60 % 60);
	two_digits(out + 23, second % 60);
}
