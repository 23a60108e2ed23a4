/*
 * Routing: the rules one by one, then random route sets where the index must agree with a list that
 * is read from top to bottom.
 */
#include "proxy/settings/routes.h"

#include <stdlib.h>

#include "shared/assert.h"
#include "shared/rng.h"
#include "tests/unit/check.h"

/* A route of at most one host, one path and two methods; "" for any. */
struct plain {
	const char *host, *path, *methods[2];
};

#define PLAIN_MAX 64

struct kept {
	struct route_spec specs[PLAIN_MAX];
	struct span host[PLAIN_MAX], path[PLAIN_MAX], methods[PLAIN_MAX][2];
};

static struct routes *build(struct kept *k, const struct plain *plain, unsigned count)
{
	memset(k, 0, sizeof(*k));
	ASSERT(count <= PLAIN_MAX);
	for (unsigned i = 0; i < count; i++) {
		struct route_spec *s = &k->specs[i];

		s->route.index = i;
		s->route.line = 10 + i;
		k->host[i] = span_of(plain[i].host);
		k->path[i] = span_of(plain[i].path);
		s->hosts = &k->host[i];
		s->host_count = k->host[i].len > 0;
		s->paths = &k->path[i];
		s->path_count = k->path[i].len > 0;
		s->methods = k->methods[i];
		while (s->method_count < 2 && plain[i].methods[s->method_count]) {
			k->methods[i][s->method_count] = span_of(plain[i].methods[s->method_count]);
			s->method_count++;
		}
	}
	return routes_new(k->specs, count);
}

static enum http_method method_of(const char *text)
{
	static const char *const names[] = {
#define X(name, text) text,
		HTTP_METHODS(X)
#undef X
	};

	for (unsigned i = 0; i < HTTP_OTHER; i++)
		if (strcmp(names[i], text) == 0)
			return (enum http_method)i;
	return HTTP_OTHER;
}

/* The index of the route found, -1 for none. */
static int find(const struct routes *r, const char *host, const char *path, const char *method)
{
	const struct http_head head = {.method = method_of(method), .method_text = span_of(method)};
	struct route_ask ask = {.head = &head, .host = span_of(host), .path = span_of(path)};
	const struct route *found = routes_find(r, &ask);

	return found ? (int)found->index : -1;
}

/* Builds from the list, asks once, frees. */
#define EXPECT_ROUTE(expected, host, path, method, ...)                                        \
	do {                                                                                   \
		const struct plain plain_[] = {__VA_ARGS__};                                   \
		struct kept kept_;                                                             \
		struct routes *r_ = build(&kept_, plain_, sizeof(plain_) / sizeof(plain_[0])); \
		CHECK_TRUE(r_ != NULL);                                                        \
		CHECK_INT(find(r_, host, path, method), expected);                             \
		routes_free(r_);                                                               \
	} while (0)

static void the_first_route_in_the_file_wins_however_exact_a_later_one_is(void)
{
	EXPECT_ROUTE(0, "a.example", "/x/y", "GET", {"", "/x/*", {0}}, {"a.example", "/x/y", {0}});
	EXPECT_ROUTE(0, "a.example", "/x/y", "GET", {"", "", {0}}, {"a.example", "/x/y", {"GET"}});
	EXPECT_ROUTE(0, "a.example", "/x/y", "GET", {"*.example", "", {0}}, {"a.example", "", {0}});
	EXPECT_ROUTE(1, "a.example", "/x/y", "GET", {"a.example", "/x/z", {0}}, {"", "/x/y", {0}},
		{"a.example", "/x/*", {0}});
}

static void without_a_match_there_is_no_route(void)
{
	EXPECT_ROUTE(-1, "b.example", "/", "GET", {"a.example", "", {0}});
	EXPECT_ROUTE(-1, "", "/", "GET", {"a.example", "", {0}}, {"*.example", "", {0}});
	EXPECT_ROUTE(0, "", "/", "GET", {"", "", {0}});
	EXPECT_ROUTE(-1, "a.example", "*", "OPTIONS", {"", "/*", {0}});
	EXPECT_ROUTE(0, "a.example", "*", "OPTIONS", {"", "", {0}});
}

