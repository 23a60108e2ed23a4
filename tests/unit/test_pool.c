/*
 * Views: which servers of a pool may be picked; reports of workers; the status of a pool.
 */
#include "proxy/pool/pool.h"

#include <pthread.h>
#include <stdlib.h>

#include "shared/assert.h"
#include "shared/units.h"
#include "tests/unit/check.h"

static struct server_table *table;
static struct conf_report *report;
static struct settings *settings;
static struct member_set *set;
static unsigned woken;

static void on_wake(void *ctx)
{
	(void)ctx;
	woken++;
}

static const struct pool *pool_of(const char *text)
{
	struct conf *conf;

	table = server_table_new();
	report = conf_report_new();
	CHECK_TRUE(table && report);
	server_table_on_wake(table, on_wake, NULL);
	woken = 0;
	conf = conf_load_text("tandem.yaml", span_of(text), report);
	CHECK_TRUE(conf != NULL);
	settings = settings_build(conf, report, table, 1, NULL);
	CHECK_TRUE(settings != NULL);
	set = member_set_new(settings->pools[0].members, settings->pools[0].member_count);
	CHECK_TRUE(set != NULL);
	settings->pools[0].state->set = member_set_ref(set);
	return &settings->pools[0];
}

static void done(void)
{
	member_set_unref(set);
	settings_unref(settings);
	server_table_free(table);
	conf_report_free(report);
}

/* What the main thread does after a step of the health machine. */
static void take_out(const struct pool *p, unsigned member, bool refused)
{
	atomic_store(&p->members[member].server->usable, false);
	atomic_store(&p->members[member].server->refused, refused);
}

static const char two_and_backup[] = "pools:\n"
				     "  web:\n"
				     "    servers:\n"
				     "      w1: \"10.0.0.1:80\"\n"
				     "      w2: {address: \"10.0.0.2:80\", weight: 3}\n"
				     "      b1: {address: \"10.0.0.3:80\", backup: true}\n";

/* The names in the view, in order: "w1 w2". */
static struct span names(const struct pool_view *v)
{
	static char out[200];
	size_t at = 0;

	for (unsigned i = 0; i < v->count; i++)
		at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%s", i ? " " : "",
			v->usable[i].server->name);
	return span_make(out, at);
}

#define EXPECT_VIEW(p, expected_names, expected_open)         \
	do {                                                  \
		struct pool_view *v_ = pool_view_new(p, set); \
		CHECK_TRUE(v_ != NULL);                       \
		CHECK_TEXT(names(v_), expected_names);        \
		CHECK_INT(v_->failing_open, expected_open);   \
		pool_view_unref(v_);                          \
	} while (0)

static void backups_are_used_only_when_no_other_can_be(void)
{
	const struct pool *p = pool_of(two_and_backup);

	EXPECT_VIEW(p, "w1 w2", false);
	take_out(p, 0, true);
	EXPECT_VIEW(p, "w2", false);
	take_out(p, 1, false);
	EXPECT_VIEW(p, "b1", false);
	done();
}

static void with_nobody_well_those_are_tried_that_did_not_refuse(void)
{
	const struct pool *p = pool_of(two_and_backup);

	take_out(p, 0, true);
	take_out(p, 1, false);
	take_out(p, 2, false);
	EXPECT_VIEW(p, "w2", true);
	take_out(p, 1, true);
	EXPECT_VIEW(p, "b1", true);
	take_out(p, 2, true);
	EXPECT_VIEW(p, "", false);
	done();
}

static void when_all_down_503_tries_nobody(void)
{
	const struct pool *p =
		pool_of("pools: {web: {when_all_down: 503, servers: {w1: \"10.0.0.1:80\"}}}\n");
	struct pool_view *v;
	struct rng rng;

	rng_seed(&rng, 1);
	take_out(p, 0, false);
	EXPECT_VIEW(p, "", false);
	v = pool_view_new(p, set);
	CHECK_TRUE(v != NULL);
	CHECK(pool_prefer(v, &(struct pick){.rng = &rng}) == NULL);
	pool_view_unref(v);
	done();
}

static void picks_follow_the_balance_and_pass_over_tried_servers(void)
{
	const struct pool *p = pool_of(
		"pools:\n"
		"  web:\n"
		"    balance: round_robin\n"
		"    servers: {w1: \"10.0.0.1:80\", w2: {address: \"10.0.0.2:80\", weight: 3}}\n");
	struct pool_view *v = pool_view_new(p, set);
	struct server *tried[2] = {p->members[1].server, p->members[0].server};
	unsigned heavy = 0;
	struct rng rng;
	struct pick what = {.rng = &rng};

	rng_seed(&rng, 1);
	CHECK_TRUE(v != NULL);
	for (unsigned i = 0; i < 400; i++)
		heavy += pool_prefer(v, &what) == tried[0];
	CHECK_INT(heavy, 300);
	what = (struct pick){.rng = &rng, .tried = tried, .tried_count = 1};
	CHECK(pool_prefer(v, &what) == tried[1]);
	what.tried_count = 2;
	CHECK(pool_prefer(v, &what) == NULL);
	pool_view_unref(v);
	done();
}

