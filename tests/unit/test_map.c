/*
 * The hash map.
 */
#include "shared/map.h"
#include "shared/rng.h"
#include "tests/unit/check.h"

static void what_was_put_is_found_until_taken(void)
{
	struct map m;
	int a, b;

	map_init(&m, 10);
	CHECK(map_get(&m, SPAN("a")) == NULL);
	CHECK(map_take(&m, SPAN("a")) == NULL);
	CHECK_INT(map_put(&m, SPAN("a"), &a), 0);
	CHECK_INT(map_put(&m, SPAN(""), &b), 0);
	CHECK(map_get(&m, SPAN("a")) == &a);
	CHECK(map_get(&m, SPAN("")) == &b);
	CHECK_INT(map_put(&m, SPAN("a"), &b), 0);
	CHECK_INT(m.used, 2);
	CHECK(map_take(&m, SPAN("a")) == &b);
	CHECK(map_get(&m, SPAN("a")) == NULL);
	CHECK_INT(m.used, 1);
	map_fini(&m);
}

static void it_takes_no_more_than_its_maximum(void)
{
	struct map m;
	int v;

	map_init(&m, 2);
	CHECK_INT(map_put(&m, SPAN("a"), &v), 0);
	CHECK_INT(map_put(&m, SPAN("b"), &v), 0);
	CHECK_INT(map_put(&m, SPAN("c"), &v), -1);
	CHECK_INT(map_put(&m, SPAN("b"), &v), 0);
	CHECK(map_get(&m, SPAN("c")) == NULL);
	map_fini(&m);
}

/* Thousands of random puts and takes, compared with a plain array. */
static void it_agrees_with_an_array_under_random_use(void)
{
	static int present[2000];
	struct map m;
	struct rng r;
	size_t count = 0;

	map_init(&m, 2000);
	rng_seed(&r, 42);
	for (unsigned i = 0; i < 50000; i++) {
		uint64_t k = rng_below(&r, 2000);
		struct span key = span_make(&k, sizeof(k));

		if (rng_below(&r, 2)) {
			count += !present[k];
			CHECK_TRUE(map_put(&m, key, &present[k]) == 0);
			present[k] = 1;
		} else {
			CHECK_TRUE(map_take(&m, key) == (present[k] ? &present[k] : NULL));
			count -= present[k];
			present[k] = 0;
		}
		CHECK_TRUE(m.used == count);
	}
	for (uint64_t k = 0; k < 2000; k++)
		CHECK_TRUE(
			map_get(&m, span_make(&k, sizeof(k))) == (present[k] ? &present[k] : NULL));
	map_fini(&m);
}

static void iteration_sees_each_entry_once(void)
{
	int values[100] = {0};
	struct span key;
	struct map m;
	size_t at = 0;
	void *value;

	map_init(&m, 100);
	for (unsigned char i = 0; i < 100; i++)
		CHECK_TRUE(map_put(&m, span_make(&i, 1), &values[i]) == 0);
	while (map_next(&m, &at, &key, &value)) {
		CHECK(&values[(unsigned char)key.ptr[0]] == value);
		++*(int *)value;
	}
	for (unsigned i = 0; i < 100; i++)
		CHECK_INT(values[i], 1);
	map_fini(&m);
}

static void the_hash_depends_on_seed_length_and_every_byte(void)
{
	static const uint64_t seed[2] = {1, 2}, other[2] = {1, 3};
	char text[20] = {0};
	uint64_t whole = hash_bytes(span_make(text, 20), seed);

	CHECK(whole == hash_bytes(span_make(text, 20), seed));
	CHECK(whole != hash_bytes(span_make(text, 20), other));
	CHECK(whole != hash_bytes(span_make(text, 19), seed));
	for (unsigned i = 0; i < 20; i++) {
		text[i] = 1;
		CHECK(whole != hash_bytes(span_make(text, 20), seed));
		text[i] = 0;
	}
}

static const struct test_case cases[] = {
	TEST(what_was_put_is_found_until_taken),
	TEST(it_takes_no_more_than_its_maximum),
	TEST(it_agrees_with_an_array_under_random_use),
	TEST(iteration_sees_each_entry_once),
	TEST(the_hash_depends_on_seed_length_and_every_byte),
};
TESTS_MAIN("map", cases)
