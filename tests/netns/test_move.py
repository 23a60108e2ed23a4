#!/usr/bin/env python3
"""A planned move breaks nothing: clients in the middle of something, on both families, when the address moves."""

import json
import os
import sys
import time

from lab import SLOW, VIP4, VIP6, Lab, LabTest, main, now_us, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
PORT = 8090
PROXY = """listeners:
  http:
    bind: ":80"
    routes:
      - pool: web
pools:
  web:
    servers:
      web1: {address: "10.77.0.21:%d"}
      web2: {address: "10.77.0.22:%d"}
    health: {http: /echo, every: 1s}
log: {access: off}
""" % (PORT, PORT)
SECONDS = 5


class Streams:
    """streams.py at work on the client: both families, 2 * (downloads + uploads + kept + tunnels) streams."""

    def __init__(self, client, counts, seconds=SECONDS):
        self.client, self.name = client, "streams.%d" % now_us()
        client.start(self.name, sys.executable, os.path.join(HERE, "streams.py"), seconds, *counts,
                     "%s:80" % VIP4, "[%s]:80" % VIP6)

    def wait(self):
        child = self.client.programs.pop(self.name)
        if child.wait(timeout=60 * SLOW):
            raise AssertionError(self.client.log_text(self.name))
        return json.loads(self.client.log_text(self.name))


def told(kinds):
    return "; ".join("%s: %d good, %d failed, longest wait %.1f ms" % (
        name, k["good"], len(k["failed"]), k["worst_ms"]) for name, k in sorted(kinds.items()))


class Move(LabTest):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        try:
            for node in cls.lab.web:
                node.start("origin", sys.executable, os.path.join(HERE, "origin.py"), PORT)
            cls.lab.start_pair(proxy=PROXY)
        except BaseException:
            cls.lab.close(True)
            raise

    def setUp(self):
        super().setUp()
        self.addCleanup(self.heal)

    def rules_packets(self, node, what):
        """The counter of the rule with that comment, over both families."""
        listed = json.loads(node.run("nft", "-j", "list", "table", "netdev", "tandem_51").stdout)
        return sum(part["counter"]["packets"] for item in listed["nftables"] if what in item.get("rule", {}).get(
            "comment", "") for part in item["rule"]["expr"] if "counter" in part)

    def check(self, kinds, title):
        print("\n    %s: %s" % (title, told(kinds)), file=sys.stderr)
        for name, kind in kinds.items():
            self.assertEqual(kind["failed"], [], name)
            self.assertGreater(kind["good"], 0, name)

    def test_nothing_happens_to_streams_when_nothing_moves(self):
        """What the figures of the others are to be held against."""
        self.check(Streams(self.client, (15, 10, 15, 10)).wait(), "100 streams without a move")

    def test_a_switchover_breaks_no_stream_of_either_family(self):
        streams = Streams(self.client, (15, 10, 15, 10))
        time.sleep(1.5)
        self.a.ask("agent", "switchover")
        self.b.wait_state("ACTIVE")
        self.assertEqual(self.a.state(), "DRAINING")
        time.sleep(0.5)
        self.assertGreater(self.rules_packets(self.b, "begun at the peer"), 0)
        self.assertGreater(self.rules_packets(self.a, "handed over"), 0)
        self.check(streams.wait(), "switchover with 100 streams")
        self.a.wait_state("STANDBY")
        wait_for("the second chance is over", lambda: "fwd" not in self.b.run(
            "nft", "list", "table", "netdev", "tandem_51").stdout)

    def test_a_stop_of_the_agent_breaks_no_stream(self):
        streams = Streams(self.client, (3, 3, 3, 3))
        time.sleep(1)
        self.assertEqual(self.a.stop("agent"), 0)
        self.check(streams.wait(), "stop of the agent with 24 streams")
        self.assertEqual(self.a.addresses("lo"), ["127.0.0.1", "::1"])
        self.assertNotIn("tandem", self.a.run("nft", "list", "ruleset").stdout)

    def test_a_killed_agent_costs_no_established_connection(self):
        streams = Streams(self.client, (3, 3, 3, 3))
        time.sleep(1)
        self.a.kill("agent")
        self.b.wait_state("ACTIVE")
        self.a.start_agent()
        kinds = streams.wait()
        self.check(kinds, "kill -9 of the agent with 24 streams")
        self.assertEqual(self.a.state(), "STANDBY")


if __name__ == "__main__":
    main()