static void hosts_are_compared_without_case_and_final_dot(void)
{
	EXPECT_ROUTE(0, "SHOP.Example.COM", "/", "GET", {"shop.example.com", "", {0}});
	EXPECT_ROUTE(0, "shop.example.com", "/", "GET", {"Shop.EXAMPLE.com", "", {0}});
	EXPECT_ROUTE(0, "shop.example.com.", "/", "GET", {"shop.example.com", "", {0}});
	EXPECT_ROUTE(0, "A.B.Example.com.", "/", "GET", {"*.example.com", "", {0}});
	/* '@' and '`', '[' and '{' differ only in the bit that folds letters. */
	EXPECT_ROUTE(-1, "{::1]", "/", "GET", {"[::1]", "", {0}});
	EXPECT_ROUTE(0, "[::1]", "/", "GET", {"[::1]", "", {0}});
}

static void a_wildcard_takes_names_below_it_at_any_depth_but_not_the_name_itself(void)
{
	EXPECT_ROUTE(0, "a.example.com", "/", "GET", {"*.example.com", "", {0}});
	EXPECT_ROUTE(0, "c.b.a.example.com", "/", "GET", {"*.example.com", "", {0}});
	EXPECT_ROUTE(-1, "example.com", "/", "GET", {"*.example.com", "", {0}});
	EXPECT_ROUTE(-1, ".example.com", "/", "GET", {"*.example.com", "", {0}});
	EXPECT_ROUTE(-1, "badexample.com", "/", "GET", {"*.example.com", "", {0}});
	EXPECT_ROUTE(1, "a.b.example", "/", "GET", {"*.c.example", "", {0}},
		{"*.b.example", "", {0}}, {"*.example", "", {0}});
}

static void a_prefix_takes_what_is_below_it_and_its_own_slash_but_not_the_name_without(void)
{
	EXPECT_ROUTE(0, "h", "/x/y", "GET", {"", "/x/*", {0}});
	EXPECT_ROUTE(0, "h", "/x/y/z", "GET", {"", "/x/*", {0}});
	EXPECT_ROUTE(0, "h", "/x/", "GET", {"", "/x/*", {0}});
	EXPECT_ROUTE(-1, "h", "/x", "GET", {"", "/x/*", {0}});
	EXPECT_ROUTE(-1, "h", "/xy/", "GET", {"", "/x/*", {0}});
	EXPECT_ROUTE(-1, "h", "/X/y", "GET", {"", "/x/*", {0}});
	EXPECT_ROUTE(0, "h", "/", "GET", {"", "/*", {0}});
}

static void an_exact_path_takes_nothing_else(void)
{
	EXPECT_ROUTE(0, "h", "/x", "GET", {"", "/x", {0}});
	EXPECT_ROUTE(-1, "h", "/x/", "GET", {"", "/x", {0}});
	EXPECT_ROUTE(-1, "h", "/xx", "GET", {"", "/x", {0}});
}

static void long_hosts_and_paths_are_found_too(void)
{
	/* Past the 63 lengths that have a bit of their own. */
	static const char prefix[] = "/a23456789/b23456789/c23456789/d23456789/e23456789/f23456789/"
				     "g23456789/h23456789/*";
	static const char path[] = "/a23456789/b23456789/c23456789/d23456789/e23456789/f23456789/"
				   "g23456789/h23456789/x";
	static const char host[] = "*.a23456789.b23456789.c23456789.d23456789.e23456789.f23456789."
				   "g23456789.example";
	static const char name[] = "x.a23456789.b23456789.c23456789.d23456789.e23456789.f23456789."
				   "g23456789.example";

	EXPECT_ROUTE(0, "h", path, "GET", {"", prefix, {0}});
	EXPECT_ROUTE(0, "h", path, "GET", {"", path, {0}});
	EXPECT_ROUTE(-1, "h", path + 1, "GET", {"", prefix, {0}}, {"", path, {0}});
	EXPECT_ROUTE(0, name, "/", "GET", {host, "", {0}});
	EXPECT_ROUTE(0, name, "/", "GET", {name, "", {0}});
	EXPECT_ROUTE(-1, host + 2, "/", "GET", {host, "", {0}});
}

