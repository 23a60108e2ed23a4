/*
 * Paths in the three modes.
 */
#include "proxy/http/http1.h"

#include "tests/unit/check.h"

static char out[256];
static struct span path, query;
static struct http_fault fault;

static enum parse_rc split(const char *target, enum http_path_mode mode)
{
	return http_path(span_of(target), mode, out, sizeof(out), &path, &query, &fault);
}

static void normal(const char *target, const char *expected)
{
	CHECK_INT(split(target, HTTP_PATH_NORMALIZE), PARSE_DONE);
	CHECK_TEXT(path, expected);
	if (strcmp(target, expected) ==
		0) { /* nothing was done, so nothing may be refused or copied */
		CHECK(path.ptr != out);
		CHECK_INT(split(target, HTTP_PATH_REJECT), PARSE_DONE);
	} else {
		CHECK(path.ptr == out);
		CHECK_INT(split(target, HTTP_PATH_REJECT), PARSE_BAD);
		CHECK_INT(fault.status, 400);
	}
	CHECK_INT(split(target, HTTP_PATH_RAW), PARSE_DONE);
	CHECK_TEXT(path, target);
}

static void refused(const char *target)
{
	CHECK_INT(split(target, HTTP_PATH_NORMALIZE), PARSE_BAD);
	CHECK_INT(fault.status, 400);
	CHECK(fault.at < strlen(target));
	CHECK_INT(split(target, HTTP_PATH_REJECT), PARSE_BAD);
	CHECK_INT(split(target, HTTP_PATH_RAW), PARSE_DONE);
}

static void normal_paths_are_left_alone(void)
{
	normal("/", "/");
	normal("/a", "/a");
	normal("/a/", "/a/");
	normal("//a//", "//a//");
	normal("/app.min.js", "/app.min.js");
	normal("/.well-known/x", "/.well-known/x");
	normal("/..a/b../c..d/...", "/..a/b../c..d/...");
	normal("/%20%C3%a9%25%3a", "/%20%C3%a9%25%3a");
	normal("/a;b=c:d@e,f!$&'()*+", "/a;b=c:d@e,f!$&'()*+");
}

static void dot_segments_are_resolved(void)
{
	normal("/.", "/");
	normal("/..", "/");
	normal("/./", "/");
	normal("/../", "/");
	normal("/a/.", "/a/");
	normal("/a/..", "/");
	normal("/a/./b", "/a/b");
	normal("/a/../b", "/b");
	normal("/a/b/..", "/a/");
	normal("/a/b/../", "/a/");
	normal("/../../a", "/a");
	normal("/a/b/c/./../../g", "/a/g");
	normal("//../a", "/a");
	normal("/a//../b", "/a/b");
	normal("/a/..//b", "//b");
}

static void escaped_unreserved_bytes_are_undone(void)
{
	normal("/%61%7E%2d%5F", "/a~-_");
	normal("/%41b%2Ehtml", "/Ab.html");
	normal("/a/%2e%2e/b", "/b");
	normal("/a/%2E/b", "/a/b");
	normal("/a/.%2e", "/");
	normal("/a/%2e./b%20", "/b%20");
	normal("/%252e%252e/", "/%252e%252e/");
}

static void what_has_two_readings_is_refused(void)
{
	refused("/a%00");
	refused("/a%2fb");
	refused("/a%2Fb");
	refused("/a%5cb");
	refused("/a%5Cb");
	refused("/a\\b");
	refused("/..\\a");
	refused("/%");
	refused("/%4");
	refused("/%4?a");
	refused("/%g1");
	refused("/%1g");
	refused("/%u0041");
}

static void the_query_is_split_off_and_never_touched(void)
{
	CHECK_INT(split("/a?b=/../c%2f%00\\?d", HTTP_PATH_REJECT), PARSE_DONE);
	CHECK_TEXT(path, "/a");
	CHECK_TEXT(query, "b=/../c%2f%00\\?d");
	CHECK_INT(split("/a/..?b/..", HTTP_PATH_NORMALIZE), PARSE_DONE);
	CHECK_TEXT(path, "/");
	CHECK_TEXT(query, "b/..");
	CHECK_TEXT(span_make(path.ptr, (size_t)(query.ptr + query.len - path.ptr)), "/?b/..");
	CHECK_INT(split("/a?", HTTP_PATH_RAW), PARSE_DONE);
	CHECK(query.ptr != NULL && query.len == 0);
	CHECK_INT(split("/a", HTTP_PATH_RAW), PARSE_DONE);
	CHECK(query.ptr == NULL);
}

static void only_paths_and_the_asterisk_are_split(void)
{
	CHECK_INT(split("*", HTTP_PATH_REJECT), PARSE_DONE);
	CHECK_TEXT(path, "*");
	CHECK_INT(split("", HTTP_PATH_RAW), PARSE_BAD);
	CHECK_INT(split("a", HTTP_PATH_RAW), PARSE_BAD);
	CHECK_INT(split("?a", HTTP_PATH_RAW), PARSE_BAD);
}

static const struct test_case cases[] = {
	TEST(normal_paths_are_left_alone),
	TEST(dot_segments_are_resolved),
	TEST(escaped_unreserved_bytes_are_undone),
	TEST(what_has_two_readings_is_refused),
	TEST(the_query_is_split_off_and_never_touched),
	TEST(only_paths_and_the_asterisk_are_split),
};
TESTS_MAIN("paths", cases)
