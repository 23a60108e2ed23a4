/*
 * The pool of pipes, and what it does while none can be opened.
 */
#include "proxy/net/splice.h"

#include <sys/resource.h>

#include "tests/unit/check.h"

static void pipes_are_kept_and_never_more_than_may_be(void)
{
	struct pipe_pool p = {.max = 2};
	struct pipe *a = pipe_get(&p), *b = pipe_get(&p);

	CHECK_TRUE(a && b);
	CHECK(pipe_get(&p) == NULL);
	pipe_put(&p, a);
	CHECK(pipe_get(&p) == a);
	b->held = 1; /* with something in it it cannot be used again */
	pipe_put(&p, b);
	CHECK_INT(atomic_load(&p.open), 1);
	CHECK_INT(atomic_load(&p.refused_total), 1);
	pipe_put(&p, a);
	pipe_pool_fini(&p);
}

static void after_one_that_could_not_be_opened_none_is_tried_for_a_while(void)
{
	struct pipe_pool p = {.max = 2};
	struct rlimit before, none;
	struct pipe *pipe;

	CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), 0);
	CHECK(pipe_get(&p) == NULL);
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (unsigned i = 0; i < PIPES_SKIP; i++)
		CHECK(pipe_get(&p) == NULL);
	pipe = pipe_get(&p);
	CHECK_TRUE(pipe != NULL);
	CHECK_INT(atomic_load(&p.refused_total), PIPES_SKIP + 1);
	pipe_put(&p, pipe);
	pipe_pool_fini(&p);
}

static const struct test_case cases[] = {
	TEST(pipes_are_kept_and_never_more_than_may_be),
	TEST(after_one_that_could_not_be_opened_none_is_tried_for_a_while),
};

TESTS_MAIN("pipes", cases)
