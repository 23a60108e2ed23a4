# Unit tests of shared/'s shell: log, digests, JSON-RPC, daemon start; and of the proxy's link, which stands on it.
SHARED_SHELL_TESTS = tests/unit/test_log tests/unit/test_digest tests/unit/test_rpc tests/unit/test_rpc_client \
	tests/unit/test_rpc_link tests/unit/test_daemon tests/unit/test_failover_link \
	tests/unit/test_state_file
check_PROGRAMS += $(SHARED_SHELL_TESTS)
TESTS += $(SHARED_SHELL_TESTS)
EXTRA_DIST += tests/unit/rpc_bench.h

tests_unit_test_log_SOURCES = tests/unit/test_log.c
tests_unit_test_log_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_log_LDADD = $(SHELL_LIBS) $(UNIT_LIBS)
tests_unit_test_digest_SOURCES = tests/unit/test_digest.c
tests_unit_test_digest_LDADD = $(SHELL_LIBS) $(UNIT_LIBS)
tests_unit_test_rpc_SOURCES = tests/unit/test_rpc.c
tests_unit_test_rpc_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_rpc_LDADD = $(SHELL_LIBS) $(UNIT_LIBS)
tests_unit_test_rpc_client_SOURCES = tests/unit/test_rpc_client.c
tests_unit_test_rpc_client_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_rpc_client_LDADD = $(SHELL_LIBS) $(UNIT_LIBS)
tests_unit_test_rpc_link_SOURCES = tests/unit/test_rpc_link.c
tests_unit_test_rpc_link_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_rpc_link_LDADD = $(SHELL_LIBS) $(UNIT_LIBS)
tests_unit_test_daemon_SOURCES = tests/unit/test_daemon.c
tests_unit_test_daemon_LDADD = $(SHELL_LIBS) $(UNIT_LIBS)
tests_unit_test_failover_link_SOURCES = tests/unit/test_failover_link.c
tests_unit_test_failover_link_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_failover_link_LDADD = $(PROXY_LIBS) $(UNIT_LIBS)
tests_unit_test_state_file_SOURCES = tests/unit/test_state_file.c
tests_unit_test_state_file_LDADD = $(SHELL_LIBS) $(UNIT_LIBS)
