# Tests of proxy/discover.
PROXY_DISCOVER_TESTS = tests/unit/test_dns_answer tests/unit/test_scaling
check_PROGRAMS += $(PROXY_DISCOVER_TESTS)
TESTS += $(PROXY_DISCOVER_TESTS)
tests_unit_test_dns_answer_SOURCES = tests/unit/test_dns_answer.c
tests_unit_test_dns_answer_LDADD = proxy/libproxy-core.a $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_scaling_SOURCES = tests/unit/test_scaling.c
tests_unit_test_scaling_LDADD = proxy/libproxy-core.a $(CORE_LIBS) $(UNIT_LIBS)
