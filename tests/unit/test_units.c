/*
 * Durations, sizes, rates, percentages and time stamps.
 */
#include "shared/units.h"
#include "tests/unit/check.h"

static void durations_have_a_unit(void)
{
	uint64_t ns = 1;

	CHECK_INT(duration_parse(SPAN("500ms"), &ns, NULL), 0);
	CHECK_INT(ns, 500 * NS_PER_MS);
	CHECK_INT(duration_parse(SPAN("1.5s"), &ns, NULL), 0);
	CHECK_INT(ns, 1500 * NS_PER_MS);
	CHECK_INT(duration_parse(SPAN("5m"), &ns, NULL), 0);
	CHECK_INT(ns, 300 * NS_PER_S);
	CHECK_INT(duration_parse(SPAN("8h"), &ns, NULL), 0);
	CHECK_INT(ns, 8 * 3600 * NS_PER_S);
	CHECK_INT(duration_parse(SPAN("3650d"), &ns, NULL), 0);
	CHECK_INT(ns, UINT64_C(3650) * 86400 * NS_PER_S);
	CHECK_INT(duration_parse(SPAN("0"), &ns, NULL), 0);
	CHECK_INT(ns, 0);
	CHECK_INT(duration_parse(SPAN("0s"), &ns, NULL), 0);
}

static void wrong_durations_say_what_to_write(void)
{
	static const char *const bad[] = {"", "s", "2", "2x", "2 s", "-1s", "1.s", ".5s", "1,5s",
		"2S", "1.5.5s", "1s ", "0.0000000001s", "0.1ns", "00"};
	uint64_t ns;
	struct err err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_INT(duration_parse(span_of(bad[i]), &ns, NULL), -1);
	CHECK_INT(duration_parse(SPAN("2x"), &ns, &err), -1);
	CHECK_TEXT(span_of(err.text),
		"'2x' is not a duration: write a number and a unit, such as 500ms, 2s or 5m");
	CHECK_INT(duration_parse(SPAN("3651d"), &ns, &err), -1);
	CHECK_TEXT(span_of(err.text), "'3651d' is longer than 10 years");
	CHECK_INT(duration_parse(SPAN("99999999999999999999s"), &ns, &err), -1);
	CHECK_TEXT(span_of(err.text), "'99999999999999999999s' is longer than 10 years");
}

static void sizes_know_both_thousands(void)
{
	uint64_t bytes;

	CHECK_INT(size_parse(SPAN("64KiB"), &bytes, NULL), 0);
	CHECK_INT(bytes, 65536);
	CHECK_INT(size_parse(SPAN("64kB"), &bytes, NULL), 0);
	CHECK_INT(bytes, 64000);
	CHECK_INT(size_parse(SPAN("100B"), &bytes, NULL), 0);
	CHECK_INT(bytes, 100);
	CHECK_INT(size_parse(SPAN("1.5GiB"), &bytes, NULL), 0);
	CHECK_INT(bytes, 1610612736);
	CHECK_INT(size_parse(SPAN("64"), &bytes, NULL), -1);
	CHECK_INT(size_parse(SPAN("64kb"), &bytes, NULL), -1);
	CHECK_INT(size_parse(SPAN("0.5B"), &bytes, NULL), -1);
	CHECK_INT(size_parse(SPAN("99999999999GiB"), &bytes, NULL), -1);
}

static void rates_of_bytes_are_by_the_second(void)
{
	uint64_t bytes;
	struct err err;

	CHECK_INT(byte_rate_parse(SPAN("500B/s"), &bytes, NULL), 0);
	CHECK_INT(bytes, 500);
	CHECK_INT(byte_rate_parse(SPAN("64KiB/s"), &bytes, NULL), 0);
	CHECK_INT(bytes, 65536);
	CHECK_INT(byte_rate_parse(SPAN("500B"), &bytes, NULL), -1);
	CHECK_INT(byte_rate_parse(SPAN("500/s"), &bytes, NULL), -1);
	CHECK_INT(byte_rate_parse(SPAN("500B/m"), &bytes, NULL), -1);
	CHECK_INT(byte_rate_parse(SPAN("500B/s/s"), &bytes, NULL), -1);
	CHECK_INT(byte_rate_parse(SPAN("/s"), &bytes, &err), -1);
	CHECK_TEXT(span_of(err.text),
		"'/s' is not a number of bytes a second: write such as 500B/s or 64KiB/s");
}

static void rates_and_percentages(void)
{
	struct rate r;
	double pct;

	CHECK_INT(rate_parse(SPAN("1000/m"), &r, NULL), 0);
	CHECK_INT(r.count, 1000);
	CHECK_INT(r.per_ns, 60 * NS_PER_S);
	CHECK_INT(rate_parse(SPAN("50"), &r, NULL), -1);
	CHECK_INT(rate_parse(SPAN("50/"), &r, NULL), -1);
	CHECK_INT(rate_parse(SPAN("/s"), &r, NULL), -1);
	CHECK_INT(rate_parse(SPAN("1.5/s"), &r, NULL), -1);
	CHECK_INT(percent_parse(SPAN("90%"), &pct, NULL), 0);
	CHECK(pct == 90.0);
	CHECK_INT(percent_parse(SPAN("99.5%"), &pct, NULL), 0);
	CHECK(pct == 99.5);
	CHECK_INT(percent_parse(SPAN("90"), &pct, NULL), -1);
	CHECK_INT(percent_parse(SPAN("0"), &pct, NULL), -1);
	CHECK_INT(percent_parse(SPAN("%"), &pct, NULL), -1);
}

static void durations_are_written_short_and_exact(void)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} rows[] = {{1500 * NS_PER_MS, "1500ms"}, {0, "0"}, {60 * NS_PER_S, "1m"},
		{90 * NS_PER_S, "90s"}, {86400 * NS_PER_S, "1d"}, {7200 * NS_PER_S, "2h"},
		{1, "1ns"}, {1001, "1001ns"}, {NS_PER_US, "1us"}};
	char out[32];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t back;

		CHECK_INT(duration_format(rows[i].ns, out, sizeof(out)), strlen(rows[i].text));
		CHECK_TEXT(span_of(out), rows[i].text);
		CHECK_TRUE(duration_parse(span_of(out), &back, NULL) == 0);
		CHECK_INT(back, rows[i].ns);
	}
}

static void time_stamps_are_rfc_3339(void)
{
	char out[25];

	time_format(0, out);
	CHECK_TEXT(span_of(out), "1970-01-01T00:00:00.000Z");
	time_format(UINT64_C(1795309323004999999), out);
	CHECK_TEXT(span_of(out), "2026-11-22T01:02:03.004Z");
	time_format(UINT64_MAX, out);
	CHECK_TEXT(span_of(out), "2554-07-21T23:34:33.709Z");
}

static void the_monotonic_clock_never_steps_back(void)
{
	uint64_t a = monotonic_ns(), b = monotonic_ns();

	CHECK(b >= a);
	CHECK(realtime_ns() > UINT64_C(1700000000) * NS_PER_S);
}

static const struct test_case cases[] = {
	TEST(durations_have_a_unit),
	TEST(wrong_durations_say_what_to_write),
	TEST(sizes_know_both_thousands),
	TEST(rates_of_bytes_are_by_the_second),
	TEST(rates_and_percentages),
	TEST(durations_are_written_short_and_exact),
	TEST(time_stamps_are_rfc_3339),
	TEST(the_monotonic_clock_never_steps_back),
};
TESTS_MAIN("units", cases)
