#!/usr/bin/env python3
"""The address moves, planned or not, and its clients speak TLS: HTTP/1.1, HTTP/2 and WebSockets over either."""

import collections
import json
import os
import subprocess
import sys
import time

from lab import SLOW, VIP4, VIP6, Lab, LabTest, main, now_us, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
PORT = 8090
PROXY = """listeners:
  http: {bind: ":80", redirect: https}
  https:
    bind: ":443"
    tls: {certificates: [{cert: %%s/site.crt, key: %%s/site.key}]}
    pool: web
pools:
  web:
    servers:
      web1: {address: "10.77.0.21:%d"}
      web2: {address: "10.77.0.22:%d"}
    health: {http: /echo, every: 1s}
log: {access: off}
""" % (PORT, PORT)
SECONDS = float(os.environ.get("MOVE_SECONDS", "4"))
BROWSERS = int(os.environ.get("MOVE_BROWSERS", "1"))  # for each address
STREAMS = [int(n) for n in os.environ.get("MOVE_STREAMS", "2 1 2 2").split()]
RETURNERS = 5  # of each protocol, for each address
VERSIONS = ("-tls1_2", "-tls1_3")
AT = ("%s:443" % VIP4, "[%s]:443" % VIP6)
ASK = b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
NOT_YET = 2**31 - 1  # RFC 9113 6.8: whatever is on its way is still served


