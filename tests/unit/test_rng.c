/*
 * The seeded generator.
 */
#include "shared/rng.h"
#include "tests/unit/check.h"

static void a_seed_gives_the_same_run_again(void)
{
	struct rng a, b, c;
	unsigned differ = 0;

	rng_seed(&a, 7);
	rng_seed(&b, 7);
	rng_seed(&c, 8);
	for (unsigned i = 0; i < 100; i++) {
		uint64_t x = rng_u64(&a);

		CHECK(x == rng_u64(&b));
		differ += x != rng_u64(&c);
	}
	CHECK_INT(differ, 100);
}

static void numbers_below_a_bound_are_even(void)
{
	unsigned seen[6] = {0};
	struct rng r;

	rng_seed(&r, 1);
	for (unsigned i = 0; i < 60000; i++) {
		uint64_t x = rng_below(&r, 6);

		CHECK_TRUE(x < 6);
		seen[x]++;
	}
	for (unsigned i = 0; i < 6; i++)
		CHECK(seen[i] > 9500 && seen[i] < 10500);
	CHECK_INT(rng_below(&r, 0), 0);
	CHECK_INT(rng_below(&r, 1), 0);
}

static void random_bytes_fill_all_of_it(void)
{
	uint8_t a[300], b[300];
	unsigned same = 0;

	random_bytes(a, sizeof(a));
	random_bytes(b, sizeof(b));
	for (unsigned i = 0; i < sizeof(a); i++)
		same += a[i] == b[i];
	CHECK(same < 30);
}

static const struct test_case cases[] = {
	TEST(a_seed_gives_the_same_run_again),
	TEST(numbers_below_a_bound_are_even),
	TEST(random_bytes_fill_all_of_it),
};
TESTS_MAIN("rng", cases)
