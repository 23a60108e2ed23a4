/* Quantiles of tests/bench/histogram against values whose quantiles are known. */
#include "tests/bench/histogram.h"
#include "tests/unit/check.h"

static struct histogram h; /* large */

static void an_empty_one_says_zero(void)
{
	h = (struct histogram){0};
	CHECK_INT(histogram_quantile(&h, 0), 0);
	CHECK_INT(histogram_quantile(&h, 0.5), 0);
	CHECK_INT(histogram_quantile(&h, 1), 0);
}

static void small_values_are_exact(void)
{
	h = (struct histogram){0};
	for (uint64_t i = 1; i <= 100; i++)
		histogram_add(&h, i);
	CHECK_INT(histogram_quantile(&h, 0), 1);
	CHECK_INT(histogram_quantile(&h, 0.01), 1);
	CHECK_INT(histogram_quantile(&h, 0.5), 50);
	CHECK_INT(histogram_quantile(&h, 0.99), 99);
	CHECK_INT(histogram_quantile(&h, 0.999), 100);
	CHECK_INT(histogram_quantile(&h, 1), 100);
}

static void every_value_is_kept_to_a_part_in_128(void)
{
	for (unsigned bit = 0; bit < 64; bit++)
		for (int off = -1; off <= 1; off++) {
			uint64_t value = (UINT64_C(1) << bit) + (uint64_t)(int64_t)off, kept;

			h = (struct histogram){0};
			histogram_add(&h, value);
			histogram_add(&h, UINT64_MAX); /* so that max does not correct it */
			kept = histogram_quantile(&h, 0.5);
			CHECK(kept >= value);
			CHECK(kept - value <= value / 128);
		}
}

static void a_rare_stall_is_seen_in_the_tail_and_nowhere_else(void)
{
	h = (struct histogram){0};
	for (int i = 0; i < 9985; i++)
		histogram_add(&h, 100);
	for (int i = 0; i < 15; i++)
		histogram_add(&h, 5000000);
	CHECK_INT(histogram_quantile(&h, 0.5), 100);
	CHECK_INT(histogram_quantile(&h, 0.99), 100);
	CHECK_INT(histogram_quantile(&h, 0.999), 5000000);
	CHECK_INT(h.max, 5000000);
	CHECK_INT(h.total, 10000);
}

static const struct test_case cases[] = {
	TEST(an_empty_one_says_zero),
	TEST(small_values_are_exact),
	TEST(every_value_is_kept_to_a_part_in_128),
	TEST(a_rare_stall_is_seen_in_the_tail_and_nowhere_else),
};
TESTS_MAIN("histogram", cases)
