/*
 * Loading a configuration with every single allocation failing once: no crash, no leak (the
 * sanitizer build looks), and either an honest NULL or a whole answer.
 */
#include "shared/conf.h"
#include "tests/unit/check.h"
#include "tests/unit/scarce.h"

#define GOOD                                                                                    \
	"listeners: {h: {bind: \":80\", routes: [{match: {method: GET}, pool: p1}]}}\n"         \
	"pools:\n"                                                                              \
	"  p1: {servers: {a: \"10.0.0.1:1\", b: \"10.0.0.1:2\", c: \"10.0.0.1:3\", d: "         \
	"\"10.0.0.1:4\",\n"                                                                     \
	"    e: \"10.0.0.1:5\", f: \"10.0.0.1:6\", g: \"10.0.0.1:7\", h: \"10.0.0.1:8\", i: "   \
	"\"10.0.0.1:9\",\n"                                                                     \
	"    j: \"10.0.0.1:10\", k: \"10.0.0.1:11\", l: \"10.0.0.1:12\", m: \"10.0.0.1:13\",\n" \
	"    n: \"10.0.0.1:14\", o: \"10.0.0.1:15\", p: \"10.0.0.1:16\", q: \"10.0.0.1:17\"}}\n"

/* With the nth allocation failing; 0: none. Returns the number of errors, -1 for NULL. */
static int load(struct span text, size_t nth, size_t *ret_made)
{
	struct conf_report *r = conf_report_new();
	struct conf *c;
	int errors;

	CHECK_TRUE(r != NULL);
	scarce_begin(nth, false);
	c = conf_load_text("t", text, r);
	errors = c ? (int)conf_report_errors(r) : -1;
	*ret_made = scarce_end();
	conf_free(c);
	conf_report_free(r);
	return errors;
}

static void no_failed_allocation_passes_for_a_good_file(void)
{
	size_t count, made;

	CHECK_INT(load(SPAN(GOOD), 0, &count), 0);
	CHECK_TRUE(count > 50);
	for (size_t i = 1; i <= count; i++)
		CHECK_INT(load(SPAN(GOOD), i, &made), -1);
}

static void no_failed_allocation_hides_a_fault(void)
{
	struct span text = SPAN(GOOD "wrong: 1\nalso_wrong: 1\n");
	size_t count, made;

	CHECK_INT(load(text, 0, &count), 2);
	for (size_t i = 1; i <= count; i++) {
		int errors = load(text, i, &made);

		CHECK(errors == -1 || errors == 2);
	}
}

static const struct test_case cases[] = {
	TEST(no_failed_allocation_passes_for_a_good_file),
	TEST(no_failed_allocation_hides_a_fault),
};
TESTS_MAIN("conf_memory", cases)