class Tls(LabTest):
    @classmethod
    def setUpClass(cls):
        cls.lab = lab = Lab()
        try:
            cls.ca = os.path.join(lab.dir, "site.crt")
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-keyout", os.path.join(lab.dir, "site.key"), "-out", cls.ca, "-days", "2", "-subj",
                            "/CN=x", "-addext", "subjectAltName=DNS:x,IP:%s,IP:%s" % (VIP4, VIP6)],
                           check=True, capture_output=True, timeout=30 * SLOW)
            for node in lab.web:
                node.start("origin", sys.executable, os.path.join(HERE, "origin.py"), PORT)
            # Nothing here is about milliseconds: a busy machine may take its time.
            lab.start_pair(proxy=PROXY % (lab.dir, lab.dir), profile="  profile: relaxed\n")
        except BaseException:
            lab.close(True)
            raise

    def setUp(self):
        super().setUp()
        self.lab.settle()
        self.owner = self.lab.active()
        self.other = self.lab.peer_of(self.owner)

    def start(self, program, *argv):
        name = "%s.%d" % (program, now_us())
        self.client.start(name, sys.executable, os.path.join(HERE, program), *argv)
        return name

    def ended(self, name):
        """What it printed."""
        child = self.client.programs.pop(name)
        if child.wait(timeout=60 * SLOW):
            raise AssertionError(self.client.log_text(name))
        return json.loads(self.client.log_text(name))

    def check(self, kinds):
        for name, k in sorted(kinds.items()):
            print("\n    %s: %d good, %d failed, longest wait %.1f ms" % (name, k["good"], len(k["failed"]), k["worst_ms"]),
                  file=sys.stderr, end="")
        for name, kind in kinds.items():
            self.assertEqual(kind["failed"], [], name)
            self.assertGreater(kind["good"], 0, name)

    @staticmethod
    def connections(node):
        """Those of HTTP/2, and all of them."""
        https = node.ask("proxy", "status")["listeners"]["https"]
        return https["h2_connections"], https["connections"]

    def moved(self):
        """A peer that is too busy to get ready in time leaves the address where it is: it is asked again."""
        if self.owner.state() == "ACTIVE":
            self.owner.rpc("agent", "switchover")
        return self.other.state() == "ACTIVE"

    def resumed(self, version, address, new=False):
        """Whether s_client's session, of whoever it was that gave it, is resumed; a new one is not, and is kept."""
        file = os.path.join(self.lab.dir, "session" + version)
        done = subprocess.run(self.client.inside(
            ["openssl", "s_client", "-connect", address, version, "-verify_return_error", "-CAfile", self.ca,
             "-verify_ip", address.rpartition(":")[0].strip("[]"), "-ign_eof", "-sess_out" if new else "-sess_in", file]),
            input=ASK, capture_output=True, timeout=20 * SLOW, check=False)
        said = done.stdout.decode(errors="replace")
        self.assertIn("HTTP/1.1 200 OK", said, done.stderr.decode(errors="replace"))
        return "\nReused, TLSv1." in said

    def begin_sessions(self):
        """With who has the address now."""
        for version in VERSIONS:
            self.assertFalse(self.resumed(version, AT[0], True))

    def check_sessions(self):
        """Nothing of them was copied, and the other node resumes them, at either address."""
        before = self.resumed_total()
        for version in VERSIONS:
            for address in AT:
                self.assertTrue(self.resumed(version, address), (version, address))
        self.assertGreaterEqual(self.resumed_total() - before, 4)

    def resumed_total(self):
        return self.other.ask("proxy", "status")["tls_handshakes"]["resumed_total"]

    def test_a_switchover_breaks_nothing_and_browsers_are_sent_to_the_other_node(self):
        self.begin_sessions()
        common = ("--ca", self.ca, "-p", 5 * SLOW, "-e", 200)
        streams = self.start("streams.py", *common, SECONDS, *STREAMS, *AT)
        browsers = self.start("browsers.py", *common, SECONDS, BROWSERS, *AT)
        wait_for("all are there", lambda: self.connections(self.owner)[0] >= 2 * BROWSERS and
                 self.connections(self.owner)[1] >= 2 * (BROWSERS + sum(STREAMS)))
        time.sleep(0.2)
        wait_for("it moves", self.moved, every_s=0.05)
        wait_for("the browsers have come", lambda: self.connections(self.other)[0] >= 2 * BROWSERS)
        self.check_sessions()
        told = self.ended(browsers)
        self.check(dict(self.ended(streams), **told["kinds"]))
        for *before, now in told["browsers"]:
            # Who was told just before the address moved may have come to the same node once more.
            self.assertGreater(len(before), 0, told["browsers"])
            for c in before:
                (warned, _), (last, _) = c["goaways"]
                self.assertEqual((warned, [code for _, code in c["goaways"]]), (NOT_YET, [0, 0]))
                self.assertLessEqual(last, c["last"])
                self.assertTrue(c["over"])
            self.assertEqual(now["goaways"], [])
        self.owner.wait_state("STANDBY")  # nobody is left there

    def revive(self, node):
        """It was dead and still has those who were told: nobody told it."""
        self.lab.plug(node)
        node.kill("proxy")
        node.start_proxy()
        node.forgive()

    def test_clients_of_a_dead_node_are_told_and_resume_at_the_other(self):
        self.begin_sessions()
        out, count = os.path.join(self.client.dir, "returners.%d" % now_us()), 4 * RETURNERS
        wait_for("there is a copy", lambda: self.other.ask("agent", "status")["peer"]["copy"]["connected"])
        self.start("returners.py", out, self.ca, RETURNERS, VIP4, VIP6)

        def lines():
            if not os.path.exists(out):
                return []
            with open(out, encoding="ascii") as f:
                return [line for line in f if line.endswith("\n")]

        wait_for("all are served", lines, 60)
        wait_for("the copy has them", lambda: self.other.group()["peer_connections"] >= count)
        self.addCleanup(self.revive, self.owner)
        before = time.time_ns()
        self.lab.unplug(self.owner)
        self.other.wait_state("ACTIVE")
        wait_for("all have come back", lambda: len(lines()) == 1 + count, 10)
        found = [json.loads(line) for line in lines()[1:]]
        told, back = (sorted((one[what] - before) / 1e6 for one in found) for what in ("told_ns", "back_ns"))
        print("\n    %d clients: told %.0f to %.0f ms, and served again %.0f to %.0f ms after the death" %
              (count, told[0], told[-1], back[0], back[-1]), file=sys.stderr)
        self.assertEqual(collections.Counter((one["address"], one["protocol"]) for one in found), {
            (address, protocol): RETURNERS for address in (VIP4, VIP6) for protocol in ("h2", "http/1.1")})
        self.assertEqual({(one["how"], one["reused"]) for one in found}, {("reset", True)})
        # Their own timeouts would have been a minute.
        self.assertLess(back[-1], 10000 * SLOW)
        self.check_sessions()


if __name__ == "__main__":
    main()
