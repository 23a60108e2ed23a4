/*
 * The log's lines as they arrive on standard error, which is a pipe here.
 */
#include <fcntl.h>
#include <jansson.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/log.h"
#include "tests/unit/check.h"

static char caught[65536];

struct capture {
	int saved, fds[2];
};

static void capture_start(struct capture *c)
{
	CHECK_TRUE(pipe2(c->fds, O_NONBLOCK | O_CLOEXEC) == 0);
	fflush(stderr);
	c->saved = dup(STDERR_FILENO);
	CHECK_TRUE(dup2(c->fds[1], STDERR_FILENO) == STDERR_FILENO);
}

/* What was written since, as text in `caught`. */
static const char *capture_end(struct capture *c)
{
	ssize_t n = read(c->fds[0], caught, sizeof(caught) - 1);

	caught[n > 0 ? n : 0] = '\0';
	CHECK_TRUE(dup2(c->saved, STDERR_FILENO) == STDERR_FILENO);
	close(c->saved);
	close(c->fds[0]);
	close(c->fds[1]);
	return caught;
}

static unsigned lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void a_text_line_has_time_program_level_sentence_and_fields(void)
{
	struct capture c;
	const char *out;

	log_open("tandem-test", LOG_INFO, LOG_FORMAT_TEXT);
	capture_start(&c);
	log_event(LOG_INFO, "proxy.a", "listening", F_INT("workers", 2), F_TEXT("pool", "web api"),
		F_BOOL("ok", true), F_SPAN("empty", SPAN("")));
	out = capture_end(&c);
	CHECK_TRUE(strlen(out) > 25);
	CHECK(out[4] == '-' && out[10] == 'T' && out[23] == 'Z');
	CHECK_TEXT(span_of(out + 25), "tandem-test info: listening event=proxy.a workers=2 "
				      "pool=\"web api\" ok=true empty=\"\"\n");
}

static void levels_and_debug_subsystems_select(void)
{
	struct capture c;
	struct err err;

	log_open("tandem-test", LOG_NOTICE, LOG_FORMAT_TEXT);
	CHECK_INT(log_set_debug(SPAN("fsm, rpc"), &err), 0);
	CHECK(log_wanted(LOG_ERROR, "pool.x"));
	CHECK(log_wanted(LOG_NOTICE, "pool.x"));
	CHECK(!log_wanted(LOG_INFO, "pool.x"));
	CHECK(!log_wanted(LOG_INFO, "fsm.x"));
	CHECK(log_wanted(LOG_DEBUG, "fsm.transition"));
	CHECK(log_wanted(LOG_DEBUG, "rpc.x"));
	CHECK(!log_wanted(LOG_DEBUG, "fsmx.transition"));
	CHECK(!log_wanted(LOG_DEBUG, "pool.x"));
	capture_start(&c);
	log_event(LOG_INFO, "pool.x", "not shown");
	log_event(LOG_DEBUG, "fsm.x", "shown");
	CHECK_INT(lines(capture_end(&c)), 1);
	CHECK_INT(log_set_debug(SPAN("fsm,nonsense"), &err), -1);
	CHECK(strstr(err.text, "'nonsense'") && strstr(err.text, "netlink"));
	CHECK_INT(log_set_debug(SPAN("fsm.transition"), &err), -1);
	CHECK_INT(log_set_debug(SPAN(""), &err), -1);
	CHECK(log_wanted(LOG_DEBUG, "rpc.x")); /* a wrong list changes nothing */
	CHECK_INT(log_set_debug((struct span){0}, &err), 0);
	CHECK(!log_wanted(LOG_DEBUG, "rpc.x"));
}

static void level_names_parse(void)
{
	enum log_level level = LOG_INFO;

	CHECK_INT(log_level_parse(SPAN("debug"), &level), 0);
	CHECK_INT(level, LOG_DEBUG);
	CHECK_INT(log_level_parse(SPAN("error"), &level), 0);
	CHECK_INT(level, LOG_ERROR);
	CHECK_INT(log_level_parse(SPAN("loud"), &level), -1);
	CHECK_INT(level, LOG_ERROR);
}

static void no_value_can_forge_a_line(void)
{
	struct capture c;
	const char *out;

	log_open("tandem-test", LOG_INFO, LOG_FORMAT_TEXT);
	capture_start(&c);
	log_event(
		LOG_INFO, "proxy.b", "s", F_TEXT("v", "a\nb\x1b[31m\"\\\xff\xc2\x9b\xc3\xa9\x7f="));
	out = capture_end(&c);
	CHECK_INT(lines(out), 1);
	CHECK(strstr(out, "v=\"a\\nb\\x1b[31m\\\"\\\\\\xff\\xc2\\x9b\xc3\xa9\\x7f=\"\n") != NULL);
}

static void a_json_line_is_json_whatever_the_bytes(void)
{
	struct capture c;
	json_t *object;
	const char *v;

	log_open("tandem-test", LOG_INFO, LOG_FORMAT_JSON);
	capture_start(&c);
	log_event(LOG_WARNING, "proxy.c", "a \"sentence\"", F_INT("n", -5), F_BOOL("off", false),
		F_TEXT("v", "a\nb\t\xff\xed\xa0\x80\xf0\x9f\x98\x80"));
	object = json_loads(capture_end(&c), 0, NULL);
	CHECK_TRUE(object != NULL);
	CHECK_TEXT(span_of(json_string_value(json_object_get(object, "level"))), "warning");
	CHECK_TEXT(span_of(json_string_value(json_object_get(object, "event"))), "proxy.c");
	CHECK_TEXT(span_of(json_string_value(json_object_get(object, "msg"))), "a \"sentence\"");
	CHECK_INT(json_integer_value(json_object_get(object, "n")), -5);
	CHECK(json_is_false(json_object_get(object, "off")));
	v = json_string_value(json_object_get(object, "v"));
	CHECK_TEXT(span_of(v),
		"a\nb\t\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xf0\x9f\x98\x80");
	json_decref(object);
}

