# Unit tests of proxy/settings and proxy/pool: those of the core link nothing but the core.
PROXY_POOL_CORE_TESTS = tests/unit/test_routes tests/unit/test_health tests/unit/test_balance \
	tests/unit/test_spread tests/unit/test_agent_word tests/unit/test_network_table
PROXY_POOL_TESTS = tests/unit/test_pool tests/unit/test_queue tests/unit/test_proxy_settings tests/unit/test_routing_tables tests/unit/test_checks \
	tests/unit/test_sticky \
	tests/unit/test_membership tests/unit/test_overrides
check_PROGRAMS += $(PROXY_POOL_CORE_TESTS) $(PROXY_POOL_TESTS)
TESTS += $(PROXY_POOL_CORE_TESTS) $(PROXY_POOL_TESTS)

tests_unit_test_routes_SOURCES = tests/unit/test_routes.c
tests_unit_test_routes_LDADD = proxy/libproxy-core.a $(PCRE_LIBS) $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_health_SOURCES = tests/unit/test_health.c
tests_unit_test_health_LDADD = proxy/libproxy-core.a $(PCRE_LIBS) $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_balance_SOURCES = tests/unit/test_balance.c
tests_unit_test_balance_LDADD = proxy/libproxy-core.a $(PCRE_LIBS) $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_spread_SOURCES = tests/unit/test_spread.c
tests_unit_test_spread_LDADD = proxy/libproxy-core.a $(PCRE_LIBS) $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_pool_SOURCES = tests/unit/test_pool.c
tests_unit_test_pool_LDADD = $(PROXY_LIBS) $(UNIT_LIBS)
tests_unit_test_queue_SOURCES = tests/unit/test_queue.c
tests_unit_test_queue_LDADD = $(PROXY_LIBS) $(UNIT_LIBS)
tests_unit_test_proxy_settings_SOURCES = tests/unit/test_proxy_settings.c
tests_unit_test_proxy_settings_LDADD = $(PROXY_LIBS) $(UNIT_LIBS)
tests_unit_test_checks_SOURCES = tests/unit/test_checks.c
tests_unit_test_checks_LDADD = $(PROXY_LIBS) $(UNIT_LIBS)
tests_unit_test_sticky_SOURCES = tests/unit/test_sticky.c
tests_unit_test_sticky_LDADD = $(PROXY_LIBS) $(UNIT_LIBS)
tests_unit_test_membership_SOURCES = tests/unit/test_membership.c
tests_unit_test_membership_LDADD = $(PROXY_LIBS) $(UNIT_LIBS)
tests_unit_test_overrides_SOURCES = tests/unit/test_overrides.c
tests_unit_test_overrides_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_overrides_LDADD = $(PROXY_LIBS) $(UNIT_LIBS)
tests_unit_test_agent_word_SOURCES = tests/unit/test_agent_word.c
tests_unit_test_agent_word_LDADD = proxy/libproxy-core.a $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_network_table_SOURCES = tests/unit/test_network_table.c
tests_unit_test_network_table_LDADD = proxy/libproxy-core.a $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_routing_tables_SOURCES = tests/unit/test_routing_tables.c
tests_unit_test_routing_tables_LDADD = $(PROXY_LIBS) $(UNIT_LIBS)
