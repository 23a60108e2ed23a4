/* Documents that both proxies share: the newest of each kind stays. */
#include "failover/states.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/check.h"

static struct states states;

static enum states_rc put(const char *kind, int value, int when, const char *who, int doc)
{
	json_t *json = json_pack("{s:s, s:{s:i, s:i, s:s}, s:i}", "kind", kind, "version", "value",
		value, "when", when, "who", who, "doc", doc);
	enum states_rc rc;
	unsigned index;
	struct err err;

	CHECK_TRUE(json != NULL);
	rc = states_put(&states, json, &index, &err);
	json_decref(json);
	return rc;
}

static json_int_t doc(unsigned index)
{
	return json_integer_value(json_object_get(states.list[index].json, "doc"));
}

static void the_newer_one_stays_whichever_comes_first(void)
{
	states_init(&states);
	CHECK_INT(put("weather", 2, 10, "lb-a", 1), STATES_NEWER);
	CHECK_INT(put("weather", 2, 10, "lb-a", 2), STATES_KNOWN);
	CHECK_INT(put("weather", 1, 99, "lb-z", 3), STATES_KNOWN);
	CHECK_INT(doc(0), 1);
	CHECK_INT(put("weather", 2, 11, "lb-a", 4), STATES_NEWER);
	CHECK_INT(put("weather", 2, 11, "lb-b", 5), STATES_NEWER);
	CHECK_INT(put("weather", 2, 11, "lb-a", 6), STATES_KNOWN);
	CHECK_INT(put("tides", 1, 1, "lb-a", 7), STATES_NEWER);
	CHECK_INT(put("weather", 3, 1, "lb-a", 8), STATES_NEWER);
	CHECK_INT(states.count, 2);
	CHECK_INT(doc(0), 8);
	CHECK_INT(doc(1), 7);
	states_fini(&states);
}

static void refuse(const char *text)
{
	json_t *json = json_loads(text, 0, NULL);
	unsigned index;
	struct err err;

	CHECK_TRUE(json != NULL);
	CHECK_INT(states_put(&states, json, &index, &err), STATES_REFUSED);
	json_decref(json);
}

static void what_has_another_shape_is_refused(void)
{
	states_init(&states);
	refuse("[]");
	refuse("{}");
	refuse("{\"kind\": \"\", \"version\": {\"value\": 1, \"when\": 1, \"who\": \"a\"}, "
	       "\"doc\": 1}");
	refuse("{\"kind\": \"k\", \"version\": {\"value\": -1, \"when\": 1, \"who\": \"a\"}, "
	       "\"doc\": 1}");
	refuse("{\"kind\": \"k\", \"version\": {\"value\": 1, \"when\": 1}, \"doc\": 1}");
	refuse("{\"kind\": \"k\", \"version\": {\"value\": 1, \"when\": 1, \"who\": \"a\"}}");
	refuse("{\"kind\": \"a word that is longer than any kind may be\","
	       "\"version\": {\"value\": 1, \"when\": 1, \"who\": \"a\"}, \"doc\": 1}");
	CHECK_INT(states.count, 0);
}

static void size_and_number_are_bounded(void)
{
	char *big = malloc(STATES_TEXT_MAX), kind[8];
	json_t *json;
	unsigned index;
	struct err err;

	CHECK_TRUE(big != NULL);
	states_init(&states);
	memset(big, 'x', STATES_TEXT_MAX);
	json = json_pack("{s:s, s:{s:i, s:i, s:s}, s:s#}", "kind", "big", "version", "value", 1,
		"when", 1, "who", "lb-a", "doc", big, STATES_TEXT_MAX - 10);
	CHECK_INT(states_put(&states, json, &index, &err), STATES_REFUSED);
	json_decref(json);
	free(big);
	for (int i = 0; i < STATES_MAX; i++) {
		snprintf(kind, sizeof(kind), "k%d", i);
		CHECK_INT(put(kind, 1, 1, "lb-a", i), STATES_NEWER);
	}
	CHECK_INT(put("one more", 1, 1, "lb-a", 1), STATES_REFUSED);
	CHECK_INT(put("k7", 2, 1, "lb-a", 70), STATES_NEWER);
	CHECK_INT(doc(7), 70);
	states_fini(&states);
}

static const struct test_case cases[] = {
	TEST(the_newer_one_stays_whichever_comes_first),
	TEST(what_has_another_shape_is_refused),
	TEST(size_and_number_are_bounded),
};
TESTS_MAIN("states", cases)
