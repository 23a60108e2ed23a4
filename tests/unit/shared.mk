# Unit tests of shared/: the core's link nothing but the core.
SHARED_CORE_TESTS = tests/unit/test_span tests/unit/test_buf tests/unit/test_addr tests/unit/test_map \
	tests/unit/test_units tests/unit/test_rng
check_PROGRAMS += $(SHARED_CORE_TESTS)
TESTS += $(SHARED_CORE_TESTS)

tests_unit_test_span_SOURCES = tests/unit/test_span.c
tests_unit_test_span_LDADD = $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_buf_SOURCES = tests/unit/test_buf.c
tests_unit_test_buf_LDADD = $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_addr_SOURCES = tests/unit/test_addr.c
tests_unit_test_addr_LDADD = $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_map_SOURCES = tests/unit/test_map.c
tests_unit_test_map_LDADD = $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_units_SOURCES = tests/unit/test_units.c
tests_unit_test_units_LDADD = $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_rng_SOURCES = tests/unit/test_rng.c
tests_unit_test_rng_LDADD = $(CORE_LIBS) $(UNIT_LIBS)

# The configuration: the report is core, what reads YAML is shell.
SHARED_CONF_TESTS = tests/unit/test_conf_report tests/unit/test_conf tests/unit/test_conf_rules \
	tests/unit/test_yaml tests/unit/test_conf_load tests/unit/test_conf_memory
check_PROGRAMS += $(SHARED_CONF_TESTS)
TESTS += $(SHARED_CONF_TESTS)
EXTRA_DIST += tests/unit/conf_text.h
tests_unit_test_conf_report_SOURCES = tests/unit/test_conf_report.c
tests_unit_test_conf_report_LDADD = $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_conf_SOURCES = tests/unit/test_conf.c
tests_unit_test_conf_LDADD = $(SHELL_LIBS) $(UNIT_LIBS)
tests_unit_test_conf_rules_SOURCES = tests/unit/test_conf_rules.c
tests_unit_test_conf_rules_LDADD = $(SHELL_LIBS) $(UNIT_LIBS)
tests_unit_test_yaml_SOURCES = tests/unit/test_yaml.c
tests_unit_test_yaml_LDADD = $(SHELL_LIBS) $(UNIT_LIBS)
tests_unit_test_conf_load_SOURCES = tests/unit/test_conf_load.c
tests_unit_test_conf_load_LDADD = $(SHELL_LIBS) $(UNIT_LIBS)
# Allocations that fail on demand (tests/unit/scarce.h).
SCARCE_WRAPS = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc
SCARCE_SOURCES = tests/unit/scarce.c tests/unit/scarce.h
tests_unit_test_conf_memory_SOURCES = tests/unit/test_conf_memory.c $(SCARCE_SOURCES)
tests_unit_test_conf_memory_LDADD = $(SHELL_LIBS) $(UNIT_LIBS)
tests_unit_test_conf_memory_LDFLAGS = $(AM_LDFLAGS) $(SCARCE_WRAPS)
