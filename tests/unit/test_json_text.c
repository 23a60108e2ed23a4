/*
 * The text of JSON values, held against jansson's own.
 */
#include "shared/json_text.h"

#include <stdlib.h>

#include "tests/unit/check.h"

static void check_same(json_t *value)
{
	char *expected = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	struct buf out;

	buf_init(&out, 1 << 20);
	CHECK(expected != NULL);
	CHECK_INT(json_text_put(&out, value), 0);
	if (expected)
		CHECK_TEXT(buf_span(&out), expected);
	buf_fini(&out);
	free(expected);
	json_decref(value);
}

static void values_are_written_as_jansson_writes_them(void)
{
	static const char *const texts[] = {"{}", "[]", "[[],{}]", "null", "true", "false", "0",
		"-1", "9223372036854775807", "-9223372036854775808", "1.5", "-0.1", "1e300", "\"\"",
		"\"a\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\"", "\"\\u0001\\u001f\\u007f\"",
		"\"\\u00e9\\u20ac\\ud83d\\ude00\"", "{\"a\":1,\"b\":[1,2,{\"c\":null}],\"\":\"\"}",
		"{\"a key\\n\":\"its\\tvalue\"}", "[\"ends with \\\\\",\"\\\\ begins with\"]"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		check_same(json_loads(texts[i], JSON_DECODE_ANY, NULL));
	check_same(json_stringn("nul \0 within", 12));
}

static void what_does_not_fit_leaves_the_buffer_as_it_was(void)
{
	json_t *value = json_pack("{s:s, s:[i, i]}", "name", "a\nb", "list", 1, 22);
	char *text = json_dumps(value, JSON_COMPACT);
	size_t need = 3 + strlen(text);

	for (size_t ceiling = 3; ceiling <= need; ceiling++) {
		struct buf out;

		buf_init(&out, ceiling);
		CHECK_INT(buf_append(&out, span_of("...")), 0);
		CHECK_INT(json_text_put(&out, value), ceiling == need ? 0 : -1);
		CHECK_INT(out.len, ceiling == need ? need : 3);
		buf_fini(&out);
	}
	free(text);
	json_decref(value);
}

int main(void)
{
	static const struct test_case cases[] = {
		TEST(values_are_written_as_jansson_writes_them),
		TEST(what_does_not_fit_leaves_the_buffer_as_it_was),
	};

	return tests_run("json_text", cases, sizeof(cases) / sizeof(cases[0]));
}
