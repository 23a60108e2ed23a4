# Tests of the proxy's net/, observe/ and the decisions of exchange/.
PROXY_UNIT_TESTS = tests/unit/test_wheel tests/unit/test_retry tests/unit/test_excerpt \
	tests/unit/test_worker tests/unit/test_tally tests/unit/test_pipes tests/unit/test_tls tests/unit/test_certs tests/unit/test_counts tests/unit/test_proxy_protocol tests/unit/test_client_hello
check_PROGRAMS += $(PROXY_UNIT_TESTS)
TESTS += $(PROXY_UNIT_TESTS)
tests_unit_test_wheel_SOURCES = tests/unit/test_wheel.c
tests_unit_test_wheel_LDADD = proxy/libproxy-core.a $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_retry_SOURCES = tests/unit/test_retry.c
tests_unit_test_retry_LDADD = proxy/libproxy-core.a $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_excerpt_SOURCES = tests/unit/test_excerpt.c
tests_unit_test_excerpt_LDADD = proxy/libproxy-core.a $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_counts_SOURCES = tests/unit/test_counts.c
tests_unit_test_counts_LDADD = proxy/libproxy.a $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_tally_SOURCES = tests/unit/test_tally.c
tests_unit_test_tally_LDADD = proxy/libproxy.a $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_proxy_protocol_SOURCES = tests/unit/test_proxy_protocol.c
tests_unit_test_proxy_protocol_LDADD = proxy/libproxy-core.a $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_client_hello_SOURCES = tests/unit/test_client_hello.c
tests_unit_test_client_hello_LDADD = proxy/libproxy-core.a $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_pipes_SOURCES = tests/unit/test_pipes.c
tests_unit_test_pipes_LDADD = proxy/libproxy.a $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_certs_SOURCES = tests/unit/test_certs.c
tests_unit_test_certs_CFLAGS = $(AM_CFLAGS) $(PROXY_CFLAGS)
tests_unit_test_certs_LDADD = $(PROXY_LIBS) $(UNIT_LIBS)
tests_unit_test_worker_SOURCES = tests/unit/test_worker.c
tests_unit_test_worker_CFLAGS = $(AM_CFLAGS) $(PROXY_CFLAGS)
tests_unit_test_worker_LDADD = $(PROXY_LIBS) $(UNIT_LIBS)
tests_unit_test_tls_SOURCES = tests/unit/test_tls.c $(SCARCE_SOURCES)
tests_unit_test_tls_CFLAGS = $(AM_CFLAGS) $(PROXY_CFLAGS)
tests_unit_test_tls_LDFLAGS = $(AM_LDFLAGS) $(SCARCE_WRAPS)
tests_unit_test_tls_LDADD = $(PROXY_LIBS) $(UNIT_LIBS)

# Every allocation fails once, on the fuzzer's rig.
check_PROGRAMS += tests/unit/test_exchange_memory
TESTS += tests/unit/test_exchange_memory
tests_unit_test_exchange_memory_SOURCES = tests/unit/test_exchange_memory.c $(RIG_SOURCES) $(SCARCE_SOURCES) $(CORPUS_SOURCES)
tests_unit_test_exchange_memory_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/tests/fuzz/corpus/exchange"'
tests_unit_test_exchange_memory_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_exchange_memory_LDFLAGS = $(AM_LDFLAGS) $(FAKE_NET_WRAPS) $(SCARCE_WRAPS)
tests_unit_test_exchange_memory_LDADD = $(PROXY_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_h2_memory
TESTS += tests/unit/test_h2_memory
tests_unit_test_h2_memory_SOURCES = tests/unit/test_h2_memory.c $(H2_RIG_SOURCES) $(SCARCE_SOURCES) $(CORPUS_SOURCES)
tests_unit_test_h2_memory_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/tests/fuzz/corpus/h2"'
tests_unit_test_h2_memory_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_h2_memory_LDFLAGS = $(AM_LDFLAGS) $(FAKE_NET_WRAPS) $(SCARCE_WRAPS) \
	-Wl,--wrap=nghttp2_session_server_new2,--wrap=nghttp2_session_client_new2 \
	-Wl,--wrap=nghttp2_option_new,--wrap=nghttp2_session_callbacks_new
tests_unit_test_h2_memory_LDADD = $(PROXY_LIBS) $(UNIT_LIBS)
