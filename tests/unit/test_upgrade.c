/*
 * Does a 101 name what was asked for?
 */
#include "proxy/http/http1.h"

#include "tests/unit/check.h"

static bool agrees(const char *asked, const char *named)
{
	return http_upgrade_agrees(span_of(asked), span_of(named));
}

static void what_was_asked_for_may_be_named_in_any_case(void)
{
	CHECK(agrees("websocket", "websocket"));
	CHECK(agrees("websocket", "WebSocket"));
	CHECK(agrees("WebSocket", "websocket"));
}

static void one_or_more_of_several_may_be_named_in_any_order(void)
{
	CHECK(agrees("a/1, b/2,c", "b/2"));
	CHECK(agrees("a/1, b/2,c", "C"));
	CHECK(agrees("a/1, b/2,c", "c , a/1"));
}

static void anything_else_is_refused(void)
{
	CHECK(!agrees("websocket", "other"));
	CHECK(!agrees("websocket", "websocket, other"));
	CHECK(!agrees("websocket", "other, websocket"));
	CHECK(!agrees("websocket", "websockets"));
	CHECK(!agrees("websocket", "websocke"));
	CHECK(!agrees("a/1", "a"));
	CHECK(!agrees("a", "a/1"));
	CHECK(!agrees("a, b", "a b"));
}

static void nothing_named_or_nothing_asked_is_refused(void)
{
	CHECK(!agrees("websocket", ""));
	CHECK(!agrees("", "websocket"));
	CHECK(!agrees("", ""));
	CHECK(!agrees("a,,b", ","));
	CHECK(!agrees("a,,b", "a,,b"));
}

static const struct test_case cases[] = {
	TEST(what_was_asked_for_may_be_named_in_any_case),
	TEST(one_or_more_of_several_may_be_named_in_any_order),
	TEST(anything_else_is_refused),
	TEST(nothing_named_or_nothing_asked_is_refused),
};
TESTS_MAIN("upgrade", cases)
