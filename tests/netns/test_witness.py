#!/usr/bin/env python3
"""A pair with a witness on a third box: a node that is cut off from all does not take the address, and one that
has it lets go."""

import os
import re
import signal
import time

from lab import BUILD, VIP4, VIP6, Lab, LabTest, Node, main, wait_for

WITNESS = "10.77.0.30"


class Witness(LabTest):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(timed=True)
        try:
            cls.box = cls.lab.nodes["witness"] = Node(cls.lab, "witness")
            cls.lab.wire(cls.box, "lan", "eth0", [WITNESS + "/24"])
            cls.lab.config(profile="  witness: %s\n" % WITNESS)
            cls.start_witness()
            cls.lab.start_pair(profile="  witness: %s\n" % WITNESS)
        except BaseException:
            cls.lab.close(True)
            raise

    @classmethod
    def tearDownClass(cls):
        code = cls.box.stop("witness")
        super().tearDownClass()
        assert code == 0, "the witness ended with %s" % code

    @classmethod
    def start_witness(cls):
        cls.box.start("witness", os.path.join(BUILD, "failover/tandem-failover"), "--witness", "-c",
                      os.path.join(cls.lab.a.dir, "tandem.yaml"), "--run-dir", cls.box.dir)

    def setUp(self):
        super().setUp()
        self.addCleanup(self.heal)
        self.addCleanup(self.rejoin)
        wait_for("both hear the witness", lambda: all(
            node.ask("agent", "status")["witness"]["up"] for node in (self.a, self.b)))

    def isolate(self, node):
        """From everything, and its carrier does not show it."""
        for bridge in ("cable", "lan"):
            self.lab.switch.run("ip", "link", "set", "%s-%s" % (bridge, node.name), "nomaster")

    def rejoin(self):
        for node in (self.a, self.b):
            for bridge in ("cable", "lan"):
                self.lab.switch.run("ip", "link", "set", "%s-%s" % (bridge, node.name), "master", bridge)
        if not self.box.running("witness"):
            self.start_witness()

    def test_status_shows_the_witness_and_what_it_hears(self):
        wait_for("the node shows it", lambda: "  witness: up\n" in self.a.ctl("status").stdout)
        ctl = [os.path.join(BUILD, "ctl/tandemctl"), "status", "--run-dir", self.box.dir]
        wait_for("it shows the nodes, and who owns what", lambda: re.search(
            r": witness\n.*  lb-a +up .*  lb-b +up .*  web +lb-a ", self.box.run(*ctl).stdout, re.DOTALL))

    def test_a_dead_nodes_address_is_promised_to_the_other(self):
        before = time.monotonic()
        self.lab.unplug(self.a)
        self.b.wait_state("ACTIVE")
        print("\nnode death with a witness: %.0f ms" % ((time.monotonic() - before) * 1000), end=" ")
        self.assertTrue(self.b.holds_vip(VIP4) and self.b.holds_vip(VIP6))

    def test_a_standby_that_is_cut_off_takes_nothing(self):
        self.isolate(self.b)
        wait_for("it is said", lambda: any("witness" in alarm for alarm in self.b.group()["alarms"]))
        time.sleep(1.5)
        self.assertFalse(self.b.holds_vip(VIP4) and self.b.state() == "ACTIVE")
        self.assertEqual(self.a.state(), "ACTIVE")
        self.assertTrue(self.a.holds_vip(VIP4))

    def test_an_owner_that_is_cut_off_lets_go(self):
        self.isolate(self.a)
        self.b.wait_state("ACTIVE")
        self.assertNotEqual(self.a.state(), "ACTIVE")
        self.assertFalse(self.a.holds_vip(VIP4))

    def test_without_the_witness_nobody_takes_over(self):
        self.box.kill("witness", signal.SIGTERM)
        self.lab.unplug(self.a)
        wait_for("it is said", lambda: any("witness" in alarm for alarm in self.b.group()["alarms"]))
        time.sleep(1)
        self.assertFalse(self.b.holds_vip(VIP4))
        self.start_witness()
        self.b.wait_state("ACTIVE")

    def test_a_planned_move_needs_no_witness(self):
        self.box.kill("witness", signal.SIGSTOP, wait=False)
        self.addCleanup(self.box.kill, "witness", signal.SIGCONT, wait=False)
        self.a.ask("agent", "switchover")
        self.b.wait_state("ACTIVE")


if __name__ == "__main__":
    main()
