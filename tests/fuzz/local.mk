# Fuzz targets. Each is one file, fuzz_NAME.c, linked twice: as replay_NAME, which runs the committed corpus in
# `make check` with any compiler, and as fuzz_NAME for libFuzzer (configure --enable-fuzz CC=clang; `make fuzz`).
# A new target NAME: its name in FUZZ_TARGETS, replay_NAME in FUZZ_REPLAY, fuzz_NAME below FUZZ, and its six lines.
FUZZ_TARGETS = h1_head h1_body path conf packet exchange vrrp proxy_header client_hello h2
FUZZ_REPLAY = tests/fuzz/replay_h1_head tests/fuzz/replay_h1_body tests/fuzz/replay_path tests/fuzz/replay_conf \
	tests/fuzz/replay_packet tests/fuzz/replay_exchange tests/fuzz/replay_h2 tests/fuzz/replay_vrrp tests/fuzz/replay_proxy_header \
	tests/fuzz/replay_client_hello
FUZZ_SECONDS = 60
# 0: another way each time. With a number what a run finds is the change's doing, and not that of chance.
FUZZ_SEED = 0
EXTRA_DIST += tests/fuzz/corpus tests/fuzz/h1_head.dict tests/fuzz/exchange.dict
check_PROGRAMS += $(FUZZ_REPLAY)
TESTS += $(FUZZ_REPLAY)
FUZZ_HTTP_LIBS = proxy/libproxy-core.a $(CORE_LIBS)
# A worker in-process, on a network out of memory (fake_net.h).
FAKE_NET_WRAPS = -Wl,--wrap=close,--wrap=socket,--wrap=connect,--wrap=accept4,--wrap=syscall \
	-Wl,--wrap=shutdown,--wrap=getsockopt,--wrap=setsockopt,--wrap=realtime_ns,--wrap=pipe2,--wrap=fcntl
RIG_SOURCES = tests/fuzz/exchange_oracle.c tests/fuzz/exchange_oracle.h tests/fuzz/exchange_rig.c tests/fuzz/exchange_rig.h tests/fuzz/fake_net.c tests/fuzz/fake_net.h
H2_RIG_SOURCES = $(RIG_SOURCES) tests/fuzz/h2_oracle.c tests/fuzz/h2_oracle.h

CORPUS_SOURCES = tests/fuzz/corpus.c tests/fuzz/corpus.h
REPLAY_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz.h $(CORPUS_SOURCES)
tests_fuzz_replay_h1_head_SOURCES = $(REPLAY_SOURCES) tests/fuzz/fuzz_h1_head.c
tests_fuzz_replay_h1_head_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/tests/fuzz/corpus/h1_head"'
tests_fuzz_replay_h1_head_LDADD = $(FUZZ_HTTP_LIBS)
tests_fuzz_replay_h1_body_SOURCES = $(REPLAY_SOURCES) tests/fuzz/fuzz_h1_body.c
tests_fuzz_replay_h1_body_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/tests/fuzz/corpus/h1_body"'
tests_fuzz_replay_h1_body_LDADD = $(FUZZ_HTTP_LIBS)
tests_fuzz_replay_path_SOURCES = $(REPLAY_SOURCES) tests/fuzz/fuzz_path.c
tests_fuzz_replay_path_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/tests/fuzz/corpus/path"'
tests_fuzz_replay_path_LDADD = $(FUZZ_HTTP_LIBS)
tests_fuzz_replay_conf_SOURCES = $(REPLAY_SOURCES) tests/fuzz/fuzz_conf.c
tests_fuzz_replay_conf_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/tests/fuzz/corpus/conf"'
tests_fuzz_replay_conf_LDADD = $(SHELL_LIBS)
tests_fuzz_replay_packet_SOURCES = $(REPLAY_SOURCES) tests/fuzz/fuzz_packet.c
tests_fuzz_replay_packet_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/tests/fuzz/corpus/packet"'
tests_fuzz_replay_packet_LDADD = $(FAILOVER_CORE_LIBS)
tests_fuzz_replay_h2_SOURCES = $(REPLAY_SOURCES) tests/fuzz/fuzz_h2.c $(H2_RIG_SOURCES)
tests_fuzz_replay_h2_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/tests/fuzz/corpus/h2"'
tests_fuzz_replay_h2_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_replay_h2_LDFLAGS = $(AM_LDFLAGS) $(FAKE_NET_WRAPS)
tests_fuzz_replay_h2_LDADD = $(PROXY_LIBS)
tests_fuzz_replay_exchange_SOURCES = $(REPLAY_SOURCES) tests/fuzz/fuzz_exchange.c $(RIG_SOURCES)
tests_fuzz_replay_exchange_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/tests/fuzz/corpus/exchange"'
tests_fuzz_replay_exchange_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_replay_exchange_LDFLAGS = $(AM_LDFLAGS) $(FAKE_NET_WRAPS)
tests_fuzz_replay_exchange_LDADD = $(PROXY_LIBS)
tests_fuzz_replay_vrrp_SOURCES = $(REPLAY_SOURCES) tests/fuzz/fuzz_vrrp.c
tests_fuzz_replay_vrrp_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/tests/fuzz/corpus/vrrp"'
tests_fuzz_replay_vrrp_LDADD = $(FAILOVER_CORE_LIBS)
tests_fuzz_replay_proxy_header_SOURCES = $(REPLAY_SOURCES) tests/fuzz/fuzz_proxy_header.c
tests_fuzz_replay_proxy_header_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/tests/fuzz/corpus/proxy_header"'
tests_fuzz_replay_proxy_header_LDADD = $(FUZZ_HTTP_LIBS)
tests_fuzz_replay_client_hello_SOURCES = $(REPLAY_SOURCES) tests/fuzz/fuzz_client_hello.c
tests_fuzz_replay_client_hello_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/tests/fuzz/corpus/client_hello"'
tests_fuzz_replay_client_hello_LDADD = $(FUZZ_HTTP_LIBS)

