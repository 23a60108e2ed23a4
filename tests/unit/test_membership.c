/*
 * Who is in a pool: the configuration and what sources bring and take away, over reloads.
 */
#include "proxy/pool/membership.h"

#include <stdlib.h>

#include "proxy/pool/pool.h"
#include "proxy/pool/queue.h"
#include "shared/assert.h"
#include "shared/log.h"
#include "tests/unit/check.h"

static struct server_table *table;
static struct membership *membership;
static struct settings *settings;
static unsigned changes, events;
static struct err err;

static void on_changed(void *ctx, const struct pool *p)
{
	(void)ctx;
	CHECK(p == &settings->pools[p->index]);
	changes++;
}

static void on_event(void *ctx, const char *event, json_t *fields)
{
	(void)ctx;
	CHECK(strcmp(event, "server.added") == 0 || strcmp(event, "server.removed") == 0);
	events++;
	json_decref(fields);
}

static void apply(const char *text)
{
	struct conf_report *report = conf_report_new();
	struct conf *conf = conf_load_text("tandem.yaml", span_of(text), report);
	struct settings *s = settings_build(conf, report, table, 1, &err);
	struct member_set **sets;

	CHECK_TRUE(s != NULL);
	sets = membership_sets_new(membership, s, &err);
	CHECK_TRUE(sets != NULL);
	membership_apply(membership, s, sets);
	settings_unref(settings);
	settings = s;
	conf_report_free(report);
}

static const char two[] = "pools: {web: {servers: {w1: \"10.0.0.1:80\", w2: \"10.0.0.2:80\"}}}\n";

static void begin(void)
{
	static const struct membership_options options = {
		.on_changed = on_changed, .on_event = on_event};

	log_set_level(LOG_ERROR);
	changes = events = 0;
	settings = NULL;
	table = server_table_new();
	membership = membership_new(table, &options);
	CHECK_TRUE(table && membership);
	apply(two);
}

static void end(void)
{
	membership_free(membership);
	settings_unref(settings);
	server_table_free(table);
}

static const struct pool *web(void)
{
	return &settings->pools[0];
}

/* "w1 w2*": the names, a backup with a star. */
static const char *names(void)
{
	const struct member_set *set = web()->state->set;
	static char out[256];
	size_t at = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < set->count; i++)
		at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%s%s", i ? " " : "",
			set->members[i].server->name, set->members[i].backup ? "*" : "");
	return out;
}

#define CHECK_NAMES(expected) CU_ASSERT_STRING_EQUAL(names(), expected)

static struct membership_server named(const char *name, const char *address)
{
	struct membership_server s = {.name = span_of(name), .weight = 1};

	CHECK_TRUE(addr_parse(span_of(address), &s.address, &err) == 0);
	return s;
}

static int set(const char *source, const struct membership_server *list, unsigned count)
{
	return membership_source_set(membership, SPAN("web"), source, list, count, &err);
}

static void a_source_adds_to_the_configuration_and_takes_away_only_its_own(void)
{
	struct membership_server list[2];

	begin();
	CHECK_NAMES("w1 w2");
	list[0] = named("d1", "10.0.1.1:80");
	list[1] = named("d2", "10.0.1.2:80");
	list[1].backup = true;
	CHECK_INT(set("dns", list, 2), 0);
	CHECK_NAMES("w1 w2 d1 d2*");
	CHECK_INT(set("file", list, 0), 0);
	CHECK_INT(changes, 1);
	CHECK_INT(events, 2);
	CHECK_INT(set("dns", list + 1, 1), 0);
	CHECK_NAMES("w1 w2 d2*");
	CHECK_INT(set("dns", NULL, 0), 0);
	CHECK_NAMES("w1 w2");
	CHECK_INT(changes, 3);
	CHECK_INT(events, 4);
	end();
}

