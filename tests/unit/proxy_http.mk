# Unit tests of proxy/http/: they link the cores and nothing else.
PROXY_HTTP_TESTS = tests/unit/test_h1_parse tests/unit/test_h1_body tests/unit/test_h1_write tests/unit/test_h2_head tests/unit/test_fields \
	tests/unit/test_path tests/unit/test_scan tests/unit/test_stamp tests/unit/test_upgrade tests/unit/test_keep_alive
check_PROGRAMS += $(PROXY_HTTP_TESTS)
TESTS += $(PROXY_HTTP_TESTS)
PROXY_HTTP_LIBS = proxy/libproxy-core.a $(CORE_LIBS) $(UNIT_LIBS)

tests_unit_test_h1_parse_SOURCES = tests/unit/test_h1_parse.c
tests_unit_test_h1_parse_LDADD = $(PROXY_HTTP_LIBS)
tests_unit_test_h1_body_SOURCES = tests/unit/test_h1_body.c
tests_unit_test_h1_body_LDADD = $(PROXY_HTTP_LIBS)
tests_unit_test_h1_write_SOURCES = tests/unit/test_h1_write.c
tests_unit_test_h1_write_LDADD = $(PROXY_HTTP_LIBS)
tests_unit_test_h2_head_SOURCES = tests/unit/test_h2_head.c
tests_unit_test_h2_head_LDADD = $(PROXY_HTTP_LIBS)
tests_unit_test_fields_SOURCES = tests/unit/test_fields.c
tests_unit_test_fields_LDADD = $(PROXY_HTTP_LIBS)
tests_unit_test_path_SOURCES = tests/unit/test_path.c
tests_unit_test_path_LDADD = $(PROXY_HTTP_LIBS)
tests_unit_test_scan_SOURCES = tests/unit/test_scan.c
tests_unit_test_scan_LDADD = $(PROXY_HTTP_LIBS)
tests_unit_test_stamp_SOURCES = tests/unit/test_stamp.c
tests_unit_test_stamp_LDADD = $(PROXY_HTTP_LIBS)
tests_unit_test_upgrade_SOURCES = tests/unit/test_upgrade.c
tests_unit_test_upgrade_LDADD = $(PROXY_HTTP_LIBS)
tests_unit_test_keep_alive_SOURCES = tests/unit/test_keep_alive.c
tests_unit_test_keep_alive_LDADD = $(PROXY_HTTP_LIBS)
