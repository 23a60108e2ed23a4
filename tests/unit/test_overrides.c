/*
 * The book of what people said of servers: registers, two nodes that merge theirs, and the
 * configuration's last word.
 */
#include "proxy/pool/overrides.h"

#include <stdlib.h>

#include "shared/assert.h"
#include "shared/rng.h"
#include "tests/unit/check.h"

static struct server_table *table;
static struct conf_report *report;
static struct settings *settings;
static struct err err;

static struct settings *build(const char *text)
{
	struct conf *conf = conf_load_text("tandem.yaml", span_of(text), report);
	struct settings *s = settings_build(conf, report, table, 1, &err);

	CHECK_TRUE(s != NULL);
	return s;
}

static const char two[] = "pools: {web: {servers: {w1: \"10.0.0.1:80\", w2: {address: "
			  "\"10.0.0.2:80\", weight: 4}}}}\n";

static void begin(void)
{
	table = server_table_new();
	report = conf_report_new();
	CHECK_TRUE(table && report);
	settings = build(two);
}

static void end(void)
{
	settings_unref(settings);
	server_table_free(table);
	conf_report_free(report);
}

static const struct member *w(unsigned n)
{
	return &settings->pools[0].members[n - 1];
}

static const struct override *of(const struct overrides *o, const char *server)
{
	return overrides_find(o, SPAN("web"), span_of(server));
}

static struct overrides *book(void)
{
	struct overrides *o = overrides_new();

	CHECK_TRUE(o != NULL);
	return o;
}

static void say_admin(struct overrides *o, unsigned n, enum admin_state state, const char *node,
	uint64_t at_ms, uint64_t until_ms)
{
	struct override_stamp s = overrides_stamp(o, "ann", node, at_ms);

	CHECK_INT(overrides_set_admin(o, w(n), state, until_ms, &s, &err), 0);
}

static void say_weight(
	struct overrides *o, unsigned n, uint32_t weight, const char *node, uint64_t at_ms)
{
	struct override_stamp s = overrides_stamp(o, "bob", node, at_ms);

	CHECK_INT(overrides_set_weight(o, w(n)->server, weight, w(n)->weight, &s, &err), 0);
}

static int add(struct overrides *o, const char *name, const char *node, uint64_t at_ms)
{
	struct override_stamp stamp = overrides_stamp(o, "cay", node, at_ms);
	struct override_server s = {.pool = SPAN("web"), .name = span_of(name), .weight = 2};

	CHECK_TRUE(addr_parse(SPAN("10.0.9.1:80"), &s.address, &err) == 0);
	return overrides_add(o, &s, &stamp, &err);
}

/* One way; returns whether `to` changed, *ret_ahead whether it has something for the other. */
static bool hear(struct overrides *to, struct overrides *from, bool *ret_ahead)
{
	json_t *doc = overrides_json(from, 1000);
	bool changed;

	CHECK_INT(overrides_merge(to, doc, &changed, ret_ahead, &err), 0);
	json_decref(doc);
	return changed;
}

static bool same(struct overrides *a, struct overrides *b)
{
	json_t *x = overrides_json(a, 1000), *y = overrides_json(b, 1000);
	bool equal = json_equal(x, y);

	json_decref(x);
	json_decref(y);
	return equal;
}

static void a_drain_whose_time_is_over_is_maintenance(void)
{
	struct overrides *o;

	begin();
	o = book();
	CHECK_INT(override_admin(of(o, "w1"), 5), ADMIN_READY);
	CHECK_INT(overrides_due_ms(o, 5), 0);
	say_admin(o, 1, ADMIN_DRAINING, "a", 10, 500);
	say_admin(o, 2, ADMIN_DRAINING, "a", 11, 400);
	CHECK_INT(override_admin(of(o, "w1"), 499), ADMIN_DRAINING);
	CHECK_INT(override_admin(of(o, "w1"), 500), ADMIN_MAINTENANCE);
	CHECK_INT(overrides_due_ms(o, 20), 400);
	CHECK_INT(overrides_due_ms(o, 400), 500);
	CHECK_INT(overrides_due_ms(o, 500), 0);
	say_admin(o, 1, ADMIN_READY, "a", 12, 0);
	CHECK_INT(override_admin(of(o, "w1"), 600), ADMIN_READY);
	CHECK_INT(overrides_count(o), 1);
	overrides_free(o);
	end();
}

static void the_configured_weight_is_no_override(void)
{
	struct overrides *o;

	begin();
	o = book();
	say_weight(o, 2, 9, "a", 10);
	CHECK(of(o, "w2")->weight.set && of(o, "w2")->weight.was == 4);
	say_weight(o, 2, 4, "a", 11);
	CHECK(!of(o, "w2")->weight.set);
	CHECK_INT(overrides_count(o), 0);
	overrides_free(o);
	end();
}

