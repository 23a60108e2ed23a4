#!/usr/bin/env python3
"""A planned move breaks nothing: clients in the middle of something, on both families, when the address moves."""

import json
import os
import signal
import sys
import time

from lab import GROUP, SLOW, VIP4, VIP6, Lab, LabTest, Pulse, failed, main, now_us, wait_for

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
MORE = GROUP.replace("10.77.0.100/24,", "10.77.0.100/24, 10.77.0.101/24,")

# ICMP "fragmentation needed" for a connection of nobody.
TOO_BIG = """
import socket, struct
def checksum(data):
    total = sum(struct.unpack("!%%dH" %% (len(data) // 2), data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff
vip, own = socket.inet_aton("%s"), socket.inet_aton("10.77.0.10")
inner = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0x4000, 64, 6, 0) + vip + own + struct.pack("!HHI", 80, 9, 1)
body = struct.pack("!BBHHH", 3, 4, 0, 0, 1400) + inner
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
    s.sendto(body[:2] + struct.pack("!H", checksum(body)) + body[4:], ("%s", 0))
""" % (VIP4, VIP4)


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


class Moving(LabTest):
    profile = ""

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        try:
            for node in cls.lab.web:
                node.start("origin", sys.executable, os.path.join(HERE, "origin.py"), PORT)
            cls.lab.start_pair(proxy=PROXY, profile=cls.profile)
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


class Move(Moving):
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

    def test_a_stop_keeps_its_connections_while_the_new_owner_stands_still(self):
        streams = Streams(self.client, (2, 2, 0, 2))
        time.sleep(1)
        self.a.programs["agent"].terminate()
        self.b.wait_state("ACTIVE")
        self.b.programs["agent"].send_signal(signal.SIGSTOP)
        time.sleep(0.6 * SLOW)
        self.b.programs["agent"].send_signal(signal.SIGCONT)
        time.sleep(1)
        self.assertTrue(self.a.running("agent"))
        self.check(streams.wait(), "stop of the agent with 12 streams, the other stands still for 0.6 s")
        self.assertEqual(self.a.programs["agent"].wait(timeout=30 * SLOW), 0)

    def test_a_killed_agent_costs_no_established_connection(self):
        streams = Streams(self.client, (3, 3, 3, 3))
        time.sleep(1)
        self.a.kill("agent")
        self.b.wait_state("ACTIVE")
        self.a.start_agent()
        self.check(streams.wait(), "kill -9 of the agent with 24 streams")
        self.assertEqual(self.a.state(), "STANDBY")

    def test_a_move_back_knows_the_connections_that_never_moved(self):
        """Those of the killed agent's proxy: begun here, then handed over, then direct again."""
        streams = Streams(self.client, (3, 3, 3, 3), SECONDS + 2)
        time.sleep(1)
        self.a.kill("agent")
        self.b.wait_state("ACTIVE")
        self.a.start_agent()
        self.a.wait_state("STANDBY")
        wait_for("the peer can take it back", lambda: self.b.rpc("agent", "switchover").get("result"))
        self.a.wait_state("ACTIVE")
        self.check(streams.wait(), "kill -9 of the agent, and back, with 24 streams")

    def test_rules_that_are_loaded_again_still_let_in_what_is_on_its_way(self):
        def let_in():
            shown = json.loads(self.a.run("nft", "-j", "list", "set", "netdev", "tandem_51", "drain").stdout)
            return any("elem" in item.get("set", {}) for item in shown["nftables"])

        streams = Streams(self.client, (1, 0, 0, 1))
        time.sleep(1)
        self.a.ask("agent", "switchover")
        self.b.wait_state("ACTIVE")
        self.assertEqual((self.a.state(), let_in()), ("DRAINING", True))
        self.a.run("nft", "flush", "ruleset")
        wait_for("it notices", lambda: "event=fence.vanished" in self.a.log_text("agent"), 2)
        self.assertEqual((self.a.state(), let_in()), ("DRAINING", True))
        self.check(streams.wait(), "switchover with 4 streams, and rules that were flushed")

    def test_too_big_is_told_to_both(self):
        """While both have connections to the address, either may be meant."""
        def told(node):
            lines = [line.split() for line in node.run("cat", "/proc/net/snmp").stdout.splitlines()]
            names, values = [line for line in lines if line[0] == "Icmp:"]
            return int(values[names.index("InDestUnreachs")])

        streams = Streams(self.client, (1, 0, 0, 1))
        time.sleep(1)
        self.a.ask("agent", "switchover")
        self.b.wait_state("ACTIVE")
        before = [told(node) for node in (self.a, self.b)]
        self.client.run(sys.executable, "-c", TOO_BIG)
        wait_for("both were told", lambda: [told(node) for node in (self.a, self.b)] == [n + 1 for n in before], 2)
        self.check(streams.wait(), "switchover with 4 streams")


class Reload(Moving):
    profile = "  profile: relaxed\n"

    def test_a_reload_of_addresses_while_a_move_drains_breaks_no_stream(self):
        def reload(groups):
            self.lab.config(proxy=PROXY, groups=groups, profile=self.profile)
            self.b.ask("agent", "reload")

        self.addCleanup(reload, GROUP)
        streams = Streams(self.client, (3, 3, 3, 3), SECONDS + 1)
        pulse = Pulse(self.client, rate=400, timeout_ms=5000, path="/echo")
        time.sleep(1)
        wait_for("the peer can take it", lambda: self.a.rpc("agent", "switchover").get("result"))
        self.b.wait_state("ACTIVE")
        count = 0
        while count < 20 and self.a.state() == "DRAINING":
            reload(GROUP if count % 2 else MORE)
            self.assertEqual(self.b.holds_vip("10.77.0.101"), count % 2 == 0)
            count += 1
            time.sleep(0.05)
        self.assertGreater(count, 2)
        self.check(streams.wait(), "%d reloads of the new owner" % count)
        self.assertEqual(failed(pulse.stop()), [])


if __name__ == "__main__":
    main()
