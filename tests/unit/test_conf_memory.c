/*
 * Loading a configuration with every single allocation failing once: no crash, no leak (the
 * sanitizer build looks), and either an honest NULL or a whole answer. The linker wraps the
 * allocator.
 */
#include "shared/conf.h"
#include "tests/unit/check.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static size_t made, fail_at; /* the fail_at-th allocation fails; 0: none */

static bool fails(void)
{
	return ++made == fail_at;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

#define GOOD                                                                                    \
	"listeners: {h: {bind: \":80\", routes: [{match: {method: GET}, pool: p1}]}}\n"         \
	"pools:\n"                                                                              \
	"  p1: {servers: {a: \"10.0.0.1:1\", b: \"10.0.0.1:2\", c: \"10.0.0.1:3\", d: "         \
	"\"10.0.0.1:4\",\n"                                                                     \
	"    e: \"10.0.0.1:5\", f: \"10.0.0.1:6\", g: \"10.0.0.1:7\", h: \"10.0.0.1:8\", i: "   \
	"\"10.0.0.1:9\",\n"                                                                     \
	"    j: \"10.0.0.1:10\", k: \"10.0.0.1:11\", l: \"10.0.0.1:12\", m: \"10.0.0.1:13\",\n" \
	"    n: \"10.0.0.1:14\", o: \"10.0.0.1:15\", p: \"10.0.0.1:16\", q: \"10.0.0.1:17\"}}\n"

/* Returns the number of errors, -1 for NULL. */
static int load(struct span text, size_t fail)
{
	struct conf_report *r;
	struct conf *c;
	int errors;

	fail_at = 0;
	r = conf_report_new();
	CHECK_TRUE(r != NULL);
	made = 0;
	fail_at = fail;
	c = conf_load_text("t", text, r);
	errors = c ? (int)conf_report_errors(r) : -1;
	fail_at = 0;
	conf_free(c);
	conf_report_free(r);
	return errors;
}

static void no_failed_allocation_passes_for_a_good_file(void)
{
	size_t count;

	CHECK_INT(load(SPAN(GOOD), 0), 0);
	count = made;
	CHECK_TRUE(count > 50);
	for (size_t i = 1; i <= count; i++)
		CHECK_INT(load(SPAN(GOOD), i), -1);
}

static void no_failed_allocation_hides_a_fault(void)
{
	struct span text = SPAN(GOOD "wrong: 1\nalso_wrong: 1\n");
	size_t count;

	CHECK_INT(load(text, 0), 2);
	count = made;
	for (size_t i = 1; i <= count; i++) {
		int errors = load(text, i);

		CHECK(errors == -1 || errors == 2);
	}
}

static const struct test_case cases[] = {
	TEST(no_failed_allocation_passes_for_a_good_file),
	TEST(no_failed_allocation_hides_a_fault),
};
TESTS_MAIN("conf_memory", cases)
