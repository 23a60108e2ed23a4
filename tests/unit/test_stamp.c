/*
 * Request ids and dates.
 */
#include "proxy/http/http1.h"

#include <time.h>

#include "tests/unit/check.h"

static void a_request_id_is_a_uuid_of_version_7(void)
{
	char id[36];

	http_request_id(
		id, 0x017f22e279b0, 0xcc3, 0x18c4dc0c0c07398f); /* the example of RFC 9562 A.6 */
	CHECK_TEXT(span_make(id, 36), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
	http_request_id(id, UINT64_MAX, UINT64_MAX, UINT64_MAX);
	CHECK_TEXT(span_make(id, 36), "ffffffff-ffff-7fff-bfff-ffffffffffff");
	http_request_id(id, 0, 0, 0);
	CHECK_TEXT(span_make(id, 36), "00000000-0000-7000-8000-000000000000");
}

static void a_request_id_has_every_digit_in_its_place(void)
{
	char id[36], expected[48];
	uint64_t ms = 1, a = 1, b = 1;

	for (unsigned i = 0; i < 5000; i++) {
		ms = ms * UINT64_C(6364136223846793005) + 1442695040888963407;
		a = a * UINT64_C(6364136223846793005) + (ms >> 32);
		b = b * UINT64_C(6364136223846793005) + (a >> 32);
		http_request_id(id, ms >> 16, a >> 52, b);
		snprintf(expected, sizeof(expected), "%08x-%04x-7%03x-%04x-%012llx",
			(unsigned)(ms >> 32), (unsigned)(ms >> 16) & 0xffff, (unsigned)(a >> 52),
			((unsigned)(b >> 48) & 0x3fff) | 0x8000,
			(unsigned long long)(b & UINT64_C(0xffffffffffff)));
		CHECK_TEXT(span_make(id, 36), expected);
	}
}

static void dates_are_as_in_the_rfc(void)
{
	char date[29];

	http_date(date, 784111777);
	CHECK_TEXT(span_make(date, 29), "Sun, 06 Nov 1994 08:49:37 GMT");
	http_date(date, 0);
	CHECK_TEXT(span_make(date, 29), "Thu, 01 Jan 1970 00:00:00 GMT");
	http_date(date, 951782400);
	CHECK_TEXT(span_make(date, 29), "Tue, 29 Feb 2000 00:00:00 GMT");
}

static void dates_agree_with_the_c_library(void)
{
	char date[29], expected[64];

	/* Steps that meet every month, leap day and century to the year 9999. */
	for (uint64_t s = 0; s < UINT64_C(253402300800); s += 86400 * 13 + 4567) {
		time_t t = (time_t)s;
		struct tm tm;

		CHECK_TRUE(gmtime_r(&t, &tm) != NULL);
		strftime(expected, sizeof(expected), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		http_date(date, s);
		CHECK_TEXT(span_make(date, 29), expected);
	}
}

static const struct test_case cases[] = {
	TEST(a_request_id_is_a_uuid_of_version_7),
	TEST(a_request_id_has_every_digit_in_its_place),
	TEST(dates_are_as_in_the_rfc),
	TEST(dates_agree_with_the_c_library),
};
TESTS_MAIN("stamps", cases)
