/*
 * What of YAML is taken, and what is refused with which words.
 */
#include "tests/unit/conf_text.h"

static void a_tab_is_told_once_a_line(void)
{
	CHECK_PRINTED("pools:\n\ta:\t1\n# and\there\n",
		"tandem.yaml:2:1: error: there is a tab here\n"
		"    2 |  a: 1\n"
		"      | ^ use spaces\n"
		"tandem.yaml:3:6: error: there is a tab here\n"
		"    3 | # and here\n"
		"      |      ^ use spaces\n");
}

static void anchors_aliases_and_tags_are_refused(void)
{
	CHECK_PRINTED("workers: &n 1\n",
		"tandem.yaml:1:10: error: anchors and aliases (& and *) are not supported\n"
		"    1 | workers: &n 1\n"
		"      |          ^~~~ write the value out\n");
	CHECK_PRINTS("timeouts: &t {}\n", "1:11: error: anchors and aliases");
	CHECK_PRINTS("include: &t []\n", "1:10: error: anchors and aliases");
	CHECK_PRINTED("workers: *n\n",
		"tandem.yaml:1:10: error: anchors and aliases (& and *) are not supported\n"
		"    1 | workers: *n\n"
		"      |          ^~ write the value out\n");
	CHECK_PRINTS("*a : 1\n", "1:1: error: anchors and aliases");
	CHECK_PRINTS("workers: !!int 1\n", "1:10: error: tags (!) are not supported\n");
	CHECK_PRINTS("timeouts: !x {}\n", "1:11: error: tags (!) are not supported\n");
}

static void a_syntax_error_has_the_same_shape(void)
{
	CHECK_PRINTED("pools:\n  a: [1, 2\nworkers: 1\n",
		"tandem.yaml:3:8: error: not valid YAML: did not find expected ',' or ']' while "
		"parsing a "
		"flow sequence (line 2)\n"
		"    3 | workers: 1\n"
		"      |        ^\n");
	CHECK_PRINTS("a: \"x\n", "error: not valid YAML: found unexpected end of stream");
	CHECK_PRINTS("a: b: c\n",
		"tandem.yaml:1:5: error: not valid YAML: mapping values are not allowed");
	CHECK_PRINTS("a: \x01\n", "tandem.yaml:1:4: error: not valid YAML: control characters");
}

static void bytes_that_are_not_utf8_are_told(void)
{
	char *printed = conf_printed(SPAN("# \xc3\xa4\nlog: {access: \xe4}\n"));

	CHECK_TEXT(span_of(printed), "tandem.yaml:2:15: error: byte 0xe4 is not UTF-8\n"
				     "    2 | log: {access: ?}\n"
				     "      |               ^ save the file as UTF-8\n");
	free(printed);
	CHECK_PRINTS("a: \xc0\xaf", "byte 0xc0 is not UTF-8");
	CHECK_PRINTS("a: \xed\xa0\x80", "byte 0xed is not UTF-8");
	CHECK_PRINTS("a: \xf4\x90\x80\x80", "byte 0xf4 is not UTF-8");
	CHECK_PRINTS("a: \xe2\x82", "byte 0xe2 is not UTF-8");
}

static void columns_count_characters(void)
{
	CHECK_PRINTED("log: {access: \"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\", lvel: info}\n",
		"tandem.yaml:1:22: error: unknown key 'lvel' in 'log'\n"
		"    1 | log: {access: \"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\", lvel: info}\n"
		"      |                      ^~~~ did you mean 'level'?\n");
}

static void a_file_is_one_document_that_is_a_map(void)
{
	CHECK_CLEAN("");
	CHECK_CLEAN("# nothing\n");
	CHECK_CLEAN("---\nworkers: 1\n");
	CHECK_CLEAN("\xef\xbb\xbfworkers: 1\n");
	CHECK_CLEAN("{\"workers\": \"1\", \"log\": {\"format\": \"json\"}}\n");
	CHECK_PRINTS("workers: 1\n---\nworkers: 2\n", "tandem.yaml:2:1: error: a second document "
						      "begins here: one file is one document\n");
	CHECK_PRINTS("- a\n", "tandem.yaml:1:1: error: the file is not a map of keys\n");
	CHECK_PRINTS("just words\n", "tandem.yaml:1:1: error: the file is not a map of keys\n");
	CHECK_PRINTS("[a, b]: 1\n",
		"tandem.yaml:1:1: error: a key is a single word, not a map or a list\n");
	CHECK_PRINTS("? {a: b}\n: 1\n", "a key is a single word");
}

static void deep_nesting_is_refused(void)
{
	char text[256] = "a: ";

	memset(text + 3, '[', 100);
	CHECK_PRINTS(text, "tandem.yaml:1:35: error: nested more than 32 deep\n");
	memset(text + 3, '[', 31);
	memset(text + 34, ']', 31);
	text[65] = '\0';
	CHECK_PRINTS(text, "unknown key 'a'");
}

static void too_many_values_are_refused(void)
{
	size_t len = 2100000;
	char *text = malloc(len + 1), *printed;

	CHECK_TRUE(text != NULL);
	memcpy(text, "include: [\n", 11);
	for (size_t i = 11; i < len; i += 2)
		memcpy(text + i, i % 50 ? "a," : "a\n", 2);
	for (size_t i = 12; i + 1 < len; i += 2)
		text[i] = ',';
	text[len] = '\0';
	printed = conf_printed(span_make(text, len));
	CHECK(strstr(printed, "error: there are more than 1000000 values\n") != NULL);
	free(printed);
	free(text);
}

static void scalars_are_text_whatever_yaml_makes_of_them(void)
{
	struct conf_report *r = conf_report_new();
	struct conf *c = conf_load_text("t",
		SPAN("listeners: {no: {bind: 0.0.0.0:22, pool: y}}\npools: {y: {servers: {null: "
		     "1.2.3.4:0010}}}\n"),
		r);

	CHECK_TRUE(c != NULL);
	CHECK_INT(conf_report_errors(r), 0);
	CHECK_TEXT(conf_find(c->root, "listeners.no.bind")->first->text, "0.0.0.0:22");
	CHECK_INT(addr_port(&conf_find(c->root, "pools.y.servers.null.address")->addr), 10);
	conf_free(c);
	conf_report_free(r);
}

static const struct test_case cases[] = {
	TEST(a_tab_is_told_once_a_line),
	TEST(anchors_aliases_and_tags_are_refused),
	TEST(a_syntax_error_has_the_same_shape),
	TEST(bytes_that_are_not_utf8_are_told),
	TEST(columns_count_characters),
	TEST(a_file_is_one_document_that_is_a_map),
	TEST(deep_nesting_is_refused),
	TEST(too_many_values_are_refused),
	TEST(scalars_are_text_whatever_yaml_makes_of_them),
};
TESTS_MAIN("yaml", cases)
