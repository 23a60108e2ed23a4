# tests/bench: what a request costs, beside other proxies. Not tests: they print figures and judge nothing.
check_PROGRAMS += tests/bench/load tests/bench/balance
tests_bench_balance_SOURCES = tests/bench/balance.c
tests_bench_balance_LDADD = proxy/libproxy-core.a $(CORE_LIBS) -lm
tests_bench_load_SOURCES = tests/bench/load.c \
	tests/bench/asker.c tests/bench/asker.h \
	tests/bench/histogram.c tests/bench/histogram.h \
	tests/bench/origin.c tests/bench/origin.h \
	tests/bench/stream.c tests/bench/stream.h
tests_bench_load_LDADD = $(CORE_LIBS) -lm

# A shared object without libtool: it is preloaded from here, and never installed.
check_DATA = tests/bench/heap.so
CLEANFILES += tests/bench/heap.so
tests/bench/heap.so: tests/bench/heap.c
	$(AM_V_CC)$(MKDIR_P) tests/bench && $(CC) $(AM_CPPFLAGS) -std=gnu17 -O2 -fPIC -shared $(WARN_CFLAGS) \
		-fno-builtin -o $@ $(top_srcdir)/tests/bench/heap.c

EXTRA_DIST += tests/bench/proxy tests/bench/instructions tests/bench/syscalls tests/bench/attacks tests/bench/attackers.py \
	tests/bench/goodclients.py tests/bench/wire.py \
	tests/bench/heap.c \
	tests/bench/machine.py tests/bench/report.py tests/bench/rig.py tests/bench/targets.py tests/bench/workloads.py \
	tests/bench/failover tests/bench/contenders.py tests/bench/faults.py tests/bench/owners.py
# What the scripts need: make bench-programs
bench-programs: proxy/tandem-proxy$(EXEEXT) tests/bench/load$(EXEEXT) tests/bench/balance$(EXEEXT) tests/bench/heap.so \
	failover/tandem-failover$(EXEEXT) tests/netns/pulse$(EXEEXT)
.PHONY: bench-programs
