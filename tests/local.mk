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
include tests/unit/failover.mk
include tests/unit/bench.mk
endif
include tests/sim/local.mk
include tests/model/local.mk
include tests/fuzz/local.mk
include tests/netns/local.mk
include tests/bench/local.mk
include tests/system/local.mk
