/*
 * How faults are shown, and near words.
 */
#include "shared/conf.h"
#include "shared/conf_build.h"
#include "tests/unit/check.h"

static struct conf *conf_of(const char *text)
{
	struct conf *c = conf_new();

	CHECK_TRUE(c != NULL);
	CHECK_TRUE(conf_add_file(c, "a.yaml", span_dup(span_of(text)), strlen(text)) == 0);
	return c;
}

static char *print(const struct conf_report *r, const struct conf *c)
{
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	CHECK_TRUE(to != NULL);
	conf_report_print(r, c, to);
	fclose(to);
	return text;
}

static void faults_are_shown_sorted_with_line_caret_and_hint(void)
{
	struct conf_report *r = conf_report_new();
	struct conf *c = conf_of("one: 1\ntwo: 2\r\nthree: 3");
	char *text;

	conf_error(r, (struct conf_pos){0, 3, 8, 1}, NULL, "third");
	conf_warning(r, (struct conf_pos){0, 2, 1, 3}, "a hint", "second %d", 2);
	conf_error(r, (struct conf_pos){0, 1, 1, 3}, NULL, "first");
	conf_error(r, (struct conf_pos){0}, NULL, "cannot open: No such file or directory");
	CHECK_INT(conf_report_errors(r), 3);
	CHECK_INT(conf_report_warnings(r), 1);
	text = print(r, c);
	CHECK_TEXT(span_of(text), "a.yaml: error: cannot open: No such file or directory\n"
				  "a.yaml:1:1: error: first\n"
				  "    1 | one: 1\n"
				  "      | ^~~\n"
				  "a.yaml:2:1: warning: second 2\n"
				  "    2 | two: 2\n"
				  "      | ^~~ a hint\n"
				  "a.yaml:3:8: error: third\n"
				  "    3 | three: 3\n"
				  "      |        ^\n");
	free(text);
	text = conf_report_line(r, c, 2);
	CHECK_TEXT(span_of(text), "a.yaml:2:1: warning: second 2");
	free(text);
	CHECK(conf_report_line(r, c, 4) == NULL);
	conf_free(c);
	conf_report_free(r);
}

static void files_keep_their_order(void)
{
	struct conf_report *r = conf_report_new();
	struct conf *c = conf_of("x");
	char *line;

	CHECK_TRUE(conf_add_file(c, "b.yaml", NULL, 0) == 1);
	conf_error(r, (struct conf_pos){1, 1, 1, 1}, NULL, "in b");
	conf_error(r, (struct conf_pos){0, 9, 1, 1}, NULL, "in a");
	line = conf_report_line(r, c, 0);
	CHECK_TEXT(span_of(line), "a.yaml:9:1: error: in a");
	free(line);
	line = conf_report_line(r, c, 1);
	CHECK_TEXT(span_of(line), "b.yaml:1:1: error: in b");
	free(line);
	conf_free(c);
	conf_report_free(r);
}

/* Found backwards, and far more than are kept. */
static void of_very_many_faults_the_first_twenty_are_shown(void)
{
	struct conf_report *r = conf_report_new();
	struct conf *c = conf_of("");
	char *text, *line, want[64];

	for (uint32_t i = 10000; i > 0; i--)
		conf_error(r, (struct conf_pos){0, i, 1, 1}, NULL, "e");
	CHECK_INT(conf_report_errors(r), 10000);
	text = print(r, c);
	CHECK(strstr(text, "a.yaml:1:1: error: e\n") == text);
	CHECK(strstr(text, "a.yaml:20:1: error: e\n") != NULL);
	CHECK(strstr(text, "a.yaml:21:1") == NULL);
	CHECK(strstr(text, "\n... and 9980 more\n") != NULL);
	free(text);
	for (uint32_t i = 0; i < 1000; i++) {
		line = conf_report_line(r, c, i);
		snprintf(want, sizeof(want), "a.yaml:%u:1: error: e", i + 1);
		CHECK_TEXT(span_of(line), want);
		free(line);
	}
	conf_free(c);
	conf_report_free(r);
}

static void nothing_that_a_terminal_obeys_is_printed(void)
{
	struct conf_report *r = conf_report_new();
	struct conf *c = conf_of("a: \x1b[2Jx\xff\xc3\xa4\n");
	char *text;

	conf_error(r, (struct conf_pos){0, 1, 4, 5}, NULL, "not '\x1b[2J\n'");
	text = print(r, c);
	CHECK_TEXT(span_of(text), "a.yaml:1:4: error: not '?[2J?'\n"
				  "    1 | a: ?[2Jx?\xc3\xa4\n"
				  "      |    ^~~~~\n");
	free(text);
	conf_free(c);
	conf_report_free(r);
}

static void a_very_long_line_is_shown_around_the_fault(void)
{
	struct conf_report *r = conf_report_new();
	char source[5001];
	struct conf *c;
	char *text;

	memset(source, 'x', 5000);
	memset(source + 2999, '!', 1);
	source[5000] = '\0';
	c = conf_of(source);
	conf_error(r, (struct conf_pos){0, 1, 3000, 2000}, NULL, "far right");
	text = print(r, c);
	CHECK(strlen(text) < 500);
	/* The caret is under the '!'. */
	CHECK_INT(strchr(text, '!') - strstr(text, "    1 | "),
		strchr(text, '^') - strstr(text, "      | "));
	free(text);
	conf_free(c);
	conf_report_free(r);
}

static void a_swap_an_addition_a_loss_and_a_change_are_near(void)
{
	static const char *const words[] = {"balance", "servers", "health", "retry"};

	CHECK_TEXT(span_of(did_you_mean(SPAN("blance"), words, 4)), "balance");
	CHECK_TEXT(span_of(did_you_mean(SPAN("servres"), words, 4)), "servers");
	CHECK_TEXT(span_of(did_you_mean(SPAN("healthh"), words, 4)), "health");
	CHECK_TEXT(span_of(did_you_mean(SPAN("rEtry"), words, 4)), "retry");
	CHECK(did_you_mean(SPAN("timeouts"), words, 4) == NULL);
	CHECK(did_you_mean(SPAN("re"), words, 4) == NULL);
	CHECK(did_you_mean(SPAN(""), words, 4) == NULL);
	CHECK(did_you_mean(SPAN("balance"), words, 0) == NULL);
	CHECK(did_you_mean(
		      SPAN("balancebalancebalancebalancebalancebalancebalancebalancebalancebala"),
		      words, 4) == NULL);
}

static const struct test_case cases[] = {
	TEST(faults_are_shown_sorted_with_line_caret_and_hint),
	TEST(files_keep_their_order),
	TEST(of_very_many_faults_the_first_twenty_are_shown),
	TEST(nothing_that_a_terminal_obeys_is_printed),
	TEST(a_very_long_line_is_shown_around_the_fault),
	TEST(a_swap_an_addition_a_loss_and_a_change_are_near),
};
TESTS_MAIN("conf_report", cases)
