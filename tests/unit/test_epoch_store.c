/* Epochs on disk: what was stored is read back, and what cannot be stored or read is said. */
#include "failover/epoch_store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/span.h"
#include "tests/unit/check.h"

static struct ev_loop *loop;
static char dir[] = "/tmp/test_epoch_store.XXXXXX";
static unsigned results;
static struct epoch_result last;

static void on_result(void *ctx, const struct epoch_result *r)
{
	CHECK(ctx == &results);
	results++;
	last = *r;
}

static struct epoch_store *open_store(const char *where)
{
	struct err err;
	struct epoch_store *s = epoch_store_new(loop, where, &results, on_result, &err);

	CHECK_TRUE(s != NULL);
	results = 0;
	return s;
}

static void put(struct epoch_store *s, const char *group, uint64_t epoch)
{
	struct err err;

	CHECK_INT(epoch_store_put(s, group, epoch, &err), 0);
}

static void await_results(unsigned count)
{
	while (results < count)
		ev_run(loop, EVRUN_ONCE);
}

static void write_file(const char *group, const char *text)
{
	char file[256];
	FILE *f;

	(void)snprintf(file, sizeof(file), "%s/epoch-%s", dir, group);
	f = fopen(file, "w");
	CHECK_TRUE(f != NULL);
	(void)fputs(text, f);
	(void)fclose(f);
}

static void a_stored_epoch_is_read_back(void)
{
	struct epoch_store *s = open_store(dir);
	uint64_t epoch = 99;
	struct err err;

	CHECK_INT(epoch_store_get(s, "web", &epoch, &err), 0);
	CHECK_INT(epoch, 0);
	put(s, "web", 7);
	put(s, "web", 8);
	put(s, "other", UINT64_C(1) << 60);
	await_results(3);
	CHECK_INT(last.failed, 0);
	CHECK_TEXT(span_of(last.group), "other");
	CHECK(last.epoch == UINT64_C(1) << 60);
	CHECK_INT(epoch_store_get(s, "web", &epoch, &err), 0);
	CHECK_INT(epoch, 8);
	epoch_store_free(s);

	s = open_store(dir);
	CHECK_INT(epoch_store_get(s, "other", &epoch, &err), 0);
	CHECK(epoch == UINT64_C(1) << 60);
	epoch_store_free(s);
}

static void what_waits_is_still_written_at_the_end(void)
{
	struct epoch_store *s = open_store(dir);
	uint64_t epoch = 0;
	struct err err;

	for (uint64_t i = 1; i <= 20; i++)
		put(s, "end", i);
	epoch_store_free(s);
	s = open_store(dir);
	CHECK_INT(epoch_store_get(s, "end", &epoch, &err), 0);
	CHECK_INT(epoch, 20);
	epoch_store_free(s);
}

static void nonsense_is_refused(void)
{
	static const char *const texts[] = {"", "\n", "x\n", "-1\n", "7 8\n",
		"4611686018427387905\n", "99999999999999999999999999999999999\n"};
	struct epoch_store *s = open_store(dir);
	uint64_t epoch = 5;
	struct err err;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		write_file("odd", texts[i]);
		CHECK_INT(epoch_store_get(s, "odd", &epoch, &err), -1);
	}
	CHECK_INT(epoch, 5);
	write_file("odd", "12");
	CHECK_INT(epoch_store_get(s, "odd", &epoch, &err), 0);
	CHECK_INT(epoch, 12);
	epoch_store_free(s);
}

static void a_disk_that_takes_nothing_is_reported(void)
{
	struct epoch_store *s = open_store("/proc/self/nowhere");

	put(s, "web", 3);
	await_results(1);
	CHECK(last.failed != 0);
	CHECK_INT(last.epoch, 3);
	CHECK(strstr(last.err.text, "epoch-web") != NULL);
	epoch_store_free(s);
}

static void a_full_disk_leaves_the_old_epoch(void)
{
	char link_name[256];
	struct epoch_store *s = open_store(dir);
	uint64_t epoch = 0;
	struct err err;

	put(s, "full", 41);
	await_results(1);
	/* Writing to it gives ENOSPC, as a full disk does. */
	(void)snprintf(link_name, sizeof(link_name), "%s/epoch-full.new", dir);
	CHECK_INT(symlink("/dev/full", link_name), 0);
	put(s, "full", 42);
	await_results(2);
	CHECK(last.failed != 0);
	CHECK_INT(epoch_store_get(s, "full", &epoch, &err), 0);
	CHECK_INT(epoch, 41);
	CHECK(access(link_name, F_OK) != 0);
	epoch_store_free(s);
}

static const struct test_case cases[] = {
	TEST(a_stored_epoch_is_read_back),
	TEST(what_waits_is_still_written_at_the_end),
	TEST(nonsense_is_refused),
	TEST(a_disk_that_takes_nothing_is_reported),
	TEST(a_full_disk_leaves_the_old_epoch),
};

static void clean(void)
{
	static const char *const groups[] = {"web", "other", "end", "odd", "full"};
	char file[256];

	for (size_t i = 0; i < sizeof(groups) / sizeof(*groups); i++) {
		(void)snprintf(file, sizeof(file), "%s/epoch-%s", dir, groups[i]);
		(void)unlink(file);
	}
	(void)rmdir(dir);
}

int main(void)
{
	int rc;

	if (!mkdtemp(dir))
		return 99;
	loop = ev_default_loop(EVFLAG_NOENV);
	rc = tests_run("epoch_store", cases, sizeof(cases) / sizeof(*cases));
	clean();
	return rc;
}