/* --- reports ------------------------------------------------------------------------------------
 */

static unsigned take_report(struct server **ret_server)
{
	unsigned bits = 0;

	*ret_server = server_table_take_report(table, &bits);
	server_unref(*ret_server);
	return bits;
}

static void a_refused_attempt_wakes_the_main_thread_at_once(void)
{
	const struct pool *p = pool_of(two_and_backup);
	struct server *s = p->members[0].server, *reported;

	server_report(s, SERVER_OK);
	CHECK_INT(woken, 0);
	server_report(s, SERVER_REFUSED);
	server_report(s, SERVER_REFUSED);
	CHECK_INT(woken, 1); /* once is enough until it was heard */
	CHECK_INT(take_report(&reported), REPORT_REFUSED);
	CHECK(reported == s);
	CHECK_INT(take_report(&reported), 0);
	CHECK(reported == NULL);
	take_out(p, 0, true);
	server_report(s, SERVER_REFUSED); /* no news */
	CHECK_INT(woken, 1);
	CHECK_INT(atomic_load(&s->requests_total), 4);
	CHECK_INT(atomic_load(&s->failures_total), 3);
	done();
}

static void five_broken_attempts_in_a_row_are_news_and_a_good_one_between_forgives(void)
{
	const struct pool *p = pool_of(two_and_backup);
	struct server *s = p->members[1].server, *reported;

	for (unsigned i = 0; i < 4; i++)
		server_report(s, SERVER_BROKE);
	server_report(s, SERVER_OK);
	for (unsigned i = 0; i < 4; i++)
		server_report(s, i % 2 ? SERVER_BROKE : SERVER_UNREACHABLE);
	CHECK_INT(woken, 0);
	server_report(s, SERVER_BROKE);
	CHECK_INT(woken, 1);
	CHECK_INT(take_report(&reported), REPORT_BROKE);
	CHECK(reported == s);
	done();
}

static void a_reported_server_outlives_its_snapshot_until_it_was_heard(void)
{
	const struct pool *p = pool_of(two_and_backup);
	struct server *s = p->members[0].server, *reported;
	unsigned bits;

	server_report(s, SERVER_REFUSED);
	settings_unref(settings);
	settings = NULL;
	reported = server_table_take_report(table, &bits);
	CHECK(reported == s);
	CHECK_TEXT(span_of(reported->name), "w1");
	server_unref(reported);
	done();
}

static void *report_many(void *arg)
{
	const struct pool *p = arg;

	for (unsigned i = 0; i < 20000; i++)
		server_report(p->members[i % 3].server, i % 7 ? SERVER_REFUSED : SERVER_OK);
	return NULL;
}

static void reports_of_many_threads_are_all_counted_and_heard(void)
{
	const struct pool *p = pool_of(two_and_backup);
	uint64_t total = 0, heard = 0;
	struct server *s;
	pthread_t threads[3];
	unsigned bits;

	server_table_on_wake(table, NULL, NULL);
	for (unsigned i = 0; i < 3; i++)
		CHECK_TRUE(
			pthread_create(&threads[i], NULL, report_many, (void *)(uintptr_t)p) == 0);
	for (unsigned i = 0; i < 1000; i++)
		while ((s = server_table_take_report(table, &bits))) {
			heard += bits == REPORT_REFUSED;
			server_unref(s);
		}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	while ((s = server_table_take_report(table, &bits))) {
		heard += bits == REPORT_REFUSED;
		server_unref(s);
	}
	for (unsigned i = 0; i < 3; i++)
		total += atomic_load(&p->members[i].server->requests_total);
	CHECK_INT(total, 60000);
	CHECK(heard >= 3);
	CHECK_INT(p->members[0].server->refs, 2);
	done();
}

static void a_server_that_starts_slowly_has_a_part_of_its_weight(void)
{
	const struct pool *p = pool_of(
		"pools:\n"
		"  web:\n"
		"    slow_start: 1h\n"
		"    servers: {w1: \"10.0.0.1:80\", w2: {address: \"10.0.0.2:80\", weight: 3}}\n");
	struct pool_view *v = pool_view_new(p, set);
	json_t *status, *all;

	CHECK_TRUE(v != NULL);
	CHECK_INT(v->usable[1].weight, 3);
	pool_view_unref(v);
	p->members[1].server->started_ns = monotonic_ns() - 1800 * NS_PER_S;
	v = pool_view_new(p, set);
	CHECK_TRUE(v != NULL);
	CHECK_INT(v->usable[0].weight, 100);
	CHECK_INT(v->usable[1].weight, 3 * 55);
	pool_view_unref(v);
	all = pool_status(p);
	status = json_object_get(json_object_get(all, "servers"), "w2");
	CHECK_TEXT(span_of(json_string_value(json_object_get(status, "health"))), "starting 55 %");
	CHECK_INT(json_integer_value(json_object_get(status, "effective_weight")), 2);
	json_decref(all);
	done();
}

