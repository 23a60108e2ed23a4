/*
 * A test program in one table: names are sentences, the exit code is honest (CUnit's own runner
 * returns 0 even when a test fails, and says nothing when none ran).
 */
#pragma once

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdio.h>

struct test_case {
	const char *name;
	void (*run)(void);
};

#define TEST(function)              \
	{                           \
#function, function \
	}

static inline int tests_run(const char *suite_name, const struct test_case *cases, unsigned count)
{
	unsigned failed, ran;
	CU_pSuite suite;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 99;
	suite = CU_add_suite(suite_name, NULL, NULL);
	for (unsigned i = 0; suite && i < count; i++)
		if (!CU_add_test(suite, cases[i].name, cases[i].run))
			return 99;
	CU_basic_set_mode(CU_BRM_NORMAL);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	ran = CU_get_number_of_tests_run();
	CU_cleanup_registry();
	if (ran != count) {
		fprintf(stderr, "%s: %u of %u tests ran\n", suite_name, ran, count);
		return 99;
	}
	return failed ? 1 : 0;
}

#define TESTS_MAIN(suite_name, cases)                                                    \
	int main(void)                                                                   \
	{                                                                                \
		return tests_run(suite_name, cases, sizeof(cases) / sizeof((cases)[0])); \
	}

#define CHECK(cond) CU_ASSERT(cond)
#define CHECK_TRUE(cond) CU_ASSERT_FATAL(cond)
/* Integers that print when they differ. */
#define CHECK_INT(actual, expected)                                                            \
	do {                                                                                   \
		long long a_ = (long long)(actual), e_ = (long long)(expected);                \
		if (a_ != e_)                                                                  \
			fprintf(stderr, "\n%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, \
				#actual, a_, e_);                                              \
		CU_ASSERT(a_ == e_);                                                           \
	} while (0)
/* A span or buffer against a C string, shown when they differ. */
#define CHECK_TEXT(actual, expected)                                                             \
	do {                                                                                     \
		struct span s_ = (actual);                                                       \
		const char *t_ = (expected);                                                     \
		int same_ = span_eq(s_, span_of(t_));                                            \
		if (!same_)                                                                      \
			fprintf(stderr, "\n%s:%d: %s is '%.*s', not '%s'\n", __FILE__, __LINE__, \
				#actual, (int)s_.len, s_.ptr, t_);                               \
		CU_ASSERT(same_);                                                                \
	} while (0)
