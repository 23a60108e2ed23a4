#!/usr/bin/env python3
"""One owner beside a keepalived: measured on the wire by somebody who believes nobody.

What keepalived does by itself is not measured: one that is killed or frozen keeps its addresses."""

import signal
import sys
import time

import test_lease
from lab import now_us, wait_for
from vrrp import ADVERTISE_S, VrrpTest, down, main

TABLE = "tandem_51_web"
LEASE_MS = 2.5 * ADVERTISE_S * 1000
# What asks is late itself on a busy machine; that one owner's answers come before the other's holds all the same.
LATE_MS = 300

# Whoever has the address answers on port 80.
LISTENER = """
import socket, time
kept = socket.create_server(("::", 80), family=socket.AF_INET6, backlog=4096, dualstack_ipv6=True)
time.sleep(600)
"""

UNICAST = {4: "unicast_src_ip 10.77.0.3\n    unicast_peer {\n        10.77.0.2\n    }",
           6: "unicast_src_ip fd77::3\n    unicast_peer {\n        fd77::2\n    }"}


class VrrpLease(VrrpTest):
    def setUp(self):
        super().setUp()
        for node in (self.a, self.b):
            node.start("listener", sys.executable, "-c", LISTENER)

    def start_active(self, by_family=None, **more):
        """lb-a has it, and does not take it back once keepalived has it."""
        self.agent(priority=200, preempt="false", **more)
        self.a.wait_state("ACTIVE")
        self.keepalived(100, by_family=by_family)
        time.sleep(down(100))
        self.assertTrue(self.holds_all(self.a) and self.holds_none(self.b))

    def watch(self):
        return test_lease.Watch(self.lab.client, (self.a, self.b))

    def check_one_owner(self, fault_us, watch, old, new, limit_ms):
        time.sleep(0.3)
        test_lease.Lease.check_one_owner(self, watch.stop(), old, new, fault_us, limit_ms + LATE_MS)

    def check_lease(self, fence):
        shown = self.a.group()
        self.assertEqual(shown["fence"], fence)
        self.assertTrue(0 < shown["lease_ms"] <= LEASE_MS, shown["lease_ms"])

    def lost_rules_come_back(self):
        before = self.a.log_text("agent").count("event=group.state")
        self.a.run("nft", "flush", "ruleset")
        wait_for("it notices", lambda: "event=fence.vanished" in self.a.log_text("agent"), 2)
        self.assertIn("chain heartbeat", self.a.run("nft", "list", "table", "netdev", TABLE).stdout)
        time.sleep(down(100))
        self.assertEqual(self.a.log_text("agent").count("event=group.state"), before)
        self.check_lease("kernel")

    def a_frozen_agent_loses_it_and_harms_nobody_when_it_wakes(self):
        watch = self.watch()
        fault_us = now_us()
        self.a.kill("agent", signal.SIGSTOP, wait=False)
        self.keepalived_has_it()
        self.a.programs["agent"].send_signal(signal.SIGCONT)
        self.a.wait_state("STANDBY", timeout_s=1)
        self.check_one_owner(fault_us, watch, self.a, self.b, LEASE_MS)
        self.assertEqual(self.a.group()["lease_ms"], 0)

    def what_keepalived_gives_up_is_taken_once_it_has_gone(self):
        watch = self.watch()
        fault_us = now_us()
        self.b.programs["keepalived"].terminate()
        self.a.wait_state("ACTIVE")
        self.check_one_owner(fault_us, watch, self.b, self.a, 200)

    def a_lease_that_somebody_takes_away_is_missed(self):
        self.a.run("nft", "flush", "set", "netdev", TABLE, "lease")
        wait_for("it lets go", lambda: "reason=LEASE_LOST" in self.a.log_text("agent"), 2 * ADVERTISE_S + 1)
        self.a.wait_state("ACTIVE")  # nobody else takes it

    def test_beside_a_keepalived_there_is_one_owner(self):
        self.start_active()
        self.check_lease("kernel")
        self.lost_rules_come_back()
        self.a_frozen_agent_loses_it_and_harms_nobody_when_it_wakes()
        self.what_keepalived_gives_up_is_taken_once_it_has_gone()
        self.a_lease_that_somebody_takes_away_is_missed()

    def test_where_an_advertisement_may_wait_for_its_peer_the_agent_renews(self):
        self.start_active(by_family=UNICAST, unicast_peer='[10.77.0.3, "fd77::3"]')
        self.check_lease("netlink")
        self.assertIn("unicast_peer", self.a.group()["fence_why"])
        watch = self.watch()
        fault_us = now_us()
        self.a.kill("agent", wait=False)
        self.keepalived_has_it()
        self.check_one_owner(fault_us, watch, self.a, self.b, LEASE_MS)


if __name__ == "__main__":
    main()
