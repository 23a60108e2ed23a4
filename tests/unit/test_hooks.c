/*
 * Hooks as real programs, on a real loop.
 */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failover/hooks.h"
#include "shared/assert.h"
#include "shared/units.h"
#include "tests/unit/check.h"

#define RESULTS_MAX 300

static struct {
	struct ev_loop *loop;
	struct hooks *hooks;
	struct hook_result results[RESULTS_MAX];
	unsigned count;
	char file[64]; /* what the hooks write */
} t;

static void on_result(void *ctx, const struct hook_result *result)
{
	(void)ctx;
	CHECK_TRUE(t.count < RESULTS_MAX);
	t.results[t.count++] = *result;
}

static void set_up(void)
{
	struct err err;
	int fd;

	memset(&t, 0, sizeof(t));
	snprintf(t.file, sizeof(t.file), "/tmp/tandem-hooks.XXXXXX");
	fd = mkstemp(t.file);
	CHECK_TRUE(fd >= 0);
	close(fd);
	t.loop = ev_loop_new(EVFLAG_AUTO);
	t.hooks = hooks_new(t.loop, NULL, on_result, &err);
	CHECK_TRUE(t.hooks != NULL);
}

static void tear_down(void)
{
	hooks_free(t.hooks);
	ev_loop_destroy(t.loop);
	CHECK(unlink(t.file) == 0);
}

static uint64_t run(unsigned lane, const char *script, uint64_t deadline_ms)
{
	struct hook_command c = {0};
	struct hook_vars v = {0};
	struct err err;

	CHECK_TRUE(hook_command_add(&c, SPAN("/bin/sh")) == 0);
	CHECK_TRUE(hook_command_add(&c, SPAN("-c")) == 0);
	CHECK_TRUE(hook_command_add(&c, span_of(script)) == 0);
	hook_vars_add(&v, "OUT", "%s", t.file);
	hook_vars_add(&v, "TANDEM_EPOCH", "%d", 7);
	return hooks_run(
		t.hooks, &(struct hook_call){lane, "test", &c, &v, deadline_ms * NS_PER_MS}, &err);
}

static bool wait_results(unsigned count)
{
	uint64_t end_ns = monotonic_ns() + 10 * NS_PER_S;

	while (t.count < count && monotonic_ns() < end_ns) {
		ev_run(t.loop, EVRUN_NOWAIT);
		usleep(500);
	}
	return t.count == count;
}

static struct span written(char *out, size_t size)
{
	FILE *f = fopen(t.file, "r");
	size_t len;

	CHECK_TRUE(f != NULL);
	len = fread(out, 1, size, f);
	fclose(f);
	return span_make(out, len);
}

static void a_hook_is_told_in_its_environment_and_its_exit_status_counts(void)
{
	char text[64];

	set_up();
	CHECK(run(1, "echo $TANDEM_EPOCH >>$OUT", 5000) > 0);
	CHECK(run(2, "exit 3", 5000) > 0);
	CHECK(run(3, "kill -9 $$", 5000) > 0);
	CHECK(!hooks_idle(t.hooks));
	CHECK(wait_results(3));
	CHECK(hooks_idle(t.hooks));
	CHECK_TEXT(written(text, sizeof(text)), "7\n");
	for (unsigned i = 0; i < 3; i++) {
		const struct hook_result *r = &t.results[i];

		CHECK(r->good == (r->id == 1));
		CHECK_TEXT(span_of(r->words), r->id == 1   ? "exit status 0"
					      : r->id == 2 ? "exit status 3"
							   : "killed by signal 9");
	}
	tear_down();
}

static void hooks_of_a_lane_run_one_after_the_other(void)
{
	char text[64];

	set_up();
	(void)run(1, "sleep 0.2; echo a >>$OUT", 5000);
	(void)run(1, "echo b >>$OUT", 5000);
	(void)run(1, "echo c >>$OUT", 5000);
	CHECK(wait_results(3));
	CHECK_TEXT(written(text, sizeof(text)), "a\nb\nc\n");
	for (unsigned i = 0; i < 3; i++)
		CHECK_INT(t.results[i].id, i + 1);
	tear_down();
}

static void lanes_do_not_wait_for_each_other(void)
{
	set_up();
	(void)run(1, "sleep 5", 400);
	(void)run(2, "true", 5000);
	CHECK(wait_results(1));
	CHECK_INT(t.results[0].id, 2);
	CHECK(wait_results(2));
	tear_down();
}

/* Gone, or dead and not yet waited for by whoever adopted it. */
static bool is_dead(const char *pid)
{
	char name[64], state = 'Z';
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%ld/stat", strtol(pid, NULL, 10));
	f = fopen(name, "r");
	if (f) {
		CHECK(fscanf(f, "%*d %*s %c", &state) == 1);
		fclose(f);
	}
	return state == 'Z' || state == 'X';
}