static void a_stamp_is_later_than_all_that_was_seen_whatever_the_clock_says(void)
{
	struct overrides *o;

	begin();
	o = book();
	say_admin(o, 1, ADMIN_MAINTENANCE, "a", 5000, 0);
	say_admin(o, 1, ADMIN_READY, "a", 10, 0);
	CHECK_INT(of(o, "w1")->admin.stamp.at_ms, 5001);
	overrides_free(o);
	end();
}

static void two_nodes_that_say_different_things_end_with_the_same_book(void)
{
	struct overrides *a, *b;
	bool ahead;

	begin();
	a = book();
	b = book();
	say_admin(a, 1, ADMIN_DRAINING, "a", 10, 0);
	say_weight(b, 1, 7, "b", 10);
	say_admin(b, 2, ADMIN_MAINTENANCE, "b", 20, 0);
	say_admin(a, 2, ADMIN_DRAINING, "a", 20, 0); /* a tie: the later name wins */
	CHECK_INT(add(a, "w9", "a", 30), 0);
	CHECK(hear(b, a, &ahead) && ahead);
	CHECK(hear(a, b, &ahead) && !ahead);
	CHECK(same(a, b));
	CHECK(!hear(b, a, &ahead) && !ahead);
	CHECK_INT(of(a, "w1")->admin.state, ADMIN_DRAINING);
	CHECK_INT(of(a, "w1")->weight.value, 7);
	CHECK_INT(of(a, "w2")->admin.state, ADMIN_MAINTENANCE);
	CHECK_INT(of(b, "w9")->added.weight, 2);
	overrides_free(a);
	overrides_free(b);
	end();
}

/* Random orders at two nodes, which hear of each other now and then, in either order. */
static void any_order_of_hearing_ends_in_the_same_book(void)
{
	static const char *const nodes[] = {"a", "b"};
	struct overrides *o[2];
	struct rng rng;
	bool ahead;

	begin();
	rng_seed(&rng, 7);
	for (unsigned round = 0; round < 200; round++) {
		o[0] = book();
		o[1] = book();
		for (unsigned i = 0; i < 20; i++) {
			unsigned n = (unsigned)rng_below(&rng, 2);
			unsigned server = 1 + (unsigned)rng_below(&rng, 2);
			uint64_t at_ms = rng_below(&rng, 10);

			if (rng_below(&rng, 4) == 0)
				hear(o[n], o[!n], &ahead);
			else if (rng_below(&rng, 2))
				say_admin(o[n], server, (enum admin_state)rng_below(&rng, 3),
					nodes[n], at_ms, 0);
			else
				say_weight(o[n], server, 1 + (uint32_t)rng_below(&rng, 9), nodes[n],
					at_ms);
		}
		hear(o[0], o[1], &ahead);
		hear(o[1], o[0], &ahead);
		CHECK(same(o[0], o[1]));
		overrides_free(o[0]);
		overrides_free(o[1]);
	}
	end();
}

static void what_was_taken_back_is_heard_of_and_forgotten_after_a_week(void)
{
	struct overrides *a, *b;
	const uint64_t week_ms = UINT64_C(7) * 24 * 3600 * 1000;
	json_t *doc;
	bool ahead;

	begin();
	a = book();
	b = book();
	CHECK_INT(add(a, "w9", "a", 10), 0);
	hear(b, a, &ahead);
	{
		struct override_stamp s = overrides_stamp(a, "cay", "a", 20);

		overrides_remove(a, SPAN("web"), SPAN("w9"), &s);
	}
	CHECK(hear(b, a, &ahead));
	CHECK(of(b, "w9") && !of(b, "w9")->added.set);
	doc = overrides_json(a, week_ms + 20);
	CHECK_INT(json_object_size(json_object_get(doc, "servers")), 1);
	json_decref(doc);
	doc = overrides_json(a, week_ms + 21);
	CHECK_INT(json_object_size(json_object_get(doc, "servers")), 0);
	json_decref(doc);
	CHECK(of(a, "w9") == NULL);
	overrides_free(a);
	overrides_free(b);
	end();
}

static void a_full_book_makes_room_of_what_was_taken_back_and_else_says_so(void)
{
	struct override_stamp s;
	struct overrides *o;
	char name[16];

	begin();
	o = book();
	for (unsigned i = 0; i < OVERRIDES_MAX; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		CHECK_INT(add(o, name, "a", 10 + i), 0);
	}
	CHECK_INT(add(o, "more", "a", 1000), -1);
	CHECK(strstr(err.text, "256 servers differ") != NULL);
	s = overrides_stamp(o, "cay", "a", 2000);
	overrides_remove(o, SPAN("web"), SPAN("n7"), &s);
	CHECK_INT(add(o, "more", "a", 3000), 0);
	CHECK(of(o, "n7") == NULL && of(o, "more"));
	overrides_free(o);
	end();
}

/* --- the configuration --- */

