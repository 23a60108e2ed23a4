# The simulator: real state machines over a network made up from a seed.
check_PROGRAMS += tests/sim/tandem-sim
tests_sim_tandem_sim_SOURCES = \
	tests/sim/check.c \
	tests/sim/kernel.c \
	tests/sim/lan.c \
	tests/sim/main.c \
	tests/sim/node.c \
	tests/sim/schedule.c \
	tests/sim/sim.h \
	tests/sim/world.c
tests_sim_tandem_sim_LDADD = $(FAILOVER_CORE_LIBS)
dist_check_SCRIPTS += tests/sim/test_schedules tests/sim/test_mutations
TESTS += tests/sim/test_schedules tests/sim/test_mutations