static void a_hook_past_its_deadline_is_stopped_with_its_children(void)
{
	char text[64];

	set_up();
	(void)run(1, "sleep 30 & echo $! >$OUT; wait", 200);
	CHECK(wait_results(1));
	CHECK(!t.results[0].good);
	CHECK_TEXT(span_of(t.results[0].words), "stopped: not done within 200 ms");
	(void)written(text, sizeof(text));
	usleep(50 * 1000);
	CHECK(is_dead(text)); /* the shell's child too */
	tear_down();
}

static void one_that_ignores_sigterm_is_killed(void)
{
	set_up();
	(void)run(1, "trap '' TERM; while :; do sleep 0.1; done", 100);
	CHECK(wait_results(1));
	CHECK(!t.results[0].good);
	CHECK(t.results[0].took_ns >= 600 * NS_PER_MS);
	tear_down();
}

static void a_program_that_is_not_there_has_failed(void)
{
	struct hook_command c = {0};
	struct hook_vars v = {0};
	struct err err;

	set_up();
	CHECK_TRUE(hook_command_add(&c, SPAN("/nonexistent/hook")) == 0);
	for (unsigned i = 0; i < 3; i++)
		CHECK(hooks_run(t.hooks, &(struct hook_call){1, "test", &c, &v, NS_PER_S}, &err) >
			0);
	CHECK(wait_results(3));
	CHECK(!t.results[0].good && strstr(t.results[0].words, "No such file"));
	tear_down();
}

static void too_many_waiting_are_refused(void)
{
	unsigned taken = 0;

	set_up();
	(void)run(1, "sleep 0.5", 5000);
	while (run(1, ":", 5000) > 0)
		taken++;
	CHECK_INT(taken, HOOKS_WAITING_MAX - 1);
	CHECK(wait_results(HOOKS_WAITING_MAX));
	CHECK(run(1, ":", 5000) > 0);
	CHECK(wait_results(HOOKS_WAITING_MAX + 1));
	tear_down();
}

static void what_does_not_fit_a_command_line_is_refused(void)
{
	static char large[HOOK_TEXT_MAX];
	struct hook_command c = {0};

	memset(large, 'x', sizeof(large));
	CHECK(hook_command_add(&c, span_make(large, sizeof(large))) < 0);
	CHECK(hook_command_add(&c, span_make("a\0b", 3)) < 0);
	for (unsigned i = 0; i < HOOK_ARGS_MAX; i++)
		CHECK(hook_command_add(&c, SPAN("x")) == 0);
	CHECK(hook_command_add(&c, SPAN("x")) < 0);
}

static void the_variables_have_room_for_32_virtual_ips(void)
{
	struct hook_vars v = {0};
	char vips[32 * 44] = "";
	size_t used;

	memset(vips, 'f', sizeof(vips) - 1);
	hook_vars_add(&v, "TANDEM_REASON", "%s", vips); /* as much again for all the rest */
	used = v.len;
	hook_vars_add(&v, "TANDEM_VIRTUAL_IPS", "%s", vips);
	CHECK_INT(v.count, 2);
	CHECK_INT(strlen(v.text + used), strlen("TANDEM_VIRTUAL_IPS=") + strlen(vips));
}

static void a_hook_inherits_no_file_of_ours(void)
{
	char script[128], text[64];
	int ends[2];

	set_up();
	CHECK_TRUE(pipe(ends) == 0); /* not marked to be closed */
	snprintf(script, sizeof(script),
		"for fd in %d %d; do [ -e /proc/self/fd/$fd ] && echo $fd >>$OUT; done; true",
		ends[0], ends[1]);
	CHECK(run(1, script, 5000) > 0);
	CHECK(wait_results(1));
	CHECK(t.results[0].good);
	CHECK_TEXT(written(text, sizeof(text)), "");
	close(ends[0]);
	close(ends[1]);
	tear_down();
}

static void the_end_waits_for_no_hook(void)
{
	uint64_t start_ns;

	set_up();
	(void)run(1, "sleep 2", 5000);
	(void)run(1, "echo never >>$OUT", 5000);
	usleep(100 * 1000);
	start_ns = monotonic_ns();
	hooks_free(t.hooks);
	CHECK(monotonic_ns() - start_ns < NS_PER_S);
	t.hooks = NULL;
	tear_down();
}

static const struct test_case cases[] = {
	TEST(a_hook_is_told_in_its_environment_and_its_exit_status_counts),
	TEST(hooks_of_a_lane_run_one_after_the_other),
	TEST(lanes_do_not_wait_for_each_other),
	TEST(a_hook_past_its_deadline_is_stopped_with_its_children),
	TEST(one_that_ignores_sigterm_is_killed),
	TEST(a_program_that_is_not_there_has_failed),
	TEST(too_many_waiting_are_refused),
	TEST(what_does_not_fit_a_command_line_is_refused),
	TEST(the_variables_have_room_for_32_virtual_ips),
	TEST(a_hook_inherits_no_file_of_ours),
	TEST(the_end_waits_for_no_hook),
};
TESTS_MAIN("hooks", cases)