static void methods_restrict_a_route(void)
{
	EXPECT_ROUTE(1, "h", "/", "POST", {"", "", {"GET", "HEAD"}}, {"", "", {0}});
	EXPECT_ROUTE(0, "h", "/", "HEAD", {"", "", {"GET", "HEAD"}}, {"", "", {0}});
	EXPECT_ROUTE(0, "h", "/", "PURGE", {"", "", {"PURGE"}}, {"", "", {0}});
	EXPECT_ROUTE(1, "h", "/", "BAN", {"", "", {"PURGE"}}, {"", "", {0}});
	EXPECT_ROUTE(-1, "h", "/", "get", {"", "", {"GET"}});
}

static void a_route_of_two_hosts_and_two_paths_takes_all_four(void)
{
	struct span hosts[] = {SPAN("a.example"), SPAN("b.example")};
	struct span paths[] = {SPAN("/x"), SPAN("/x/*")};
	struct route_spec spec = {.hosts = hosts, .host_count = 2, .paths = paths, .path_count = 2};
	struct routes *r = routes_new(&spec, 1);

	CHECK_TRUE(r != NULL);
	CHECK_INT(find(r, "a.example", "/x", "GET"), 0);
	CHECK_INT(find(r, "a.example", "/x/1", "GET"), 0);
	CHECK_INT(find(r, "b.example", "/x", "GET"), 0);
	CHECK_INT(find(r, "b.example", "/x/1", "GET"), 0);
	CHECK_INT(find(r, "b.example", "/y", "GET"), -1);
	routes_free(r);
}

static void no_routes_at_all_match_nothing(void)
{
	struct routes *r = routes_new(NULL, 0);

	CHECK_TRUE(r != NULL);
	CHECK_INT(find(r, "a.example", "/", "GET"), -1);
	CHECK_INT(routes_count(r), 0);
	routes_free(r);
}

static void a_route_behind_one_that_takes_all_of_it_is_found_out(void)
{
	static const struct plain plain[] = {
		{"shop.example", "/api/*", {0}},    /* 0 */
		{"", "/assets/*", {0}},		    /* 1 */
		{"shop.example", "/assets/x", {0}}, /* 2: 1 takes it */
		{"*.example", "/api/v1/*", {0}},    /* 3 */
		{"shop.example", "/api/v1/*", {0}}, /* 4: 0 takes it */
		{"a.b.example", "/api/v1/x", {0}},  /* 5: 3 takes it */
		{"", "/get", {"GET"}},		    /* 6 */
		{"", "/get", {"GET", "HEAD"}},	    /* 7: HEAD is left */
		{"", "/get", {"HEAD"}},		    /* 8: 7 takes it */
		{"*.b.example", "/api/v1/*", {0}},  /* 9: 3 takes it */
		{"", "/get", {0}},		    /* 10: the other methods are left */
		{"", "", {0}},			    /* 11 */
		{"x.example", "", {"PURGE"}},	    /* 12: 11 takes it */
	};
	static const int expected[] = {-1, -1, 1, -1, 0, 3, -1, -1, 7, 3, -1, -1, 11};
	struct kept k;
	struct routes *r = build(&k, plain, countof(plain));

	CHECK_TRUE(r != NULL);
	for (unsigned i = 0; i < countof(plain); i++) {
		const struct route *first = NULL, *last = NULL;
		bool dead = routes_shadowed(r, i, &first, &last);

		CHECK_INT(dead ? (int)first->index : -1, expected[i]);
		CHECK(!dead || first == last);
	}
	routes_free(r);
}

