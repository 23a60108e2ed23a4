/*
 * Spans and error texts.
 */
#include <errno.h>

#include "shared/err.h"
#include "shared/span.h"
#include "tests/unit/check.h"

static void spans_are_equal_by_content(void)
{
	CHECK(span_eq(SPAN("abc"), SPAN("abc")));
	CHECK(!span_eq(SPAN("abc"), SPAN("abd")));
	CHECK(!span_eq(SPAN("abc"), SPAN("ab")));
	CHECK(span_eq((struct span){0}, SPAN("")));
}

static void case_is_ignored_for_ascii_letters_only(void)
{
	CHECK(span_ieq(SPAN("Content-Length"), SPAN("cONTENT-lENGTH")));
	CHECK(!span_ieq(SPAN("["), SPAN("{")));
	CHECK(!span_ieq(SPAN("\xc4"), SPAN("\xe4")));
	CHECK(!span_ieq(SPAN("ab"), SPAN("abc")));
}

static void trim_takes_spaces_and_tabs_at_both_ends(void)
{
	CHECK_TEXT(span_trim(SPAN(" \t a b\t ")), "a b");
	CHECK_TEXT(span_trim(SPAN(" \t ")), "");
	CHECK_TEXT(span_trim(SPAN("\na")), "\na");
}

static void find_gives_the_offset_or_the_length(void)
{
	CHECK_INT(span_find(SPAN("a:b:c"), ':', 0), 1);
	CHECK_INT(span_find(SPAN("a:b:c"), ':', 2), 3);
	CHECK_INT(span_find(SPAN("a:b:c"), ':', 4), 5);
	CHECK_INT(span_find(SPAN("abc"), ':', 9), 3);
}

static void a_copy_is_cut_and_says_so(void)
{
	char out[4];

	CHECK_INT(span_copy(SPAN("abc"), out, sizeof(out)), 0);
	CHECK_TEXT(span_of(out), "abc");
	CHECK_INT(span_copy(SPAN("abcd"), out, sizeof(out)), -1);
	CHECK_TEXT(span_of(out), "abc");
}

static void a_dup_ends_with_nul_and_keeps_inner_ones(void)
{
	char *copy = span_dup(SPAN("a\0b"));

	CHECK_TRUE(copy != NULL);
	CHECK(memcmp(copy, "a\0b\0", 4) == 0);
	free(copy);
}

static void numbers_are_digits_only_and_bounded(void)
{
	uint64_t n = 7;

	CHECK_INT(span_to_u64(SPAN("0"), 10, &n), 0);
	CHECK_INT(n, 0);
	CHECK_INT(span_to_u64(SPAN("18446744073709551615"), UINT64_MAX, &n), 0);
	CHECK(n == UINT64_MAX);
	n = 7;
	CHECK_INT(span_to_u64(SPAN("18446744073709551616"), UINT64_MAX, &n), -1);
	CHECK_INT(span_to_u64(SPAN("99999999999999999999"), UINT64_MAX, &n), -1);
	CHECK_INT(span_to_u64(SPAN("11"), 10, &n), -1);
	CHECK_INT(span_to_u64(SPAN(""), 10, &n), -1);
	CHECK_INT(span_to_u64(SPAN("+1"), 10, &n), -1);
	CHECK_INT(span_to_u64(SPAN(" 1"), 10, &n), -1);
	CHECK_INT(span_to_u64(SPAN("0x1"), 10, &n), -1);
	CHECK_INT(n, 7);
}

static void errors_gather_words_from_the_outside_in(void)
{
	struct err err;

	errno = ENOENT;
	CHECK_INT(err_set_errno(&err, "cannot open '%s'", "f"), -1);
	CHECK_INT(errno, ENOENT);
	CHECK_INT(err_prefix(&err, "config"), -1);
	CHECK_TEXT(span_of(err.text), "config: cannot open 'f': No such file or directory");
	err_set(&err, "again: %s", err.text);
	CHECK_TEXT(span_of(err.text), "again: config: cannot open 'f': No such file or directory");
	CHECK_INT(err_set(NULL, "nobody listens"), -1);
}

static void long_errors_are_cut(void)
{
	char text[2000];
	struct err err;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	err_set(&err, "%s", text);
	CHECK_INT(strlen(err.text), sizeof(err.text) - 1);
	err_prefix(&err, "%s", text);
	CHECK_INT(strlen(err.text), sizeof(err.text) - 1);
}

static const struct test_case cases[] = {
	TEST(spans_are_equal_by_content),
	TEST(case_is_ignored_for_ascii_letters_only),
	TEST(trim_takes_spaces_and_tabs_at_both_ends),
	TEST(find_gives_the_offset_or_the_length),
	TEST(a_copy_is_cut_and_says_so),
	TEST(a_dup_ends_with_nul_and_keeps_inner_ones),
	TEST(numbers_are_digits_only_and_bounded),
	TEST(errors_gather_words_from_the_outside_in),
	TEST(long_errors_are_cut),
};
TESTS_MAIN("span", cases)
