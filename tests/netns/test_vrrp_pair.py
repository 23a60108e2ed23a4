#!/usr/bin/env python3
"""protocol: vrrp3 between two of ours."""

import os
import sys
import time

from lab import PROXY, TREE, VIP4, VIP6, wait_for
from vrrp import SLACK_S, VrrpTest, down, group, main


class Pair(VrrpTest):
    """Two of ours."""

    def start_both(self, **more):
        self.agent(**more)
        self.b.start_agent()
        self.a.wait_state("ACTIVE")
        self.b.wait_state("STANDBY")

    def test_the_preferred_node_is_active_and_comes_back(self):
        self.start_both(prefer="lb-a")
        self.assertEqual([self.vrrp(node)["priority"] for node in (self.a, self.b)], [150, 100])
        self.a.kill("agent")
        took = self.seconds_until("lb-b has it", lambda: self.holds_all(self.b))
        self.assertLess(took, down(100) + SLACK_S)
        wait_for("lb-a's are gone", lambda: self.holds_none(self.a), 3)
        self.a.start_agent()
        self.a.wait_state("ACTIVE")
        self.b.wait_state("STANDBY")
        self.check_wire()

    def test_equal_priorities_end_with_one_owner(self):
        self.agent(priority=120)
        self.b.start_agent()
        wait_for("one of them is active", lambda: sorted(
            node.state() for node in (self.a, self.b)) == ["ACTIVE", "STANDBY"])
        self.lab.unplug(self.b)
        wait_for("both are, cut off from each other", lambda: self.a.state() == "ACTIVE")
        self.lab.plug(self.b)
        wait_for("one of them is active again", lambda: sorted(
            node.state() for node in (self.a, self.b)) == ["ACTIVE", "STANDBY"])
        time.sleep(3 * down(120))
        self.assertEqual(sorted(node.state() for node in (self.a, self.b)), ["ACTIVE", "STANDBY"])

    def test_different_lists_of_addresses_are_told_and_do_not_make_two_owners(self):
        self.start_both(families=(4,), prefer="lb-a")
        self.a.write_config(self.lab.config(
            proxy="", profile="  protocol: vrrp3\n", groups=group((4,), prefer="lb-a").replace(
                "10.77.0.100/24", '10.77.0.100/24", "10.77.0.101/24')))
        self.a.ask("agent", "reload")
        wait_for("lb-b sees it", lambda: self.vrrp(self.b)["differing"] > 0)
        self.assertIn("event=vrrp.addresses", self.b.log_text("agent"))
        self.assertEqual((self.a.state(), self.b.state()), ("ACTIVE", "STANDBY"))

    def test_a_reload_to_another_interval_moves_nothing(self):
        self.start_both(families=(4,), prefer="lb-a")
        self.lab.config(proxy="", profile="  protocol: vrrp3\n",
                        groups=group((4,), prefer="lb-a").replace("200ms", "50ms"))
        for node in (self.b, self.a):
            node.ask("agent", "reload")
        wait_for("it is learned", lambda: self.vrrp(self.b)["active_down_ms"] < 200)
        self.assertEqual((self.a.state(), self.b.state()), ("ACTIVE", "STANDBY"))
        self.assertEqual(self.b.log_text("agent").count("to=ACTIVE"), 0)

    def test_a_reload_changes_the_protocol(self):
        self.start_both(families=(4,), prefer="lb-a")
        self.lab.config(proxy="", groups=group((4,), prefer="lb-a").replace("      advertise: 200ms\n", ""))
        for node in (self.b, self.a):
            node.ask("agent", "reload")
        wait_for("they speak the other protocol", lambda: self.a.group()["protocol"] == "tandem")
        self.a.wait_state("ACTIVE")
        self.b.wait_state("STANDBY")
        wait_for("they hear each other", lambda: self.b.ask("agent", "status")["peer"]["state"] == "ACTIVE")
        self.assertTrue(self.holds_all(self.a, (4,)))

    def test_without_a_secret_it_speaks_all_the_same(self):
        text = self.lab.config(proxy="", groups=group((4,), prefer="lb-a"), profile="  protocol: vrrp3\n")
        for node in (self.a, self.b):
            node.write_config("".join(line for line in text.splitlines(True) if "secret_file" not in line))
            node.start_agent()
        self.a.wait_state("ACTIVE")
        self.b.wait_state("STANDBY")
        self.assertIsNone(self.a.ask("agent", "status")["peer"]["copy"])

    def test_a_dead_nodes_clients_are_told(self):
        for node in self.lab.web:
            self.lab.start_web(node)
        self.lab.config(proxy=PROXY, groups=group(prefer="lb-a"), profile="  protocol: vrrp3\n")
        for node in (self.a, self.b):
            node.start_proxy()
            node.start_agent()
            self.lab.wait_servers(node)
        self.a.wait_state("ACTIVE")
        self.a.ask("agent", "freeze")  # on a busy machine a proxy may seem to hang: lb-a keeps them all the same
        self.a.wait_state("ACTIVE")
        out = os.path.join(self.lab.client.dir, "waiters")
        self.lab.client.start("waiters", sys.executable, os.path.join(TREE, "tests/netns/waiters.py"), out, 50, 80,
                              VIP4, VIP6)

        def ends():
            with open(out, encoding="ascii") as f:
                return [line.split()[-1] for line in f if line.endswith("\n")]

        wait_for("the clients are served", lambda: os.path.exists(out) and ends() == ["ready"], 30)
        wait_for("lb-b has the list", lambda: self.b.group()["peer_connections"] >= 100)
        self.lab.unplug(self.a)
        wait_for("all were told", lambda: len(ends()) == 101, 20)
        self.assertEqual(set(ends()), {"ready", "reset"})

    def test_two_groups_may_share_a_number_across_families(self):
        both = group((4,), prefer="lb-a") + group((6,), prefer="lb-b").replace("web:", "six:")
        self.lab.config(proxy="", groups=both, profile="  protocol: vrrp3\n")
        for node in (self.a, self.b):
            node.start_agent()
        self.a.wait_state("ACTIVE", "web")
        self.b.wait_state("ACTIVE", "six")
        self.b.wait_state("STANDBY", "web")
        self.a.wait_state("STANDBY", "six")


if __name__ == "__main__":
    main()