static void patterns_that_cannot_be_matched_are_refused_in_words(void)
{
	CHECK(route_host_fault(SPAN("shop.example.com")) == NULL);
	CHECK(route_host_fault(SPAN("*.example.com")) == NULL);
	CHECK(route_host_fault(SPAN("[::1]")) == NULL);
	CHECK(route_host_fault(SPAN("")) != NULL);
	CHECK(route_host_fault(SPAN("*.")) != NULL);
	CHECK(route_host_fault(SPAN("*")) != NULL);
	CHECK(route_host_fault(SPAN("a.*.example")) != NULL);
	CHECK(route_host_fault(SPAN("shop.example.com:80")) != NULL);
	CHECK(route_host_fault(SPAN("shop.example.com.")) != NULL);
	CHECK(route_path_fault(SPAN("/")) == NULL);
	CHECK(route_path_fault(SPAN("/*")) == NULL);
	CHECK(route_path_fault(SPAN("/x/*")) == NULL);
	CHECK(route_path_fault(SPAN("x")) != NULL);
	CHECK(route_path_fault(SPAN("/x*")) != NULL);
	CHECK(route_path_fault(SPAN("/*/x")) != NULL);
	CHECK(route_path_fault(SPAN("/x?y")) != NULL);
	CHECK(route_path_fault(SPAN("/x y")) != NULL);
}

/* --- against a list read from top to bottom ------------------------------------------------------
 */

static bool host_takes(const char *pattern, const char *host)
{
	size_t len = strlen(host), tail = strlen(pattern);

	if (tail == 0)
		return true;
	if (pattern[0] != '*')
		return strcmp(pattern, host) == 0;
	return len > tail - 1 && strcmp(host + len - (tail - 1), pattern + 1) == 0;
}

static bool path_takes(const char *pattern, const char *path)
{
	size_t len = strlen(pattern);

	if (len == 0)
		return true;
	if (pattern[len - 1] == '*')
		return strncmp(pattern, path, len - 1) == 0;
	return strcmp(pattern, path) == 0;
}

static bool method_takes(const char *const methods[2], const char *method)
{
	return !methods[0] || strcmp(methods[0], method) == 0 ||
	       (methods[1] && strcmp(methods[1], method) == 0);
}

static int find_by_reading(const struct plain *plain, unsigned count, const char *host,
	const char *path, const char *method)
{
	for (unsigned i = 0; i < count; i++)
		if (host_takes(plain[i].host, host) && path_takes(plain[i].path, path) &&
			method_takes(plain[i].methods, method))
			return (int)i;
	return -1;
}

#define PICK(rng, list) (list)[rng_below(rng, countof(list))]

static void the_index_agrees_with_reading_the_list(void)
{
	static const char *const hosts[] = {"", "", "a.example", "b.example", "*.example",
		"c.a.example", "*.a.example", "*.b.example", "x"};
	static const char *const paths[] = {"", "", "/", "/*", "/x", "/x/*", "/x/y", "/x/y/*",
		"/longer-name/*", "/longer-name/x", "/z"};
	static const char *const methods[] = {NULL, NULL, "GET", "HEAD", "POST", "PURGE", "BAN"};
	static const char *const ask_hosts[] = {"a.example", "b.example", "c.a.example",
		"d.c.a.example", "example", "x", "y", "", "q.b.example"};
	static const char *const ask_paths[] = {"/", "/x", "/x/", "/x/y", "/x/y/", "/x/y/z",
		"/longer-name/", "/longer-name/x", "/longer-name/y/z", "/z", "/zz", "*"};
	static const char *const ask_methods[] = {"GET", "HEAD", "POST", "PURGE", "BAN", "PUT"};
	struct rng rng;
	unsigned matched = 0;

	rng_seed(&rng, 20);
	for (unsigned round = 0; round < 3000; round++) {
		struct plain plain[PLAIN_MAX];
		struct kept k;
		unsigned count = (unsigned)rng_below(&rng, 24) + 1;
		struct routes *r;

		for (unsigned i = 0; i < count; i++) {
			const char *first = PICK(&rng, methods);

			plain[i] = (struct plain){PICK(&rng, hosts), PICK(&rng, paths),
				{first, first ? PICK(&rng, methods) : NULL}};
		}
		r = build(&k, plain, count);
		CHECK_TRUE(r != NULL);
		for (unsigned ask = 0; ask < 40; ask++) {
			const char *host = PICK(&rng, ask_hosts), *path = PICK(&rng, ask_paths);
			const char *method = PICK(&rng, ask_methods);
			int expected = find_by_reading(plain, count, host, path, method);

			CHECK_INT(find(r, host, path, method), expected);
			matched += expected >= 0;
		}
		for (unsigned i = 0; i < count; i++) {
			const struct route *first, *last;

			/* Whatever is said to be dead may never be found. */
			if (!routes_shadowed(r, i, &first, &last))
				continue;
			CHECK(first->index < i && last->index < i);
			for (unsigned ask = 0; ask < 40; ask++)
				CHECK(find(r, PICK(&rng, ask_hosts), PICK(&rng, ask_paths),
					      PICK(&rng, ask_methods)) != (int)i);
		}
		routes_free(r);
	}
	CHECK(matched > 10000); /* the questions were not all idle */
}

