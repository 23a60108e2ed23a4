#!/usr/bin/env python3
"""protocol: vrrp3 with a keepalived as its backup, and both without multicast."""

import os
import shutil
import signal
import time
import unittest

from lab import PROXY, VIP4, VIP6, wait_for
from vrrp import ADVERTISE_S, SLACK_S, VrrpTest, down, group, main, skew


class AsActive(VrrpTest):
    def test_keepalived_stands_by_and_takes_over_at_once_when_we_stop(self):
        self.agent(priority=200)
        self.keepalived(100)
        self.a.wait_state("ACTIVE")
        self.assertTrue(self.holds_all(self.a))
        wait_for("keepalived stands by", lambda: self.holds_none(self.b))
        heard = self.vrrp()["received"]
        time.sleep(2 * down(100))
        self.assertTrue(self.holds_none(self.b))
        self.assertEqual(self.vrrp()["received"], heard)
        self.a.programs["agent"].terminate()
        took = self.seconds_until("keepalived has it", lambda: self.b.holds_vip(VIP4) and self.b.holds_vip(VIP6))
        self.assertLess(took, skew(100) + ADVERTISE_S + SLACK_S)
        self.assertEqual(self.a.programs["agent"].wait(timeout=10), 0)
        self.assertTrue(self.holds_none(self.a))
        # and back, by preemption
        self.a.start_agent()
        self.a.wait_state("ACTIVE")
        wait_for("keepalived yields", lambda: self.holds_none(self.b))
        self.check_wire()

    def test_a_killed_agents_addresses_go_away_and_keepalived_takes_over(self):
        self.agent(priority=200)
        self.keepalived(100)
        self.a.wait_state("ACTIVE")
        time.sleep(0.5)
        self.a.kill("agent")
        took = self.seconds_until("keepalived has it", lambda: self.b.holds_vip(VIP4))
        self.assertLess(took, down(100) + SLACK_S)
        wait_for("the addresses have gone with their agent", lambda: self.holds_none(self.a), 3)

    def test_a_frozen_agent_lets_go_when_it_runs_again_and_takes_it_back_by_the_rules(self):
        self.agent(priority=200)
        self.keepalived(100)
        self.a.wait_state("ACTIVE")
        time.sleep(0.5)
        self.a.kill("agent", signal.SIGSTOP, wait=False)
        wait_for("keepalived has it", lambda: self.b.holds_vip(VIP4))
        self.a.programs["agent"].send_signal(signal.SIGCONT)
        self.a.wait_state("STANDBY", timeout_s=1)
        self.a.wait_state("ACTIVE")
        wait_for("keepalived yields", lambda: self.holds_none(self.b))
        self.assertIn("reason=FROZEN", self.a.log_text("agent"))

    @unittest.skipUnless(shutil.which("nft", path=os.environ["PATH"] + ":/usr/sbin"), "nft is not installed")
    def test_an_owner_whose_advertisements_are_filtered_lets_go(self):
        self.agent(families=(4,), priority=200)
        self.keepalived(100, (4,))
        self.a.wait_state("ACTIVE")
        wait_for("keepalived stands by", lambda: self.holds_none(self.b))
        self.a.run("nft", "add table ip t; add chain ip t out { type filter hook output priority 0; }; "
                   "add rule ip t out ip protocol 112 drop")
        self.a.wait_state("FAULT", timeout_s=down(100) + 1)
        self.assertTrue(self.holds_none(self.a))
        self.keepalived_has_it(families=(4,))
        self.assertEqual(self.vrrp()["trouble"], "Operation not permitted")
        self.a.run("nft", "delete table ip t")
        self.a.wait_state("ACTIVE")

    def test_a_keepalived_that_does_not_preempt_leaves_it_to_us(self):
        self.agent(priority=50)
        self.a.wait_state("ACTIVE")
        self.keepalived(200, more="nopreempt")
        time.sleep(3 * down(50))
        self.assertEqual(self.a.state(), "ACTIVE")
        self.assertTrue(self.holds_none(self.b))

    def test_a_dead_proxy_hands_over_at_once(self):
        for web in self.lab.web:
            self.lab.start_web(web)
        self.lab.config(proxy=PROXY, groups=group(priority=200), profile="  protocol: vrrp3\n")
        self.a.start_proxy()
        self.agent(proxy=PROXY, priority=200)
        self.keepalived(100)
        self.a.wait_state("ACTIVE")
        wait_for("the VIP answers", lambda: self.lab.curl("http://%s/" % VIP4, check=False).returncode == 0)
        self.a.kill("proxy")
        took = self.seconds_until("keepalived has it", lambda: self.b.holds_vip(VIP4))
        self.assertLess(took, skew(100) + ADVERTISE_S + SLACK_S)
        self.assertEqual((self.a.state(), self.a.group()["reason"]), ("FAULT", "the proxy died"))
        time.sleep(2 * down(200))
        self.assertEqual(self.a.state(), "FAULT")
        self.a.start_proxy()
        self.a.wait_state("ACTIVE")
        self.check_wire()

    def test_an_ordered_move_goes_to_keepalived_and_stays_there(self):
        self.agent(priority=200)
        self.keepalived(100)
        self.a.wait_state("ACTIVE")
        self.a.ctl("switchover")
        self.keepalived_has_it(2 * ADVERTISE_S + SLACK_S)
        time.sleep(2 * down(200))
        self.assertEqual(self.a.state(), "STANDBY")
        self.assertFalse(self.vrrp()["preempt"])
        # the higher priority can be told to take it back
        self.a.ctl("switchover")
        self.a.wait_state("ACTIVE")
        wait_for("keepalived yields", lambda: self.holds_none(self.b))

    def test_a_lower_priority_cannot_be_told_to_take_it(self):
        self.keepalived(200)
        self.keepalived_has_it()
        self.agent(priority=100)
        self.a.wait_state("STANDBY")
        time.sleep(0.5)
        refused = self.a.ctl("switchover", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("VRRP cannot ask it", refused.stdout + refused.stderr)


class Unicast(VrrpTest):
    KEEPALIVED = {4: "unicast_src_ip 10.77.0.3\n    unicast_peer {\n        10.77.0.2\n    }",
                  6: "unicast_src_ip fd77::3\n    unicast_peer {\n        fd77::2\n    }"}

    def test_both_ways_with_listed_peers(self):
        self.keepalived(200, by_family=self.KEEPALIVED)
        self.keepalived_has_it()
        self.agent(priority=100, unicast_peer='[10.77.0.3, "fd77::3"]')
        self.a.wait_state("STANDBY")
        time.sleep(2 * down(100))
        self.assertEqual(self.a.state(), "STANDBY")
        self.assertTrue(self.vrrp()["unicast"])
        self.b.stop("keepalived")
        self.a.wait_state("ACTIVE")
        self.keepalived(50, by_family=self.KEEPALIVED)
        time.sleep(2 * down(50))
        self.assertEqual(self.a.state(), "ACTIVE")
        self.assertTrue(self.holds_none(self.b))
        self.a.programs["agent"].terminate()
        took = self.seconds_until("keepalived has it", lambda: self.b.holds_vip(VIP4) and self.b.holds_vip(VIP6))
        self.assertLess(took, skew(50) + ADVERTISE_S + SLACK_S)
        self.check_wire()

    def test_the_other_nodes_address_is_known_from_the_paths(self):
        self.keepalived(200, (4,), by_family=self.KEEPALIVED)
        self.keepalived_has_it(families=(4,))
        self.agent(families=(4,), priority=100, unicast_peer="nodes", paths="[lan]")
        self.a.wait_state("STANDBY")
        wait_for("it is heard", lambda: self.vrrp()["received"] > 5)
        self.assertEqual(self.a.state(), "STANDBY")
        self.assertEqual(self.vrrp()["master"], "10.77.0.3")

    def test_who_is_not_listed_is_not_heard(self):
        self.agent(families=(4,), priority=100, unicast_peer="[10.77.0.99]")
        self.a.wait_state("ACTIVE")
        self.keepalived(200, (4,), by_family=self.KEEPALIVED)
        wait_for("it is counted", lambda: self.vrrp()["dropped"].get("source", 0) > 3)
        self.assertEqual(self.a.state(), "ACTIVE")


if __name__ == "__main__":
    main()
