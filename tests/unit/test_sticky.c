/*
 * Cookies that name a server: their values, the table of a view, and where the key comes from.
 */
#include "proxy/pool/sticky.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/pool/pool.h"
#include "tests/unit/check.h"

static char dir[] = "/tmp/sticky-XXXXXX";
static struct server_table *table;
static struct conf_report *report;
static struct err err;

static struct settings *build(const char *text)
{
	struct conf *conf = conf_load_text("tandem.yaml", span_of(text), report);
	struct settings *s;

	CHECK_TRUE(conf != NULL);
	s = settings_build(conf, report, table, 1, NULL);
	CHECK_TRUE(s != NULL);
	return s;
}

static void begin(void)
{
	snprintf(dir, sizeof(dir), "/tmp/sticky-XXXXXX");
	CHECK_TRUE(mkdtemp(dir) != NULL);
	table = server_table_new();
	report = conf_report_new();
	CHECK_TRUE(table && report);
}

static void done(void)
{
	char file[100];

	snprintf(file, sizeof(file), "%s/sticky.key", dir);
	(void)unlink(file);
	CHECK_INT(rmdir(dir), 0);
	server_table_free(table);
	conf_report_free(report);
}

static void put_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	CHECK_TRUE(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

#define WEB "pools: {web: {sticky: {cookie: lb}, servers: {w1: \"10.0.0.1:80\"}}}\n"
#define PAIR                                                                                  \
	"failover: {secret_file: /tmp/test-sticky-secret, nodes: {a: {id: 1, paths: {lan: "   \
	"10.0.0.1, b: 10.1.0.1}}, b: {id: 2, paths: {lan: 10.0.0.2, b: 10.1.0.2}}}, groups: " \
	"{web: {vrid: 1, interface: eth0, virtual_ips: [10.0.0.9/24]}}}\n"

/* The value of the first pool's first server. */
static uint64_t value_with(const char *text, const char *state_dir)
{
	struct settings *s = build(text);
	uint64_t value;

	CHECK_INT(settings_sticky_key(s, state_dir, &err), 0);
	value = sticky_value(s->pools[0].sticky.key, s->pools[0].members[0].server);
	settings_unref(s);
	return value;
}

static void a_value_is_told_by_all_of_its_digits(void)
{
	static const uint64_t values[] = {
		1, UINT64_C(0xfedcba9876543210), UINT64_MAX, UINT64_C(1) << 63};
	char text[STICKY_TEXT_LEN + 1] = "";

	for (unsigned i = 0; i < countof(values); i++) {
		sticky_format(values[i], text);
		CHECK_INT(sticky_parse(span_make(text, STICKY_TEXT_LEN)), values[i]);
		CHECK_INT(sticky_parse(span_make(text, STICKY_TEXT_LEN - 1)), 0);
	}
	sticky_format(1, text);
	CHECK_TEXT(span_of(text), "0000000000000001");
	CHECK_INT(sticky_parse(SPAN("00000000000000001")), 0);
	CHECK_INT(sticky_parse(SPAN("000000000000000A")), 0); /* as we write it, and no other way */
	CHECK_INT(sticky_parse(SPAN("00000000 0000001")), 0);
	CHECK_INT(sticky_parse((struct span){0}), 0);
}

static void a_table_finds_every_server_by_its_value_and_no_other(void)
{
	enum { COUNT = 5000 };
	static const uint64_t key[2] = {3, 4};
	struct sticky_table *t = sticky_table_new(COUNT);
	struct server *servers = aligned_alloc(64, COUNT * sizeof(*servers));
	char(*names)[16] = calloc(COUNT, sizeof(*names));

	CHECK_TRUE(t && servers && names);
	for (unsigned i = 0; i < COUNT; i++) {
		snprintf(names[i], sizeof(names[i]), "web/s%u", i);
		servers[i].key = names[i];
		sticky_table_add(t, sticky_value(key, &servers[i]), &servers[i]);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		CHECK(sticky_table_find(t, sticky_value(key, &servers[i])) == &servers[i]);
		CHECK(sticky_table_find(t, i + 1) == NULL);
	}
	free(t);
	t = sticky_table_new(0);
	CHECK_TRUE(t != NULL);
	CHECK(sticky_table_find(t, 7) == NULL);
	free(t);
	free(servers);
	free(names);
}

static void two_nodes_with_one_secret_agree_and_nothing_is_kept(void)
{
	uint64_t value;

	begin();
	put_file("/tmp/test-sticky-secret", "0123456789abcdef0123456789abcdef\n");
	value = value_with(PAIR WEB, dir);
	CHECK_INT(value_with(PAIR WEB, "/nowhere"), value);
	put_file("/tmp/test-sticky-secret", "another secret, as long as it must be");
	CHECK(value_with(PAIR WEB, dir) != value);
	CHECK_INT(unlink("/tmp/test-sticky-secret"), 0);
	done();
}

static void a_secret_that_cannot_be_read_is_an_error_that_says_so(void)
{
	struct settings *s;

	begin();
	s = build(PAIR WEB);
	CHECK_INT(settings_sticky_key(s, dir, &err), -1);
	CHECK_TEXT(span_of(err.text), "no key for sticky sessions: cannot open "
				      "/tmp/test-sticky-secret: No such file or directory");
	settings_unref(s);
	s = build("pools: {web: {servers: {w1: \"10.0.0.1:80\"}}}\n" PAIR);
	CHECK_INT(settings_sticky_key(s, dir, &err), 0); /* which nobody needs */
	settings_unref(s);
	done();
}

static void a_single_box_keeps_a_key_of_its_own_and_shows_it_to_nobody(void)
{
	struct stat st;
	char file[100];
	uint64_t value;

	begin();
	value = value_with(WEB, dir);
	CHECK_INT(value_with(WEB, dir), value);
	snprintf(file, sizeof(file), "%s/sticky.key", dir);
	CHECK_INT(stat(file, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0600);
	CHECK_INT(st.st_size, 32);
	CHECK_INT(unlink(file), 0);
	CHECK(value_with(WEB, dir) != value);
	done();
}

static void a_key_cut_short_is_refused(void)
{
	struct settings *s;
	char file[100];

	begin();
	snprintf(file, sizeof(file), "%s/sticky.key", dir);
	put_file(file, "short");
	s = build(WEB);
	CHECK_INT(settings_sticky_key(s, dir, &err), -1);
	CHECK_TRUE(strstr(err.text, "remove it") != NULL);
	settings_unref(s);
	done();
}

/* With its second server in this state. */
static struct pool_view *view_of(const struct pool *p, enum admin_state second)
{
	struct member_set *set;
	struct pool_view *v;

	p->members[1].admin = second;
	set = member_set_new(p->members, p->member_count);
	CHECK_TRUE(set != NULL);
	v = pool_view_new(p, set);
	member_set_unref(set);
	return v;
}

static void a_cookie_leads_to_its_server_whatever_the_balance_until_it_is_out(void)
{
	struct settings *s;
	struct pool_view *v;
	struct server *w2;
	struct rng rng;
	struct pick what = {.rng = &rng};

	begin();
	rng_seed(&rng, 1);
	s = build("pools: {web: {sticky: {cookie: lb}, balance: round_robin, servers: {w1: "
		  "\"10.0.0.1:80\", w2: \"10.0.0.2:80\", w3: \"10.0.0.3:80\"}}}\n");
	w2 = s->pools[0].members[1].server;
	v = view_of(&s->pools[0], ADMIN_READY);
	CHECK_TRUE(v != NULL);
	what.sticky = sticky_value(s->pools[0].sticky.key, w2);
	for (unsigned i = 0; i < 10; i++)
		CHECK(pool_take(v, &what) == w2);
	what.tried = &w2;
	what.tried_count = 1;
	CHECK(pool_take(v, &what) != w2);
	what.tried_count = 0;
	pool_view_unref(v);
	atomic_store(&w2->usable, false);
	v = view_of(&s->pools[0], ADMIN_READY);
	CHECK_TRUE(v != NULL);
	CHECK(pool_take(v, &what) != w2);
	what.sticky = 99; /* of a server that has been removed, or of nobody */
	CHECK(pool_take(v, &what) != NULL);
	pool_view_unref(v);
	settings_unref(s);
	done();
}

static void who_is_at_a_server_that_drains_stays_and_nobody_else_comes(void)
{
	struct settings *s;
	struct pool_view *v;
	struct server *w2;
	struct rng rng;
	struct pick what = {.rng = &rng};

	begin();
	rng_seed(&rng, 1);
	s = build("pools: {web: {sticky: {cookie: lb}, servers: {w1: \"10.0.0.1:80\", w2: "
		  "\"10.0.0.2:80\"}}}\n");
	w2 = s->pools[0].members[1].server;
	v = view_of(&s->pools[0], ADMIN_DRAINING);
	CHECK_TRUE(v != NULL);
	for (unsigned i = 0; i < 10; i++)
		CHECK(pool_take(v, &what) != w2);
	what.sticky = sticky_value(s->pools[0].sticky.key, w2);
	CHECK(pool_take(v, &what) == w2);
	pool_view_unref(v);
	v = view_of(&s->pools[0], ADMIN_MAINTENANCE);
	CHECK_TRUE(v != NULL);
	CHECK(pool_take(v, &what) != w2);
	pool_view_unref(v);
	settings_unref(s);
	done();
}

static const struct test_case cases[] = {
	TEST(a_value_is_told_by_all_of_its_digits),
	TEST(a_table_finds_every_server_by_its_value_and_no_other),
	TEST(two_nodes_with_one_secret_agree_and_nothing_is_kept),
	TEST(a_secret_that_cannot_be_read_is_an_error_that_says_so),
	TEST(a_single_box_keeps_a_key_of_its_own_and_shows_it_to_nobody),
	TEST(a_key_cut_short_is_refused),
	TEST(a_cookie_leads_to_its_server_whatever_the_balance_until_it_is_out),
	TEST(who_is_at_a_server_that_drains_stays_and_nobody_else_comes),
};

TESTS_MAIN("sticky", cases)
