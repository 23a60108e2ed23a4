# Unit tests of tests/bench/: a benchmark that counts wrongly is worse than none.
check_PROGRAMS += tests/unit/test_histogram
TESTS += tests/unit/test_histogram
tests_unit_test_histogram_SOURCES = tests/unit/test_histogram.c tests/bench/histogram.c
tests_unit_test_histogram_LDADD = $(CORE_LIBS) $(UNIT_LIBS)
