# Models in Promela: checked where spin is installed, skipped elsewhere.
EXTRA_DIST += tests/model/lease.pml tests/model/move.pml tests/model/epoch.pml tests/model/replay.pml
dist_check_SCRIPTS += tests/model/run
TESTS += tests/model/run
