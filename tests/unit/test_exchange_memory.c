/*
 * The proxy with every single allocation failing once, and with all from one on: while it starts,
 * and in every exchange that the fuzzer's corpus has. Out of memory fails the start, or one
 * connection; nothing crashes, leaks (the sanitizer build looks), or looks whole that is not, and
 * the worker goes on serving.
 */
#include "tests/fuzz/corpus.h"
#include "tests/fuzz/exchange_oracle.h"
#include "tests/unit/check.h"
#include "tests/unit/scarce.h"

static struct outcome *outcome;

static void start_without(bool all_after)
{
	size_t n = 0, made, failed = 0;
	int rc;

	do {
		scarce_begin(++n, all_after);
		rc = rig_open();
		made = scarce_end();
		if (rc < 0) {
			failed++;
			continue;
		}
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

/* The script with its nth allocation failing; false: it makes no more than that. */
static bool run(enum rig_listener which, struct span script, size_t nth, bool lasting)
{
	size_t made;

	CHECK_TRUE(rig_open() == 0);
	scarce_begin(nth, lasting);
	rig_run(which, script, SIZE_MAX);
	made = scarce_end();
	outcome_check(outcome, which);
	CHECK(rig_serves());
	rig_close();
	return made >= nth;
}

static size_t runs;

static void run_all(const uint8_t *data, size_t size)
{
	const struct span script = span_make(data + 1, size - 1);
	enum rig_listener which = data[0] == 't' ? LISTENER_TRUSTING : LISTENER_PLAIN;

	for (int lasting = 0; lasting < 2; lasting++)
		for (size_t n = 1; run(which, script, n, lasting); n++)
			runs++;
}

static void a_failed_allocation_costs_a_connection_and_no_more(void)
{
	CHECK(corpus_each(FUZZ_CORPUS, run_all) > 0);
	CHECK(runs > 200);
}

static const struct test_case cases[] = {
	TEST(a_start_without_memory_fails_or_is_whole),
	TEST(a_failed_allocation_costs_a_connection_and_no_more),
};

int main(void)
{
	int rc;

	scarce_exempt(&fake_net.busy);
	outcome = outcome_new();
	rc = tests_run("exchange_memory", cases, countof(cases));
	outcome_free(outcome);
	return rc;
}