static void what_a_source_says_again_changes_nothing(void)
{
	struct membership_server d1;

	begin();
	d1 = named("d1", "10.0.1.1:80");
	CHECK_INT(set("dns", &d1, 1), 0);
	CHECK_INT(set("dns", &d1, 1), 0);
	CHECK_INT(changes, 1);
	d1.weight = 7;
	CHECK_INT(set("dns", &d1, 1), 0);
	CHECK_INT(changes, 2);
	CHECK_INT(events, 1);
	CHECK_INT(member_set_named(web()->state->set, SPAN("d1"))->weight, 7);
	end();
}

static void a_server_that_stays_is_the_same_and_one_with_another_address_is_new(void)
{
	struct membership_server list[2];
	struct server *before;

	begin();
	list[0] = named("d1", "10.0.1.1:80");
	list[1] = named("d2", "10.0.1.2:80");
	CHECK_INT(set("dns", list, 2), 0);
	before = member_set_named(web()->state->set, SPAN("d2"))->server;
	CHECK_INT(set("dns", list + 1, 1), 0);
	CHECK(member_set_named(web()->state->set, SPAN("d2"))->server == before);
	server_ref(before);
	list[1] = named("d2", "10.0.1.3:80");
	CHECK_INT(set("dns", list + 1, 1), 0);
	CHECK(member_set_named(web()->state->set, SPAN("d2"))->server != before);
	CHECK_INT(events, 5); /* two came, one left; one left, one came */
	server_unref(before);
	end();
}

static void a_name_belongs_to_who_says_it_first(void)
{
	struct membership_server w1, d1;

	begin();
	w1 = named("w1", "10.0.1.1:80");
	CHECK_INT(set("dns", &w1, 1), 0);
	CHECK_NAMES("w1 w2");
	CHECK_INT(changes, 0);
	CHECK_TEXT(span_of(web()->state->set->members[0].source), SOURCE_CONFIGURATION);
	d1 = named("d1", "10.0.1.1:80");
	CHECK_INT(set("dns", &d1, 1), 0);
	d1 = named("d1", "10.0.1.2:80");
	CHECK_INT(set("file", &d1, 1), 0);
	CHECK_NAMES("w1 w2 d1");
	CHECK_TEXT(span_of(web()->state->set->members[2].server->address_text), "10.0.1.1:80");
	CHECK_INT(set("dns", NULL, 0), 0);
	CHECK_TEXT(span_of(web()->state->set->members[2].server->address_text), "10.0.1.2:80");
	CHECK_TEXT(span_of(web()->state->set->members[2].source), "file");
	end();
}

static void a_list_that_is_wrong_or_too_long_changes_nothing(void)
{
	static char words[SOURCE_SERVERS_MAX + 1][8];
	struct membership_server *many = calloc(SOURCE_SERVERS_MAX + 1, sizeof(*many)), d1;

	begin();
	d1 = named("d1", "10.0.1.1:80");
	CHECK_INT(set("dns", &d1, 1), 0);
	for (unsigned i = 0; i <= SOURCE_SERVERS_MAX; i++) {
		many[i] = d1;
		snprintf(words[i], sizeof(words[i]), "m%u", i);
		many[i].name = span_of(words[i]);
	}
	CHECK_INT(set("dns", many, SOURCE_SERVERS_MAX + 1), -1);
	CHECK_INT(set("dns", many, SOURCE_SERVERS_MAX), 0);
	CHECK_INT(web()->state->set->count, SOURCE_SERVERS_MAX + 2);
	CHECK_INT(set("file", many, SOURCE_SERVERS_MAX), 0); /* all names are taken */
	for (unsigned i = 0; i < SOURCE_SERVERS_MAX; i++)
		words[i][0] = 'n';
	CHECK_INT(set("file", many, SOURCE_SERVERS_MAX), -1); /* no slots for so many */
	CHECK(strstr(err.text, "no room") != NULL);
	CHECK_INT(web()->state->set->count, SOURCE_SERVERS_MAX + 2);
	many[1].name = many[0].name;
	CHECK_INT(set("dns", many, 2), -1);
	d1.name = SPAN("not a name");
	CHECK_INT(set("dns", &d1, 1), -1);
	CHECK_INT(membership_source_set(membership, SPAN("wbe"), "dns", &d1, 0, &err), -1);
	CHECK_TEXT(span_of(err.text), "there is no pool 'wbe'");
	free(many);
	end();
}

