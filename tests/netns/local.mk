# The real binaries with real clients and servers, in namespaces that need no root.
check_PROGRAMS += tests/netns/pulse
tests_netns_pulse_SOURCES = tests/netns/pulse.c
tests_netns_pulse_LDADD = $(CORE_LIBS)

NETNS_TESTS = \
	tests/netns/test_syscalls.py \
	tests/netns/test_proxy.py \
	tests/netns/test_ctl.py \
	tests/netns/test_vip.py \
	tests/netns/test_groups.py \
	tests/netns/test_agent.py \
	tests/netns/test_vrrp.py \
	tests/netns/test_hooks.py \
	tests/netns/test_alerts.py \
	tests/netns/test_witness.py \
	tests/netns/test_lease.py \
	tests/netns/test_move.py \
	tests/netns/test_tickle.py \
	tests/netns/test_failover.py \
	tests/netns/test_busy.py
TESTS += $(NETNS_TESTS)
EXTRA_DIST += $(NETNS_TESTS) tests/netns/lab.py tests/netns/observe.py tests/netns/origin.py \
	tests/netns/replay.py tests/netns/streams.py tests/netns/run \
	tests/netns/waiters.py tests/run tests/prepare.sh

TEST_EXTENSIONS = .py
PY_LOG_COMPILER = $(top_srcdir)/tests/netns/run

# One after the other in the order above, when all else is over: they measure milliseconds.
NETNS_LOGS = $(NETNS_TESTS:.py=.log)
tests/netns/test_syscalls.log: $(filter-out tests/netns/%,$(TEST_LOGS))
$(foreach n,$(shell seq 2 $(words $(NETNS_LOGS))),$(eval $(word $(n),$(NETNS_LOGS)): $(word $(shell expr $(n) - 1),$(NETNS_LOGS))))

# What takes long: twenty rounds a fault, and the times that the product promises on a quiet machine.
check-long: all $(check_PROGRAMS)
	TANDEM_ROUNDS=20 TANDEM_STRICT=1 $(top_srcdir)/tests/netns/run $(top_srcdir)/tests/netns/test_failover.py
	TANDEM_BUSY_S=60 $(top_srcdir)/tests/netns/run $(top_srcdir)/tests/netns/test_busy.py || test $$? = 77
	TANDEM_STRICT=1 $(top_srcdir)/tests/netns/run $(top_srcdir)/tests/netns/test_tickle.py
.PHONY: check-long
