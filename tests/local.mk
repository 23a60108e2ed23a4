# tests/: one .mk a room for the unit tests; the rest of the suites below.
EXTRA_DIST += tests/unit/check.h
UNIT_LIBS = $(CUNIT_LIBS)
# Tests of core archives link nothing but the archive: the linker enforces that cores are pure.
if HAVE_CUNIT
include tests/unit/shared.mk
include tests/unit/shared_shell.mk
include tests/unit/ctl.mk
include tests/unit/proxy_http.mk
include tests/unit/proxy_pool.mk
include tests/unit/proxy.mk
include tests/unit/proxy_discover.mk
include tests/unit/failover.mk
include tests/unit/bench.mk
endif
include tests/sim/local.mk
include tests/model/local.mk
include tests/fuzz/local.mk
include tests/netns/local.mk
include tests/bench/local.mk
include tests/system/local.mk

# What a sanitizer can say something about. Milliseconds, models and the search through schedules are not among it;
# a planned move and the copy of the clients are, timed or not.
SANITIZED_TESTS = $(filter-out $(NETNS_TIMED) tests/model/run tests/sim/test_mutations,$(TESTS)) \
	tests/netns/test_move.py tests/netns/test_tickle.py
# Of those, what has more than one thread and measures neither memory nor time.
THREADED_TESTS = \
	tests/netns/test_proxy.py \
	$(addprefix tests/system/test_,errors.py http1.py pools.py reload.py splice.py storm.py) \
	$(addprefix tests/unit/test_,balance checks log pool queue rpc tally)
check-sanitized:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(SANITIZED_TESTS)'
check-threads:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(THREADED_TESTS)'
.PHONY: check-sanitized check-threads