static void what_sources_said_survives_a_reload_unless_the_pool_goes(void)
{
	struct membership_server d1;

	begin();
	d1 = named("d1", "10.0.1.1:80");
	CHECK_INT(set("dns", &d1, 1), 0);
	apply("pools: {web: {servers: {w2: \"10.0.0.2:80\"}, balance: random}}\n");
	CHECK_NAMES("w2 d1");
	CHECK_INT(changes, 1); /* a reload says itself what changed */
	apply("pools: {other: {servers: {w2: \"10.0.0.2:80\"}}}\n");
	apply(two);
	CHECK_NAMES("w1 w2");
	end();
}

/* --- views and lines --- */

static void on_granted(struct waiter *w)
{
	CHECK(w->server == NULL);
}

static void an_old_view_keeps_its_servers_until_it_goes(void)
{
	struct membership_server d1;
	struct rng rng;
	struct pick what = {.rng = &rng, .now_ns = 1};
	struct pool_view *v;
	struct server *s;

	begin();
	rng_seed(&rng, 1);
	apply("pools: {web: {servers: {w1: \"10.0.0.1:80\"}}}\n");
	d1 = named("d1", "10.0.1.1:80");
	CHECK_INT(set("dns", &d1, 1), 0);
	v = pool_view_new(web(), web()->state->set);
	CHECK_TRUE(v != NULL);
	for (s = pool_take(v, &what); strcmp(s->name, "d1") != 0; s = pool_take(v, &what))
		pool_release(v, s);
	CHECK_INT(set("dns", NULL, 0), 0);
	CHECK_INT(atomic_load(&s->in_flight), 1); /* the sanitizers see that it is still there */
	pool_release(v, s);
	pool_view_unref(v);
	end();
}

static void who_waits_for_servers_that_have_gone_asks_anew(void)
{
	struct waiter w = {.on_granted = on_granted};
	struct rng rng;
	struct pick what = {.rng = &rng, .now_ns = 1};
	struct membership_server d1;
	struct pool_view *old, *new;
	struct pool_queue *q;

	begin();
	rng_seed(&rng, 1);
	apply("pools: {web: {limits: {connections_per_server: 1}, servers: {w1: "
	      "\"10.0.0.1:80\"}}}\n");
	q = &web()->state->queue;
	old = pool_view_new(web(), web()->state->set);
	CHECK_TRUE(old && pool_take(old, &what));
	w.pool = web();
	list_init(&w.link);
	CHECK(queue_enter(q, &w, old, &what));
	d1 = named("d1", "10.0.1.1:80");
	CHECK_INT(set("dns", &d1, 1), 0);
	new = pool_view_new(web(), web()->state->set);
	CHECK_TRUE(new != NULL);
	queue_recall(q, old);
	CHECK(w.queued);
	queue_recall(q, new);
	CHECK(!w.queued && !w.server);
	pool_release(old, web()->members[0].server);
	pool_view_unref(old);
	pool_view_unref(new);
	end();
}

static const struct test_case cases[] = {
	TEST(a_source_adds_to_the_configuration_and_takes_away_only_its_own),
	TEST(what_a_source_says_again_changes_nothing),
	TEST(a_server_that_stays_is_the_same_and_one_with_another_address_is_new),
	TEST(a_name_belongs_to_who_says_it_first),
	TEST(a_list_that_is_wrong_or_too_long_changes_nothing),
	TEST(what_sources_said_survives_a_reload_unless_the_pool_goes),
	TEST(an_old_view_keeps_its_servers_until_it_goes),
	TEST(who_waits_for_servers_that_have_gone_asks_anew),
};

TESTS_MAIN("membership", cases)
