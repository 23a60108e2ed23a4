/*
 * How long a server says that it keeps an idle connection.
 */
#include "proxy/http/http1.h"

#include <stdlib.h>

#include "tests/unit/check.h"

/* -1: it says nothing. */
static long long timeout_in(const char *fields)
{
	static const struct http_limits limits = {
		.line_bytes = 8192, .head_bytes = 8192, .field_bytes = 8192, .fields = 100};
	struct http_head *h = malloc(sizeof(*h));
	struct http_fault fault;
	uint64_t s = 0;
	char text[512];
	bool said;
	int n = snprintf(text, sizeof(text), "HTTP/1.1 204 No Content\r\n%s\r\n", fields);

	CHECK_TRUE(h != NULL);
	http_head_init(h);
	CHECK_TRUE(http1_parse_response(h, span_make(text, (size_t)n), &limits, HTTP_GET, &fault) ==
		   PARSE_DONE);
	said = http_keep_alive_timeout(h, &s);
	free(h);
	return said ? (long long)s : -1;
}

static void the_timeout_is_found_among_other_parameters_in_any_case(void)
{
	CHECK_INT(timeout_in("Keep-Alive: timeout=5\r\n"), 5);
	CHECK_INT(timeout_in("keep-alive: max=100, Timeout = 15\r\n"), 15);
	CHECK_INT(timeout_in("Keep-Alive: timeout=\"7\", max=3\r\n"), 7);
	CHECK_INT(timeout_in("Keep-Alive: timeout=0\r\n"), 0);
}

static void of_several_the_shortest_holds(void)
{
	CHECK_INT(timeout_in("Keep-Alive: timeout=9, timeout=4\r\n"), 4);
	CHECK_INT(timeout_in("Keep-Alive: timeout=9\r\nX: y\r\nKeep-Alive: timeout=3\r\n"), 3);
}

static void what_is_no_number_of_seconds_says_nothing(void)
{
	CHECK_INT(timeout_in(""), -1);
	CHECK_INT(timeout_in("Keep-Alive: max=100\r\n"), -1);
	CHECK_INT(timeout_in("Keep-Alive: timeout\r\n"), -1);
	CHECK_INT(timeout_in("Keep-Alive: timeout=\r\n"), -1);
	CHECK_INT(timeout_in("Keep-Alive: timeout=-1\r\n"), -1);
	CHECK_INT(timeout_in("Keep-Alive: timeout=\"\r\n"), -1);
	CHECK_INT(timeout_in("Keep-Alive: timeout=99999999999999999999\r\n"), -1);
	CHECK_INT(timeout_in("Keep-Alive: xtimeout=1\r\n"), -1);
}

static const struct test_case cases[] = {
	TEST(the_timeout_is_found_among_other_parameters_in_any_case),
	TEST(of_several_the_shortest_holds),
	TEST(what_is_no_number_of_seconds_says_nothing),
};

TESTS_MAIN("keep alive", cases)