static const char zoned[] = "failover:\n"
			    "  nodes:\n"
			    "    n1: {id: 1, paths: {lan: 10.0.9.1}, zone: a}\n"
			    "    n2: {id: 2, paths: {lan: 10.0.9.2}, zone: b}\n"
			    "  secret_file: /etc/key\n"
			    "  groups: {g: {vrid: 1, interface: eth0, virtual_ips: 10.0.9.9/24}}\n"
			    "pools:\n"
			    "  web:\n"
			    "    balance: random\n"
			    "    servers:\n"
			    "      a1: {address: \"10.0.0.1:80\", zone: a}\n"
			    "      a2: {address: \"10.0.0.2:80\", zone: a}\n"
			    "      a3: {address: \"10.0.0.3:80\", zone: a, weight: 2}\n"
			    "      b1: {address: \"10.0.0.4:80\", zone: b}\n"
			    "      n1: \"10.0.0.5:80\"\n";

/* Of 10,000 requests, how many a server of zone `a` gets. */
static unsigned near_picks(const struct pool *p, const struct pick *like)
{
	struct pool_view *v = pool_view_new(p, set);
	struct pick what = *like;
	unsigned near = 0;
	struct rng rng;

	CHECK_TRUE(v != NULL);
	rng_seed(&rng, 9);
	what.rng = &rng;
	for (unsigned i = 0; i < 10000; i++) {
		what.key = i * UINT64_C(0xd6e8feb86659fd93);
		near += pool_prefer(v, &what)->name[0] == 'a';
	}
	pool_view_unref(v);
	return near;
}

static void the_own_zone_is_preferred_while_it_can_nearly_do_and_then_spills_over(void)
{
	const struct pool *p = pool_of(zoned);
	const struct pick any = {0}, keyed = {.has_key = true};
	unsigned near;

	near = near_picks(p, &any); /* nobody said where we are: by requests alone */
	CHECK(near > 5000 && near < 8000);
	settings_locate(settings, "n1");
	CHECK_INT(near_picks(p, &any), 10000);
	take_out(p, 0, false); /* 3 of 4 are left: 3/4 x 1.4 is enough */
	CHECK_INT(near_picks(p, &any), 10000);
	take_out(p, 1, false); /* half: 0.7 */
	near = near_picks(p, &any);
	CHECK(near > 6850 && near < 7150);
	near = near_picks(p, &keyed);
	CHECK(near > 6850 && near < 7150);
	take_out(p, 2, false);
	CHECK_INT(near_picks(p, &any), 0);
	done();
}

static void with_the_own_zone_full_or_tried_the_others_are_taken(void)
{
	const struct pool *p = pool_of(zoned);
	struct server *tried[3];
	struct rng rng;
	struct pick what = {.rng = &rng, .tried = tried, .tried_count = 3};
	struct pool_view *v;

	rng_seed(&rng, 9);
	settings_locate(settings, "n1");
	for (unsigned i = 0; i < 3; i++)
		tried[i] = p->members[i].server;
	v = pool_view_new(p, set);
	CHECK_TRUE(v != NULL);
	CHECK_INT(v->count, 3);
	CHECK_TRUE(v->beyond != NULL);
	CHECK_INT(v->beyond->count, 2);
	CHECK(pool_prefer(v, &what) == p->members[3].server ||
		pool_prefer(v, &what) == p->members[4].server);
	pool_view_unref(v);
	done();
}

static void servers_without_a_zone_are_nobodys_own(void)
{
	const struct pool *p = pool_of(two_and_backup);
	struct pool_view *v;

	settings_locate(settings, "n1"); /* no such node, no zone */
	v = pool_view_new(p, set);
	CHECK_TRUE(v != NULL);
	CHECK_INT(v->count, 2);
	CHECK(v->beyond == NULL);
	pool_view_unref(v);
	done();
}

/* --- status -------------------------------------------------------------------------------------
 */