static unsigned rule_by(struct overrides *o, const char *text, bool drop)
{
	struct override_stamp stamp = overrides_stamp(o, "the configuration", "a", 100);
	struct settings *s = build(text);
	json_t *lines = json_array();
	unsigned count = overrides_reconcile(o, s, drop ? &stamp : NULL, lines);

	CHECK_INT(json_array_size(lines), count);
	json_decref(lines);
	settings_unref(s);
	return count;
}

static void the_configuration_wins_where_it_says_something_else_than_before(void)
{
	static const char changed[] = "pools: {web: {servers: {w1: {address: \"10.0.0.1:80\", "
				      "enabled: false}, w2: \"10.0.0.2:80\"}}}\n";
	struct overrides *o;

	begin();
	o = book();
	say_admin(o, 1, ADMIN_DRAINING, "a", 10, 0);
	say_weight(o, 1, 3, "a", 11);
	say_weight(o, 2, 9, "a", 12);
	CHECK_INT(rule_by(o, two, true), 0);
	CHECK_INT(rule_by(o, changed, false), 2);
	CHECK_INT(overrides_count(o), 2); /* only told */
	CHECK_INT(rule_by(o, changed, true), 2);
	CHECK(!of(o, "w1")->admin.set && of(o, "w1")->weight.set && !of(o, "w2")->weight.set);
	CHECK_TEXT(span_of(of(o, "w2")->weight.stamp.by), "the configuration");
	overrides_free(o);
	end();
}

static void what_was_said_of_a_server_goes_with_it(void)
{
	struct overrides *o;

	begin();
	o = book();
	say_admin(o, 1, ADMIN_DRAINING, "a", 10, 0);
	CHECK_INT(add(o, "w9", "a", 11), 0);
	CHECK_INT(rule_by(o, "pools: {web: {servers: {w2: \"10.0.0.2:80\"}}}\n", true), 1);
	CHECK(!of(o, "w1")->admin.set && of(o, "w9")->added.set);
	CHECK_INT(rule_by(o, "pools: {web: {servers: {w9: \"10.0.0.9:80\"}}}\n", true), 1);
	CHECK(!of(o, "w9")->added.set);
	CHECK_INT(add(o, "w9", "a", 200), 0);
	CHECK_INT(rule_by(o, "pools: {other: {servers: {w9: \"10.0.0.9:80\"}}}\n", true), 1);
	CHECK_INT(overrides_count(o), 0);
	overrides_free(o);
	end();
}

/* --- what somebody else wrote --- */

static void a_book_that_makes_no_sense_changes_nothing(void)
{
	static const char *const wrong[] = {"[]", "{}", "{\"servers\": []}",
		"{\"servers\": {\"web/w1\": 5}}", "{\"servers\": {\"w1\": {}}}",
		"{\"servers\": {\"a/b/c\": {}}}", "{\"servers\": {\"web/w1\": {\"admin\": {}}}}",
		"{\"servers\": {\"web/w1\": {\"admin\": {\"at\": -1, \"by\": \"x\", \"node\": "
		"\"a\", \"value\": null}}}}",
		"{\"servers\": {\"web/w1\": {\"admin\": {\"at\": 1, \"by\": \"x\", \"node\": "
		"\"a\", \"value\": {\"state\": \"gone\", \"until\": 0}}}}}",
		"{\"servers\": {\"web/w1\": {\"weight\": {\"at\": 1, \"by\": \"x\", \"node\": "
		"\"a\", \"value\": {\"weight\": 257, \"was\": 1}}}}}",
		"{\"servers\": {\"web/w1\": {\"added\": {\"at\": 1, \"by\": \"x\", \"node\": "
		"\"a\", \"value\": {\"address\": \"here\", \"weight\": 1, \"zone\": \"\"}}}}}"};
	struct overrides *o;
	bool changed, ahead;

	begin();
	o = book();
	for (size_t i = 0; i < countof(wrong); i++) {
		json_t *doc = json_loads(wrong[i], 0, NULL);

		CHECK_TRUE(doc != NULL);
		CHECK_INT(overrides_merge(o, doc, &changed, &ahead, &err), -1);
		json_decref(doc);
	}
	CHECK_INT(overrides_count(o), 0);
	overrides_free(o);
	end();
}

static const struct test_case cases[] = {
	TEST(a_drain_whose_time_is_over_is_maintenance),
	TEST(the_configured_weight_is_no_override),
	TEST(a_stamp_is_later_than_all_that_was_seen_whatever_the_clock_says),
	TEST(two_nodes_that_say_different_things_end_with_the_same_book),
	TEST(any_order_of_hearing_ends_in_the_same_book),
	TEST(what_was_taken_back_is_heard_of_and_forgotten_after_a_week),
	TEST(a_full_book_makes_room_of_what_was_taken_back_and_else_says_so),
	TEST(the_configuration_wins_where_it_says_something_else_than_before),
	TEST(what_was_said_of_a_server_goes_with_it),
	TEST(a_book_that_makes_no_sense_changes_nothing),
};

TESTS_MAIN("overrides", cases)
