/*
 * The proxy with every single allocation failing once, and with all from one on: while it starts,
 * and in every exchange that the fuzzer's corpus has. Out of memory fails the start, or one
 * connection; nothing crashes, leaks (the sanitizer build looks), or looks whole that is not, and
 * the worker goes on serving. The linker wraps the allocator.
 */
#include <dirent.h>
#include <stdlib.h>

#include "shared/assert.h"
#include "shared/log.h"
#include "tests/fuzz/exchange_oracle.h"
#include "tests/unit/check.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

#define SCRIPT_MAX 8192

static bool armed;
static bool lasting;	     /* and all after it */
static size_t made, fail_at; /* the fail_at-th allocation fails, of those made while armed */

static bool fails(void)
{
	if (!armed || fake_net.busy)
		return false;
	made++;
	return lasting ? made >= fail_at : made == fail_at;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

static void arm(size_t n)
{
	made = 0;
	fail_at = n;
	armed = true;
}

static struct outcome *outcome;

static void start_without(bool all_after)
{
	size_t n = 0, failed = 0;

	lasting = all_after;
	do {
		arm(++n);
		if (rig_open() < 0) {
			failed++;
			armed = false;
			continue;
		}
		armed = false;
		CHECK(rig_serves());
		rig_close();
	} while (made >= n);
	CHECK(failed > 100);
}

static void a_start_without_memory_fails_or_is_whole(void)
{
	start_without(false);
	start_without(true);
}

/* The script with its n-th allocation failing; false: it makes no more than that. */
static bool run(enum rig_listener which, struct span script, size_t n)
{
	CHECK_TRUE(rig_open() == 0);
	arm(n);
	rig_run(which, script, SIZE_MAX);
	armed = false;
	outcome_check(outcome, which);
	CHECK(rig_serves());
	rig_close();
	return made >= n;
}

static size_t read_script(const char *name, char *out)
{
	char path[4096];
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", FUZZ_CORPUS, name);
	f = fopen(path, "rb");
	CHECK_TRUE(f != NULL);
	len = fread(out, 1, SCRIPT_MAX, f);
	fclose(f);
	return len;
}

static void a_failed_allocation_costs_a_connection_and_no_more(void)
{
	DIR *corpus = opendir(FUZZ_CORPUS);
	struct dirent *entry;
	static char script[SCRIPT_MAX];
	size_t runs = 0;

	CHECK_TRUE(corpus != NULL);
	while ((entry = readdir(corpus))) {
		enum rig_listener which;
		size_t len, n;

		if (entry->d_name[0] == '.')
			continue;
		len = read_script(entry->d_name, script);
		if (len < 2)
			continue;
		which = script[0] == 't' ? LISTENER_TRUSTING : LISTENER_PLAIN;
		for (lasting = false;; lasting = true) {
			for (n = 1; run(which, span_make(script + 1, len - 1), n); n++)
				runs++;
			if (lasting)
				break;
		}
	}
	closedir(corpus);
	CHECK(runs > 200);
}

static const struct test_case cases[] = {
	TEST(a_start_without_memory_fails_or_is_whole),
	TEST(a_failed_allocation_costs_a_connection_and_no_more),
};

int main(void)
{
	int rc;

	outcome = outcome_new();
	rc = tests_run("exchange_memory", cases, countof(cases));
	outcome_free(outcome);
	return rc;
}
