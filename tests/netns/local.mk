# The real binaries with real clients and servers, in namespaces that need no root.
check_PROGRAMS += tests/netns/pulse
tests_netns_pulse_SOURCES = tests/netns/pulse.c
tests_netns_pulse_LDADD = $(CORE_LIBS)

# Those that measure no milliseconds run beside all other tests.
NETNS_TESTS = \
	tests/netns/test_vrrp.py \
	tests/netns/test_vrrp_active.py \
	tests/netns/test_vrrp_lease.py \
	tests/netns/test_vrrp_pair.py \
	tests/netns/test_proxy.py \
	tests/netns/test_postgres.py \
	tests/netns/test_hooks.py \
	tests/netns/test_agent.py \
	tests/netns/test_alerts.py \
	tests/netns/test_amid.py \
	tests/netns/test_scale.py \
	tests/netns/test_upgrade.py \
	tests/netns/test_ctl.py \
	tests/netns/test_groups.py
# Those that do wait until all else is over, and then run in two rows, each one after the other.
NETNS_TIMED_1 = \
	tests/netns/test_vip.py \
	tests/netns/test_lease.py \
	tests/netns/test_witness.py \
	tests/netns/test_move_tls.py \
	tests/netns/test_busy.py
NETNS_TIMED_2 = \
	tests/netns/test_syscalls.py \
	tests/netns/test_move.py \
	tests/netns/test_failover.py \
	tests/netns/test_tickle.py
NETNS_TIMED = $(NETNS_TIMED_1) $(NETNS_TIMED_2)
TESTS += $(NETNS_TESTS) $(NETNS_TIMED)
EXTRA_DIST += $(NETNS_TESTS) $(NETNS_TIMED) tests/netns/lab.py tests/netns/observe.py tests/netns/origin.py \
	tests/netns/browsers.py tests/netns/replay.py tests/netns/returners.py tests/netns/streams.py tests/netns/run \
	tests/netns/vrrp.py tests/netns/waiters.py tests/run tests/prepare.sh

TEST_EXTENSIONS = .py
PY_LOG_COMPILER = $(top_srcdir)/tests/netns/run

$(NETNS_TIMED:.py=.log): $(filter-out $(NETNS_TIMED:.py=.log),$(TEST_LOGS))
# netns_row(LOG...): each after the one before it.
netns_row = $(foreach n,$(shell seq 2 $(words $(1))),$(eval $(word $(n),$(1)): $(word $(shell expr $(n) - 1),$(1))))
$(call netns_row,$(filter $(TEST_LOGS),$(NETNS_TIMED_1:.py=.log)))
$(call netns_row,$(filter $(TEST_LOGS),$(NETNS_TIMED_2:.py=.log)))

# What takes long: every allocation of OpenSSL's, twenty rounds a fault, and the times that the product promises on a quiet machine.
check-long: all $(check_PROGRAMS)
	TANDEM_EVERY_ALLOCATION=1 tests/unit/test_tls
	TANDEM_ROUNDS=20 TANDEM_STRICT=1 $(top_srcdir)/tests/netns/run $(top_srcdir)/tests/netns/test_failover.py
	TANDEM_BUSY_S=60 $(top_srcdir)/tests/netns/run $(top_srcdir)/tests/netns/test_busy.py || test $$? = 77
	TANDEM_STRICT=1 $(top_srcdir)/tests/netns/run $(top_srcdir)/tests/netns/test_tickle.py
	CROWD_RATE=1000 CROWD_SECONDS=5 CROWD_RELOADS=100 CROWD_TABLE=1 \
		$(top_srcdir)/tests/netns/run $(top_srcdir)/tests/system/test_never_noticed.py
	CROWD_MOVES= CROWD_RATE=1000 CROWD_SECONDS=1 CROWD_RELOADS=10 CROWD_TABLE=1 \
		$(top_srcdir)/tests/netns/run $(top_srcdir)/tests/netns/test_amid.py || test $$? = 77
	TANDEM_SCALE_LONG=1 $(top_srcdir)/tests/netns/run $(top_srcdir)/tests/netns/test_scale.py || test $$? = 77
.PHONY: check-long