/* Whatever the value's length, the line stays whole: this walks the cut over every boundary. */
static void a_long_line_is_cut_and_still_whole(void)
{
	static char value[5000];
	struct capture c;

	log_open("tandem-test", LOG_DEBUG, LOG_FORMAT_JSON);
	memset(value, 'x', sizeof(value) - 1);
	for (size_t len = 3850; len < 4150; len++) {
		json_t *object;
		const char *out;

		capture_start(&c);
		log_event(LOG_DEBUG, "proxy.d", "s", F_SPAN("v", span_make(value, len)),
			F_INT("after", 12345678), F_TEXT("w", "\x01\x02\x03"));
		out = capture_end(&c);
		CHECK(strlen(out) <= 4096 && lines(out) == 1);
		object = json_loads(out, 0, NULL);
		CHECK_TRUE(object != NULL);
		json_decref(object);
	}
	capture_start(&c);
	log_event(LOG_DEBUG, "proxy.d", "s", F_TEXT("v", value));
	CHECK(strstr(capture_end(&c), "xxx...\"}\n") != NULL);
}

static void a_flood_of_one_event_is_held_back_and_counted(void)
{
	struct capture c;
	const char *out;

	log_open("tandem-test", LOG_INFO, LOG_FORMAT_TEXT);
	capture_start(&c);
	for (unsigned i = 0; i < 50; i++)
		log_event(LOG_INFO, "proxy.flood", "again");
	log_event(LOG_INFO, "proxy.other", "not affected");
	out = capture_end(&c);
	CHECK_INT(lines(out), 21);
	CHECK(strstr(out, "held_back") == NULL);
	CHECK(strstr(out, "event=proxy.other") != NULL);
	usleep(1100 * 1000);
	capture_start(&c);
	log_event(LOG_INFO, "proxy.flood", "again");
	log_event(LOG_INFO, "proxy.flood", "again");
	out = capture_end(&c);
	CHECK_INT(lines(out), 1);
	CHECK(strstr(out, "event=proxy.flood held_back=30\n") != NULL);
}

static void more_events_than_the_table_holds_still_get_out(void)
{
	struct capture c;
	char event[32];
	unsigned shown = 0;

	log_open("tandem-test", LOG_INFO, LOG_FORMAT_TEXT);
	for (unsigned i = 0; i < 300; i++) {
		capture_start(&c);
		snprintf(event, sizeof(event), "proxy.many%u", i);
		log_event(LOG_INFO, event, "s");
		shown += lines(capture_end(&c));
	}
	/* The last ones share one bucket of twenty. */
	CHECK(shown > 255 && shown < 300);
}

static void the_journal_gets_a_level_prefix_and_no_time(void)
{
	struct capture c;
	struct stat st;
	char stream[64];
	const char *out;

	capture_start(&c);
	CHECK_TRUE(fstat(STDERR_FILENO, &st) == 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_open("tandem-test", LOG_INFO, LOG_FORMAT_TEXT);
	log_event(LOG_WARNING, "proxy.e", "a sentence", F_INT("n", 1));
	out = capture_end(&c);
	CHECK_TEXT(span_of(out), "<4>a sentence event=proxy.e n=1\n");
	/* Standard error was sent elsewhere since: the variable alone does not count. */
	log_open("tandem-test", LOG_INFO, LOG_FORMAT_TEXT);
	capture_start(&c);
	log_event(LOG_WARNING, "proxy.e", "a sentence");
	CHECK(capture_end(&c)[0] != '<');
	unsetenv("JOURNAL_STREAM");
}

/* Standing still would show as SIGALRM. */
static void a_reader_that_stands_still_holds_up_nobody(void)
{
	static const char filler[4096] = {'x'};
	struct capture c;
	const char *out;

	log_open("tandem-test", LOG_INFO, LOG_FORMAT_TEXT);
	capture_start(&c);
	while (write(c.fds[1], filler, sizeof(filler)) > 0)
		;
	CHECK_TRUE(fcntl(c.fds[1], F_SETFL, 0) == 0); /* blocks from here */
	(void)alarm(5);
	log_event(LOG_INFO, "proxy.still1", "not heard");
	log_event(LOG_INFO, "proxy.still2", "nor is this");
	(void)alarm(0);
	while (read(c.fds[0], caught, sizeof(caught)) > 0)
		;
	log_event(LOG_INFO, "proxy.still3", "heard again");
	out = capture_end(&c);
	CHECK_INT(lines(out), 1);
	CHECK(strstr(out, "heard again event=proxy.still3 lost=2\n") != NULL);
}

static const struct test_case cases[] = {
	TEST(a_text_line_has_time_program_level_sentence_and_fields),
	TEST(levels_and_debug_subsystems_select),
	TEST(level_names_parse),
	TEST(no_value_can_forge_a_line),
	TEST(a_json_line_is_json_whatever_the_bytes),
	TEST(a_long_line_is_cut_and_still_whole),
	TEST(a_flood_of_one_event_is_held_back_and_counted),
	TEST(the_journal_gets_a_level_prefix_and_no_time),
	TEST(a_reader_that_stands_still_holds_up_nobody),
	TEST(more_events_than_the_table_holds_still_get_out),
};
TESTS_MAIN("log", cases)