if FUZZ
FUZZ_BINARIES = tests/fuzz/fuzz_h1_head tests/fuzz/fuzz_h1_body tests/fuzz/fuzz_path tests/fuzz/fuzz_conf \
	tests/fuzz/fuzz_packet tests/fuzz/fuzz_exchange tests/fuzz/fuzz_h2 tests/fuzz/fuzz_vrrp tests/fuzz/fuzz_proxy_header \
	tests/fuzz/fuzz_client_hello
EXTRA_PROGRAMS = $(FUZZ_BINARIES)
CLEANFILES += $(FUZZ_BINARIES)
tests_fuzz_fuzz_h1_head_SOURCES = tests/fuzz/fuzz_h1_head.c tests/fuzz/fuzz.h
tests_fuzz_fuzz_h1_head_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
tests_fuzz_fuzz_h1_head_LDADD = $(FUZZ_HTTP_LIBS)
tests_fuzz_fuzz_h1_body_SOURCES = tests/fuzz/fuzz_h1_body.c tests/fuzz/fuzz.h
tests_fuzz_fuzz_h1_body_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
tests_fuzz_fuzz_h1_body_LDADD = $(FUZZ_HTTP_LIBS)
tests_fuzz_fuzz_path_SOURCES = tests/fuzz/fuzz_path.c tests/fuzz/fuzz.h
tests_fuzz_fuzz_path_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
tests_fuzz_fuzz_path_LDADD = $(FUZZ_HTTP_LIBS)
tests_fuzz_fuzz_conf_SOURCES = tests/fuzz/fuzz_conf.c tests/fuzz/fuzz.h
tests_fuzz_fuzz_conf_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
tests_fuzz_fuzz_conf_LDADD = $(SHELL_LIBS)
tests_fuzz_fuzz_packet_SOURCES = tests/fuzz/fuzz_packet.c tests/fuzz/fuzz.h
tests_fuzz_fuzz_packet_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
tests_fuzz_fuzz_packet_LDADD = $(FAILOVER_CORE_LIBS)
tests_fuzz_fuzz_h2_SOURCES = tests/fuzz/fuzz_h2.c tests/fuzz/h2_mutator.c tests/fuzz/fuzz.h $(H2_RIG_SOURCES)
tests_fuzz_fuzz_h2_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) -fno-sanitize=fuzzer-no-link
tests_fuzz_fuzz_h2_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS) $(FAKE_NET_WRAPS)
tests_fuzz_fuzz_h2_LDADD = $(PROXY_LIBS)
tests_fuzz_fuzz_exchange_SOURCES = tests/fuzz/fuzz_exchange.c tests/fuzz/fuzz.h $(RIG_SOURCES)
# Coverage counts in the shipped code only.
tests_fuzz_fuzz_exchange_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) -fno-sanitize=fuzzer-no-link
tests_fuzz_fuzz_exchange_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS) $(FAKE_NET_WRAPS)
tests_fuzz_fuzz_exchange_LDADD = $(PROXY_LIBS)
tests_fuzz_fuzz_vrrp_SOURCES = tests/fuzz/fuzz_vrrp.c tests/fuzz/fuzz.h
tests_fuzz_fuzz_vrrp_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
tests_fuzz_fuzz_vrrp_LDADD = $(FAILOVER_CORE_LIBS)
tests_fuzz_fuzz_proxy_header_SOURCES = tests/fuzz/fuzz_proxy_header.c tests/fuzz/fuzz.h
tests_fuzz_fuzz_proxy_header_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
tests_fuzz_fuzz_proxy_header_LDADD = $(FUZZ_HTTP_LIBS)
tests_fuzz_fuzz_client_hello_SOURCES = tests/fuzz/fuzz_client_hello.c tests/fuzz/fuzz.h
tests_fuzz_fuzz_client_hello_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
tests_fuzz_fuzz_client_hello_LDADD = $(FUZZ_HTTP_LIBS)

# One target a job (make -j2 fuzz). What is found new goes to tests/fuzz/found/ in the build folder; the committed
# corpus is only read.
fuzz: $(FUZZ_TARGETS:%=run-fuzz-%)
$(FUZZ_TARGETS:%=run-fuzz-%): run-fuzz-%: tests/fuzz/fuzz_%
	@$(MKDIR_P) tests/fuzz/found/$*
	@words=; if test -f $(srcdir)/tests/fuzz/$*.dict; then words=-dict=$(srcdir)/tests/fuzz/$*.dict; fi; \
	if tests/fuzz/fuzz_$* $$words -entropic=0 -seed=$(FUZZ_SEED) -max_total_time=$(FUZZ_SECONDS) \
		-max_len=4096 -timeout=10 \
		-artifact_prefix=tests/fuzz/found/$*. tests/fuzz/found/$* $(srcdir)/tests/fuzz/corpus/$* \
		>tests/fuzz/found/$*.log 2>&1; \
	then echo "$*: `tail -1 tests/fuzz/found/$*.log`"; \
	else tail -50 tests/fuzz/found/$*.log; exit 1; fi
.PHONY: $(FUZZ_TARGETS:%=run-fuzz-%)
else
fuzz:
	@echo 'configure with --enable-fuzz and CC=clang first' >&2; exit 1
endif
.PHONY: fuzz
