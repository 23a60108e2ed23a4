#!/usr/bin/env python3
"""Both agents on a machine that has no time: with real-time scheduling nothing moves without a fault.

Needs root outside of a user namespace, for the kernel grants real-time scheduling to nobody else:
    sudo TANDEM_REAL_ROOT=1 tests/netns/run tests/netns/test_busy.py
TANDEM_BUSY_S says how long (10; 60 in check-long)."""

import os
import subprocess
import sys
import time

from lab import SKIPPED, LabTest, main

SECONDS = float(os.environ.get("TANDEM_BUSY_S", "10"))


class Busy(LabTest):
    config = {"profile": "  profile: fast\n"}

    def setUp(self):
        super().setUp()
        self.hogs = []
        self.addCleanup(self.rest)

    def rest(self):
        for hog in self.hogs:
            hog.kill()
            hog.wait()

    def moves(self, node):
        return node.log_text("agent").count("event=group.state")

    def late(self):
        return sum(node.log_text("agent").count("event=agent.late") for node in (self.a, self.b))

    def test_two_hogs_a_core_move_nothing_in_profile_fast(self):
        for node in (self.a, self.b):
            if "scheduled=true" not in node.log_text("agent"):
                self.skipTest("real-time scheduling is not allowed here")
        before = [self.moves(node) for node in (self.a, self.b)]
        epoch = self.a.group()["epoch"]
        self.hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
                     for _ in range(2 * (os.cpu_count() or 1))]
        end = time.monotonic() + SECONDS
        worst_us = 0
        while time.monotonic() < end:
            time.sleep(0.5)
            paths = self.b.ask("agent", "status")["peer"]["paths"]
            worst_us = max(worst_us, max(path["rtt_us"] or 0 for path in paths.values()))
        self.rest()
        print("\n%.0f s with %d busy processes: rtt at most %d us, %d late turns" %
              (SECONDS, len(self.hogs), worst_us, self.late()), end=" ")
        self.assertEqual([self.moves(node) for node in (self.a, self.b)], before)
        self.assertEqual((self.a.state(), self.b.state()), ("ACTIVE", "STANDBY"))
        self.assertEqual(self.a.group()["epoch"], epoch)


if __name__ == "__main__":
    if not (os.environ.get("TANDEM_REAL_ROOT") and os.geteuid() == 0):
        print("skipped: needs root and TANDEM_REAL_ROOT=1")
        sys.exit(SKIPPED)
    main()