/* --- many ---------------------------------------------------------------------------------------
 */

static void each_of_ten_thousand_routes_is_found(void)
{
	enum { MANY = 10000 };
	struct route_spec *specs = calloc(MANY, sizeof(*specs));
	struct span *hosts = calloc(MANY, sizeof(*hosts)), *paths = calloc(MANY, sizeof(*paths));
	char text[64];
	struct routes *r;

	CHECK_TRUE(specs && hosts && paths);
	for (unsigned i = 0; i < MANY; i++) {
		specs[i].route.index = i;
		snprintf(text, sizeof(text), i % 3 ? "host%u.example.com" : "*.wild%u.example.com",
			i);
		hosts[i] = span_make(span_dup(span_of(text)), strlen(text));
		specs[i].hosts = &hosts[i];
		specs[i].host_count = i % 2;
		snprintf(text, sizeof(text), "/part%u/*", i);
		paths[i] = span_make(span_dup(span_of(text)), strlen(text));
		specs[i].paths = &paths[i];
		specs[i].path_count = 1;
	}
	r = routes_new(specs, MANY);
	CHECK_TRUE(r != NULL);
	for (unsigned i = 0; i < MANY; i++) {
		char host[64], path[64];

		snprintf(host, sizeof(host), i % 3 ? "host%u.example.com" : "a.wild%u.example.com",
			i);
		snprintf(path, sizeof(path), "/part%u/x", i);
		CHECK_INT(find(r, host, path, "GET"), i);
		CHECK_INT(find(r, "other.example", path, "GET"), i % 2 ? -1 : (int)i);
		free((void *)(uintptr_t)hosts[i].ptr);
		free((void *)(uintptr_t)paths[i].ptr);
	}
	routes_free(r);
	free(specs);
	free(hosts);
	free(paths);
}

static const struct test_case cases[] = {
	TEST(the_first_route_in_the_file_wins_however_exact_a_later_one_is),
	TEST(without_a_match_there_is_no_route),
	TEST(hosts_are_compared_without_case_and_final_dot),
	TEST(a_wildcard_takes_names_below_it_at_any_depth_but_not_the_name_itself),
	TEST(a_prefix_takes_what_is_below_it_and_its_own_slash_but_not_the_name_without),
	TEST(an_exact_path_takes_nothing_else),
	TEST(long_hosts_and_paths_are_found_too),
	TEST(methods_restrict_a_route),
	TEST(a_route_of_two_hosts_and_two_paths_takes_all_four),
	TEST(no_routes_at_all_match_nothing),
	TEST(a_route_behind_one_that_takes_all_of_it_is_found_out),
	TEST(patterns_that_cannot_be_matched_are_refused_in_words),
	TEST(the_index_agrees_with_reading_the_list),
	TEST(each_of_ten_thousand_routes_is_found),
};

TESTS_MAIN("routes", cases)
