/*
 * A small file that holds the latest of something: whole or as before, and who waits is told.
 */
#include "shared/state_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/units.h"
#include "tests/unit/check.h"

static char dir[64];
static struct ev_loop *loop;
static struct state_file *file;
static struct err err, last_failure;
static uint64_t last_number;
static unsigned failures;

static void on_written(void *ctx, uint64_t number, const struct err *failed)
{
	(void)ctx;
	last_number = number;
	if (failed) {
		last_failure = *failed;
		failures++;
	}
	ev_break(loop, EVBREAK_ONE);
}

static void begin(void)
{
	snprintf(dir, sizeof(dir), "/tmp/state-XXXXXX");
	CHECK_TRUE(mkdtemp(dir) != NULL);
	loop = ev_loop_new(0);
	failures = 0;
	last_number = 0;
	file = state_file_new(loop, dir, "thing", NULL, on_written, &err);
	CHECK_TRUE(file != NULL);
}

static const char *path(const char *name)
{
	static char out[128];

	snprintf(out, sizeof(out), "%s/%s", dir, name);
	return out;
}

static void end(void)
{
	state_file_free(file);
	ev_loop_destroy(loop);
	(void)unlink(path("thing"));
	(void)unlink(path("thing.bad"));
	CHECK_INT(rmdir(dir), 0); /* and no temporary file is left */
}

static uint64_t put(const char *text)
{
	return state_file_put(file, span_dup(span_of(text)), strlen(text));
}

static void wait_for(uint64_t number)
{
	while (last_number < number)
		ev_run(loop, 0);
}

#define CHECK_HOLDS(expected)                                                      \
	do {                                                                       \
		char *text_;                                                       \
		size_t len_;                                                       \
		CHECK_INT(state_file_read(dir, "thing", &text_, &len_, &err), 0);  \
		CHECK_TRUE(text_ != NULL);                                         \
		CHECK(len_ == strlen(expected) && strcmp(text_, (expected)) == 0); \
		free(text_);                                                       \
	} while (0)

static void what_was_put_last_is_what_is_read(void)
{
	char *text = dir;
	uint64_t last = 0;
	char words[16];
	size_t len;

	begin();
	CHECK_INT(state_file_read(dir, "thing", &text, &len, &err), 0);
	CHECK(text == NULL && len == 0);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(words, sizeof(words), "number %u", i);
		last = put(words);
	}
	CHECK_INT(last, 100);
	wait_for(last);
	CHECK_HOLDS("number 99");
	CHECK_INT(failures, 0);
	end();
}

static void what_waits_is_written_before_the_end(void)
{
	begin();
	put("first");
	put("last words");
	state_file_free(file);
	CHECK_HOLDS("last words");
	file = state_file_new(loop, dir, "thing", NULL, on_written, &err);
	CHECK_TRUE(file != NULL);
	end();
}

static void a_disk_that_takes_nothing_leaves_the_old_content_and_is_told(void)
{
	uint64_t n;

	begin();
	wait_for(put("good"));
	CHECK_INT(mkdir(path("thing.new"), 0700), 0);
	n = put("lost");
	wait_for(n);
	CHECK_INT(failures, 1);
	CHECK(strstr(last_failure.text, "thing.new") != NULL);
	CHECK_HOLDS("good");
	CHECK_INT(rmdir(path("thing.new")), 0);
	n = put("better");
	wait_for(n);
	CHECK_INT(failures, 1);
	CHECK_HOLDS("better");
	end();
}

static void a_file_set_aside_is_kept_under_another_name(void)
{
	char *text;
	size_t len;

	begin();
	wait_for(put("nonsense"));
	CHECK_INT(state_file_set_aside(dir, "thing", &err), 0);
	CHECK_INT(state_file_read(dir, "thing", &text, &len, &err), 0);
	CHECK(text == NULL);
	CHECK_INT(access(path("thing.bad"), R_OK), 0);
	CHECK_INT(mkdir(path("thing"), 0700), 0);
	CHECK_INT(state_file_read(dir, "thing", &text, &len, &err), -1); /* a directory */
	CHECK_INT(rmdir(path("thing")), 0);
	end();
}

static const struct test_case cases[] = {
	TEST(what_was_put_last_is_what_is_read),
	TEST(what_waits_is_written_before_the_end),
	TEST(a_disk_that_takes_nothing_leaves_the_old_content_and_is_told),
	TEST(a_file_set_aside_is_kept_under_another_name),
};

TESTS_MAIN("state_file", cases)
