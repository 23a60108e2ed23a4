/*
 * The buffer with a ceiling.
 */
#include "shared/buf.h"
#include "tests/unit/check.h"

static void bytes_come_out_in_the_order_they_went_in(void)
{
	struct buf b;

	buf_init(&b, 1000);
	CHECK_INT(buf_append(&b, SPAN("hello ")), 0);
	CHECK_INT(buf_printf(&b, "%s %d", "world", 42), 0);
	CHECK_TEXT(buf_span(&b), "hello world 42");
	buf_consume(&b, 6);
	CHECK_TEXT(buf_span(&b), "world 42");
	buf_consume(&b, 8);
	CHECK_INT(b.off, 0);
	CHECK_TEXT(buf_span(&b), "");
	buf_fini(&b);
}

static void the_ceiling_holds_to_the_byte(void)
{
	struct buf b;

	buf_init(&b, 5);
	CHECK_INT(buf_append(&b, SPAN("123456")), -1);
	CHECK_INT(b.len, 0);
	CHECK_INT(buf_printf(&b, "%s", "12345"), 0);
	CHECK_INT(buf_append(&b, SPAN("6")), -1);
	CHECK_INT(buf_printf(&b, "6"), -1);
	CHECK_TEXT(buf_span(&b), "12345");
	buf_consume(&b, 2);
	CHECK_INT(buf_append(&b, SPAN("67")), 0);
	CHECK_TEXT(buf_span(&b), "34567");
	CHECK_INT(buf_append(&b, SPAN("")), 0);
	CHECK(buf_reserve(&b, SIZE_MAX) == NULL);
	buf_fini(&b);
}

static void it_grows_and_keeps_its_content(void)
{
	struct buf b;
	size_t n = 0;

	buf_init(&b, 100000);
	for (unsigned i = 0; i < 10000; i++) {
		CHECK_TRUE(buf_printf(&b, "%05u,", i) == 0);
		if (i % 2) {
			char want[7];

			snprintf(want, sizeof(want), "%05zu,", n++);
			CHECK_TRUE(memcmp(b.data + b.off, want, 6) == 0);
			buf_consume(&b, 6);
		}
	}
	CHECK_INT(b.len, 5000 * 6);
	CHECK(b.cap <= 100000);
	buf_fini(&b);
	CHECK(b.data == NULL);
}

static void reserved_room_is_filled_by_the_caller(void)
{
	struct buf b;
	char *to;

	buf_init(&b, 64);
	to = buf_reserve(&b, 3);
	CHECK_TRUE(to != NULL);
	memcpy(to, "abc", 3);
	CHECK_INT(b.len, 0);
	buf_grew(&b, 3);
	CHECK_TEXT(buf_span(&b), "abc");
	buf_fini(&b);
}

static const struct test_case cases[] = {
	TEST(bytes_come_out_in_the_order_they_went_in),
	TEST(the_ceiling_holds_to_the_byte),
	TEST(it_grows_and_keeps_its_content),
	TEST(reserved_room_is_filled_by_the_caller),
};
TESTS_MAIN("buf", cases)
