# Tests of this room.

# The core: links nothing but the archives, which proves that they are pure.
FAILOVER_CORE_TESTS = tests/unit/test_alerting tests/unit/test_election tests/unit/test_fsm tests/unit/test_fsm_claims tests/unit/test_packet \
	tests/unit/test_replay tests/unit/test_witness
check_PROGRAMS += $(FAILOVER_CORE_TESTS)
TESTS += $(FAILOVER_CORE_TESTS)
tests_unit_test_alerting_SOURCES = tests/unit/test_alerting.c
tests_unit_test_alerting_LDADD = $(FAILOVER_CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_election_SOURCES = tests/unit/test_election.c
tests_unit_test_election_LDADD = $(FAILOVER_CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_fsm_SOURCES = tests/unit/test_fsm.c
tests_unit_test_fsm_LDADD = $(FAILOVER_CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_fsm_claims_SOURCES = tests/unit/test_fsm_claims.c
tests_unit_test_fsm_claims_LDADD = $(FAILOVER_CORE_LIBS) $(UNIT_LIBS)
EXTRA_DIST += tests/unit/fsm_rig.h
tests_unit_test_packet_SOURCES = tests/unit/test_packet.c
tests_unit_test_packet_LDADD = $(FAILOVER_CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_replay_SOURCES = tests/unit/test_replay.c
tests_unit_test_replay_LDADD = $(FAILOVER_CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_witness_SOURCES = tests/unit/test_witness.c
tests_unit_test_witness_LDADD = $(FAILOVER_CORE_LIBS) $(UNIT_LIBS)

# The agent's shell.
FAILOVER_SHELL_TESTS = \
	tests/unit/test_clients \
	tests/unit/test_copy_session \
	tests/unit/test_epoch_store \
	tests/unit/test_failover_settings \
	tests/unit/test_frame \
	tests/unit/test_rules \
	tests/unit/test_hooks \
	tests/unit/test_paths \
	tests/unit/test_proxy_link \
	tests/unit/test_states \
	tests/unit/test_tickle
check_PROGRAMS += $(FAILOVER_SHELL_TESTS)
TESTS += $(FAILOVER_SHELL_TESTS)
tests_unit_test_clients_SOURCES = tests/unit/test_clients.c
tests_unit_test_clients_LDADD = failover/libfailover.a $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_copy_session_SOURCES = tests/unit/test_copy_session.c
tests_unit_test_copy_session_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_copy_session_LDADD = $(FAILOVER_LIBS) $(UNIT_LIBS)
tests_unit_test_states_SOURCES = tests/unit/test_states.c
tests_unit_test_states_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_states_LDADD = $(FAILOVER_LIBS) $(UNIT_LIBS)
tests_unit_test_tickle_SOURCES = tests/unit/test_tickle.c
tests_unit_test_tickle_LDADD = $(FAILOVER_LIBS) $(UNIT_LIBS)
tests_unit_test_frame_SOURCES = tests/unit/test_frame.c
tests_unit_test_frame_LDADD = failover/libfailover.a $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_rules_SOURCES = tests/unit/test_rules.c
tests_unit_test_rules_LDADD = failover/libfailover.a $(CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_paths_SOURCES = tests/unit/test_paths.c
tests_unit_test_paths_LDADD = $(FAILOVER_LIBS) $(UNIT_LIBS)
tests_unit_test_epoch_store_SOURCES = tests/unit/test_epoch_store.c
tests_unit_test_epoch_store_LDADD = $(FAILOVER_LIBS) $(UNIT_LIBS)
tests_unit_test_failover_settings_SOURCES = tests/unit/test_failover_settings.c
tests_unit_test_failover_settings_LDADD = $(FAILOVER_LIBS) $(UNIT_LIBS)
tests_unit_test_proxy_link_SOURCES = tests/unit/test_proxy_link.c
tests_unit_test_proxy_link_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_proxy_link_LDADD = $(FAILOVER_LIBS) $(UNIT_LIBS)
tests_unit_test_hooks_SOURCES = tests/unit/test_hooks.c
tests_unit_test_hooks_LDADD = $(FAILOVER_LIBS) $(UNIT_LIBS)

# VRRP: the codec and the machine of RFC 9568.
FAILOVER_VRRP_TESTS = tests/unit/test_vrrp tests/unit/test_vrrp_packet
check_PROGRAMS += $(FAILOVER_VRRP_TESTS)
TESTS += $(FAILOVER_VRRP_TESTS)
tests_unit_test_vrrp_SOURCES = tests/unit/test_vrrp.c
tests_unit_test_vrrp_LDADD = $(FAILOVER_CORE_LIBS) $(UNIT_LIBS)
tests_unit_test_vrrp_packet_SOURCES = tests/unit/test_vrrp_packet.c
tests_unit_test_vrrp_packet_LDADD = $(FAILOVER_CORE_LIBS) $(UNIT_LIBS)
