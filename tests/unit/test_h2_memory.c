/*
 * HTTP/2 to clients and servers with every single allocation failing once, and with all from one
 * on, nghttp2's among them, in each exchange that the fuzzer's corpus has. Out of memory costs a
 * connection or a stream; nothing crashes, leaks (the sanitizer build looks), spins, or looks whole
 * that is not, and the worker goes on serving.
 */
#include <nghttp2/nghttp2.h>
#include <stdlib.h>

#include "tests/fuzz/corpus.h"
#include "tests/fuzz/h2_oracle.h"
#include "tests/unit/check.h"
#include "tests/unit/scarce.h"

/* --- nghttp2, with the allocator of this program
 * ------------------------------------------------------------------------------ */

static void *its_malloc(size_t size, void *ctx)
{
	(void)ctx;
	return malloc(size);
}

static void its_free(void *ptr, void *ctx)
{
	(void)ctx;
	free(ptr);
}

static void *its_calloc(size_t count, size_t size, void *ctx)
{
	(void)ctx;
	return calloc(count, size);
}

/* Never fails: with that, nghttp2 1.52 frees a stream's item twice where its queue does not grow
 * (session_attach_stream_item). */
static void *its_realloc(void *old, size_t size, void *ctx)
{
	bool *own = ctx;
	void *out;

	*own = true;
	out = realloc(old, size);
	*own = false;
	return out;
}

static nghttp2_mem ours = {&fake_net.busy, its_malloc, its_free, its_calloc, its_realloc};

int __wrap_nghttp2_session_server_new2(nghttp2_session **ret_session,
	const nghttp2_session_callbacks *callbacks, void *ctx, const nghttp2_option *option);
int __wrap_nghttp2_session_client_new2(nghttp2_session **ret_session,
	const nghttp2_session_callbacks *callbacks, void *ctx, const nghttp2_option *option);
int __real_nghttp2_option_new(nghttp2_option **ret_option);
int __wrap_nghttp2_option_new(nghttp2_option **ret_option);
int __real_nghttp2_session_callbacks_new(nghttp2_session_callbacks **ret_callbacks);
int __wrap_nghttp2_session_callbacks_new(nghttp2_session_callbacks **ret_callbacks);

int __wrap_nghttp2_session_server_new2(nghttp2_session **ret_session,
	const nghttp2_session_callbacks *callbacks, void *ctx, const nghttp2_option *option)
{
	return nghttp2_session_server_new3(ret_session, callbacks, ctx, option, &ours);
}

int __wrap_nghttp2_session_client_new2(nghttp2_session **ret_session,
	const nghttp2_session_callbacks *callbacks, void *ctx, const nghttp2_option *option)
{
	return nghttp2_session_client_new3(ret_session, callbacks, ctx, option, &ours);
}

int __wrap_nghttp2_option_new(nghttp2_option **ret_option)
{
	return scarce_fails() ? NGHTTP2_ERR_NOMEM : __real_nghttp2_option_new(ret_option);
}

int __wrap_nghttp2_session_callbacks_new(nghttp2_session_callbacks **ret_callbacks)
{
	return scarce_fails() ? NGHTTP2_ERR_NOMEM
			      : __real_nghttp2_session_callbacks_new(ret_callbacks);
}

/* --- the tests
 * ------------------------------------------------------------------------------ */

static struct outcome *outcome;
static bool lasting;
static unsigned bare; /* answers without trailers, where nothing fails */

/* The script with its nth allocation failing; false: it makes no more than that. */
static bool run(struct span script, size_t nth)
{
	size_t made;

	CHECK_TRUE(rig_open() == 0);
	scarce_begin(nth, lasting);
	rig_run_h2(script, SIZE_MAX);
	made = scarce_end();
	CHECK(h2_oracle_check(outcome) <= bare);
	CHECK(rig_serves_h2());
	rig_close();
	return made >= nth;
}

static size_t runs;

static void run_all(const uint8_t *data, size_t size)
{
	CHECK_TRUE(rig_open() == 0);
	rig_run_h2(span_make(data, size), SIZE_MAX);
	bare = h2_oracle_check(outcome);
	rig_close();
	for (size_t n = 1; run(span_make(data, size), n); n++)
		runs++;
}

static void a_failed_allocation_costs_a_connection_and_no_more(void)
{
	CHECK(corpus_each(FUZZ_CORPUS, run_all) > 0);
	CHECK(runs > 1000);
}

static void all_that_fail_from_one_on_cost_connections_and_no_more(void)
{
	lasting = true;
	runs = 0;
	CHECK(corpus_each(FUZZ_CORPUS, run_all) > 0);
	CHECK(runs > 800);
}

static const struct test_case cases[] = {
	TEST(a_failed_allocation_costs_a_connection_and_no_more),
	TEST(all_that_fail_from_one_on_cost_connections_and_no_more),
};

int main(void)
{
	int rc;

	scarce_exempt(&fake_net.busy);
	outcome = outcome_new();
	rc = tests_run("h2_memory", cases, countof(cases));
	outcome_free(outcome);
	return rc;
}
