"""What the tests of protocol: vrrp3 share: an agent on lb-a, Debian's keepalived on lb-b, and what tshark thinks of it.

Skipped where keepalived is not installed; the packets are read back where tshark is."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

import lab
from lab import SKIPPED, SLOW, VIP4, VIP6, Lab, wait_for

KEEPALIVED = shutil.which("keepalived", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
TSHARK, DUMPCAP = shutil.which("tshark"), shutil.which("dumpcap")
LINK_LOCAL = "fe80::5:1"
ADVERTISE_S = 0.2
# How much later than the protocol says something may be seen: polling, a busy machine.
SLACK_S = 0.15 * SLOW

VIPS = {4: [VIP4 + "/24"], 6: [LINK_LOCAL + "/64", VIP6 + "/64"]}

GROUP = """    web:
      vrid: 51
      interface: eth0
      virtual_ips: [%s]
      advertise: 200ms
"""


def group(families=(4, 6), **more):
    vips = ", ".join('"%s"' % vip for family in families for vip in VIPS[family])
    return GROUP % vips + "".join("      %s: %s\n" % (key, value) for key, value in more.items())


def skew(priority):
    return (256 - priority) * ADVERTISE_S / 256


def down(priority):
    return 3 * ADVERTISE_S + skew(priority)


KEEPALIVED_HEAD = """global_defs {
    vrrp_version 3
    script_user root
}
"""

INSTANCE = """vrrp_instance V%(family)d {
    state BACKUP
    interface eth0
    virtual_router_id 51
    priority %(priority)d
    advert_int %(advertise)g
    %(native)s
    %(more)s
    virtual_ipaddress {
        %(vips)s
    }
}
"""


class VrrpTest(unittest.TestCase):
    """lb-a runs the agent, lb-b what the test starts there; every test has a lab of its own."""

    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.close)
        self.a, self.b = self.lab.a, self.lab.b
        self.capture = None
        if TSHARK and DUMPCAP:
            self.capture = os.path.join(self.lab.dir, "vrrp.pcapng")
            self.a.start("dumpcap", DUMPCAP, "-q", "-i", "eth0", "-w", self.capture)
            wait_for("the capture runs", lambda: os.path.exists(self.capture))

    def close(self):
        broken = self._outcome.result.failures + self._outcome.result.errors if self._outcome else []
        self.lab.close(any(test is self for test, _ in broken))

    # --- the agents ---
    def agent(self, node=None, families=(4, 6), proxy="", **more):
        """The agent on lb-a, or another node; without a proxy unless asked for one."""
        self.lab.config(proxy=proxy, groups=group(families, **more), profile="  protocol: vrrp3\n")
        (node or self.a).start_agent()

    def vrrp(self, node=None):
        return (node or self.a).group()["vrrp"]

    # --- keepalived on lb-b ---
    def keepalived(self, priority, families=(4, 6), more="", advertise=ADVERTISE_S, by_family=None):
        text = KEEPALIVED_HEAD
        for family in families:
            text += INSTANCE % {
                "family": family, "priority": priority, "advertise": advertise,
                "native": "native_ipv6" if family == 6 else "", "vips": "\n        ".join(VIPS[family]),
                "more": more + (by_family or {}).get(family, "")}
        if len(families) > 1:
            text += "vrrp_sync_group BOTH {\n    group {\n        V4\n        V6\n    }\n}\n"
        conf = os.path.join(self.b.dir, "keepalived.conf")
        with open(conf, "w", encoding="utf-8") as f:
            f.write(text)
        for stale in "prc":  # of one that was killed
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.b.dir, "keepalived." + stale))
        files = [arg for flag in "prc" for arg in ("-" + flag, os.path.join(self.b.dir, "keepalived." + flag))]
        return self.b.start("keepalived", KEEPALIVED, "-n", "-l", "-D", "-f", conf, *files)

    def kill_keepalived(self):
        """Both its processes, at once and without a word."""
        parent = self.b.programs["keepalived"].pid
        with open("/proc/%d/task/%d/children" % (parent, parent), encoding="ascii") as f:
            children = [int(pid) for pid in f.read().split()]
        for pid in [parent] + children:
            os.kill(pid, signal.SIGKILL)
        self.b.programs["keepalived"].wait()

    def keepalived_has_it(self, timeout_s=10.0, families=(4, 6)):
        vips = [vip.split("/")[0] for family in families for vip in VIPS[family]]
        wait_for("keepalived has %s" % vips,
                 lambda: set(vips) <= set(self.b.addresses()), timeout_s)

    def seconds_until(self, what, probe, timeout_s=10.0):
        start = time.monotonic()
        wait_for(what, probe, timeout_s, 0.005)
        return time.monotonic() - start

    def holds_all(self, node, families=(4, 6)):
        vips = {vip.split("/")[0] for family in families for vip in VIPS[family]}
        return vips <= set(node.addresses())

    def holds_none(self, node):
        return not {VIP4, VIP6, LINK_LOCAL} & set(node.addresses())

    # --- the wire ---
    def check_wire(self):
        """What tshark thinks of every advertisement on lb-a's wire, keepalived's and ours."""
        if not self.capture:
            return
        self.a.stop("dumpcap")
        text = subprocess.run([TSHARK, "-r", self.capture, "-V", "-Y", "vrrp"], capture_output=True, text=True,
                              check=False, timeout=60 * SLOW).stdout
        self.assertIn("Virtual Rtr ID: 51", text)
        self.assertNotIn("Malformed", text)
        self.assertNotIn("[incorrect", text)
        self.assertNotIn("Expert Info", text)

    def captured_from_us(self):
        """(priority, checksum, TTL) of our IPv4 advertisements."""
        self.a.stop("dumpcap")
        lines = subprocess.run([TSHARK, "-r", self.capture, "-Y", "vrrp && ip.src == 10.77.0.2", "-T", "fields", "-e",
                                "vrrp.prio", "-e", "vrrp.checksum", "-e", "ip.ttl"], capture_output=True, text=True,
                               check=True, timeout=60 * SLOW).stdout.split("\n")
        return [tuple(int(word, 0) for word in line.split()) for line in lines if line.strip()]


def main():
    if not KEEPALIVED:
        print("skipped: keepalived is not installed")
        sys.exit(SKIPPED)
    lab.main()