static void the_status_shows_each_server_with_its_reason(void)
{
	const struct pool *p = pool_of(two_and_backup);
	const char *balance, *address, *configured, *admin, *health, *reason, *since;
	int up, total, weight, effective_weight, queued, backup;
	json_int_t in_flight, requests_total, failures_total;
	struct server *s = p->members[1].server;
	struct health_conf conf = {
		.may_eject = true, .rise = 1, .fall = 1, .eject_ns = 10 * NS_PER_S};
	struct health_event ev = {.kind = HEALTH_TRAFFIC_REFUSED,
		.now_ns = monotonic_ns(),
		.realtime_ns = UINT64_C(1795309323004000000)};
	json_t *status;

	health_step(&s->health, &conf, &ev);
	take_out(p, 1, true);
	atomic_store(&s->in_flight, 4);
	server_report(s, SERVER_OK);
	server_report(s, SERVER_BROKE);
	status = pool_status(p);
	CHECK_TRUE(status != NULL);
	CHECK_TRUE(json_unpack(status,
			   "{s:s, s:i, s:i, s:{s:{s:s, s:i, s:i, s:b, s:s, s:s, s:s, s:s, s:s, "
			   "s:I, s:i, s:I, s:I}}}",
			   "balance", &balance, "up", &up, "total", &total, "servers", "w2",
			   "address", &address, "weight", &weight, "effective_weight",
			   &effective_weight, "backup", &backup, "configured", &configured, "admin",
			   &admin, "health", &health, "reason", &reason, "since", &since,
			   "in_flight", &in_flight, "queued", &queued, "requests_total",
			   &requests_total, "failures_total", &failures_total) == 0);
	CHECK_TEXT(span_of(balance), "least_requests");
	CHECK_INT(up, 2);
	CHECK_INT(total, 3);
	CHECK_TEXT(span_of(address), "10.0.0.2:80");
	CHECK_INT(weight, 3);
	CHECK_INT(effective_weight, 3);
	CHECK_INT(backup, 0);
	CHECK_TEXT(span_of(configured), "enabled");
	CHECK_TEXT(span_of(admin), "ready");
	CHECK_TEXT(span_of(health), "ejected 10 s");
	CHECK_TEXT(span_of(reason), "connection refused; put aside for 10 s");
	CHECK_TEXT(span_of(since), "2026-11-22T01:02:03.004Z");
	CHECK_INT(in_flight, 4);
	CHECK_INT(queued, 0);
	CHECK_INT(requests_total, 2);
	CHECK_INT(failures_total, 1);
	json_decref(status);
	atomic_store(&s->in_flight, 0);
	done();
}

static void an_agent_has_a_part_of_the_weight_or_nothing_new(void)
{
	const struct pool *p = pool_of(
		"pools: {web: {health: {agent: {port: 1}}, servers: {w1: \"10.0.0.1:80\", w2: "
		"{address: \"10.0.0.2:80\", weight: 3}}}}\n");
	struct server *w1 = p->members[0].server, *w2 = p->members[1].server;
	struct pool_view *v;
	json_t *status, *of_w1;

	w1->agent.weight_pct = 50;
	v = pool_view_new(p, set);
	CHECK_TRUE(v != NULL);
	CHECK_INT(v->usable[1].weight, 6 * v->usable[0].weight);
	pool_view_unref(v);
	w1->agent = (struct agent_word){.state = AGENT_DRAIN, .weight_pct = 100};
	atomic_store(&w1->drains, true);
	EXPECT_VIEW(p, "w2", false);
	status = pool_status(p);
	of_w1 = json_object_get(json_object_get(status, "servers"), "w1");
	CHECK_TEXT(span_of(json_string_value(
			   json_object_get(json_object_get(of_w1, "agent"), "state"))),
		"drain");
	CHECK_INT(json_integer_value(json_object_get(status, "up")), 1);
	json_decref(status);
	atomic_store(&w2->drains, true); /* both: better they than nobody */
	EXPECT_VIEW(p, "w1 w2", true);
	done();
}

static const struct test_case cases[] = {
	TEST(backups_are_used_only_when_no_other_can_be),
	TEST(with_nobody_well_those_are_tried_that_did_not_refuse),
	TEST(when_all_down_503_tries_nobody),
	TEST(picks_follow_the_balance_and_pass_over_tried_servers),
	TEST(a_refused_attempt_wakes_the_main_thread_at_once),
	TEST(five_broken_attempts_in_a_row_are_news_and_a_good_one_between_forgives),
	TEST(a_reported_server_outlives_its_snapshot_until_it_was_heard),
	TEST(reports_of_many_threads_are_all_counted_and_heard),
	TEST(a_server_that_starts_slowly_has_a_part_of_its_weight),
	TEST(the_own_zone_is_preferred_while_it_can_nearly_do_and_then_spills_over),
	TEST(with_the_own_zone_full_or_tried_the_others_are_taken),
	TEST(servers_without_a_zone_are_nobodys_own),
	TEST(the_status_shows_each_server_with_its_reason),
	TEST(an_agent_has_a_part_of_the_weight_or_nothing_new),
};

TESTS_MAIN("pool", cases)
