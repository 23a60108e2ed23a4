#!/usr/bin/env python3
"""protocol: vrrp3 against Debian's keepalived, which is the other box of the pair, and against itself.

Skipped where keepalived is not installed; the packets are read back where tshark is."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

from lab import PROXY, SKIPPED, SLOW, VIP4, VIP6, Lab, main, wait_for

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

# Advertisements of 10.77.0.100 from lb-b's address: priority, TTL, form of the checksum, first byte, how many.
MAKER = """
import socket, struct, sys, time
priority, ttl, form, first, times = sys.argv[1:]
priority, ttl, first, times = int(priority), int(ttl), int(first, 16), int(times)
def fold(data):
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.77.0.3"))
body = struct.pack(">BBBBHH", first, 51, priority, 1, 20, 0) + socket.inet_aton("10.77.0.100")
pseudo = socket.inet_aton("10.77.0.3") + socket.inet_aton("224.0.0.18") + struct.pack(">HH", 112, len(body))
total = {"rfc": fold(body), "pseudo": fold(pseudo + body), "bad": fold(body) ^ 0x5555}[form]
for i in range(times):
    s.sendto(body[:6] + struct.pack(">H", total) + body[8:], ("224.0.0.18", 0))
    time.sleep(0.1)
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


class AsBackup(VrrpTest):
    def test_it_stands_by_while_keepalived_advertises_and_takes_over_when_that_leaves(self):
        self.keepalived(200)
        self.keepalived_has_it()
        self.agent(priority=100)
        self.a.wait_state("STANDBY")
        time.sleep(2 * down(100))
        shown = self.a.group()
        self.assertEqual((shown["state"], shown["protocol"]), ("STANDBY", "vrrp3"))
        self.assertEqual((shown["vrrp"]["priority"], shown["vrrp"]["peer_priority"]), (100, 200))
        self.assertIn(shown["vrrp"]["master"][:5], ("10.77", "fe80:"))
        self.assertEqual(shown["vrrp"]["dropped"], {})
        self.assertEqual(shown["vrrp"]["differing"], 0)
        self.assertTrue(self.holds_none(self.a))
        # priority 0: no more than the skew to wait
        self.b.programs["keepalived"].terminate()
        took = self.seconds_until("we have it", lambda: self.holds_all(self.a))
        self.assertLess(took, skew(100) + ADVERTISE_S + SLACK_S)
        self.assertEqual(self.a.group()["reason"], "the peer gave it up with priority 0")
        wait_for("keepalived has let go", lambda: self.holds_none(self.b))
        self.check_wire()

    def test_a_killed_keepalived_is_followed_within_three_intervals_and_the_skew(self):
        for families in ((4,), (6,)):
            with self.subTest(families=families):
                self.keepalived(200, families)
                self.keepalived_has_it(families=families)
                self.agent(families=families, priority=50)
                self.a.wait_state("STANDBY")
                time.sleep(0.5)
                self.kill_keepalived()
                took = self.seconds_until("we claim", lambda: self.a.state() == "ACTIVE")
                self.assertLess(took, down(50) + SLACK_S)
                self.assertGreater(took, down(50) - ADVERTISE_S - SLACK_S)
                self.assertTrue(self.holds_all(self.a, families))
                self.a.stop("agent")
                for vip in VIPS[families[0]]:
                    self.b.run("ip", "addr", "del", vip, "dev", "eth0", check=False)

    def test_it_takes_it_from_a_lower_priority_and_gives_it_to_a_higher(self):
        self.keepalived(100)
        self.keepalived_has_it()
        self.agent(priority=150)
        self.a.wait_state("ACTIVE")
        self.assertEqual(self.a.group()["reason"], "the peer has the lower priority")
        wait_for("keepalived yields", lambda: self.holds_none(self.b))
        self.kill_keepalived()
        self.keepalived(200)
        self.keepalived_has_it()
        self.a.wait_state("STANDBY")
        self.assertTrue(self.holds_none(self.a))
        self.assertEqual(self.a.group()["reason"], "the peer advertises a higher priority")
        self.check_wire()

    def test_without_preemption_a_lower_priority_keeps_it(self):
        for said in ({"preempt": "false"}, {"failback": "manual"}):
            with self.subTest(said=said):
                self.keepalived(50)
                self.keepalived_has_it()
                self.agent(priority=200, **said)
                self.a.wait_state("STANDBY")
                time.sleep(2 * down(50))
                self.assertEqual(self.a.state(), "STANDBY")
                self.assertTrue(self.holds_all(self.b))
                self.b.stop("keepalived")
                self.a.wait_state("ACTIVE")
                self.a.stop("agent")

    def test_preemption_waits_as_long_as_failback_says(self):
        self.keepalived(50)
        self.keepalived_has_it()
        self.agent(priority=200, failback="after 4s")
        self.a.wait_state("STANDBY")
        took = self.seconds_until("we preempt", lambda: self.a.state() == "ACTIVE")
        self.assertGreater(took, 2.5)
        wait_for("keepalived yields", lambda: self.holds_none(self.b))

    def test_a_slower_masters_interval_is_learned(self):
        self.keepalived(200, (4,), advertise=1)
        self.keepalived_has_it(families=(4,))
        self.agent(families=(4,), priority=100)
        self.a.wait_state("STANDBY")
        wait_for("it is learned", lambda: self.vrrp()["active_down_ms"] > 3000)
        time.sleep(2)
        self.assertEqual(self.a.state(), "STANDBY")


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


class Checksums(VrrpTest):
    def maker(self, priority, ttl=255, form="rfc", first=0x31, times=1):
        self.b.run("python3", "-c", MAKER, priority, ttl, form, "%x" % first, times)

    def test_the_form_of_rfc_9568_is_understood_and_answered_in_kind(self):
        self.agent(families=(4,), priority=100)
        self.a.wait_state("STANDBY")
        self.maker(200, form="rfc", times=12)
        self.assertEqual(self.a.state(), "STANDBY")
        shown = self.vrrp()
        self.assertEqual((shown["checksum"], shown["master"], shown["peer_priority"]), ("rfc9568", "10.77.0.3", 200))
        self.maker(0, form="rfc")
        self.a.wait_state("ACTIVE")
        time.sleep(0.3)
        if self.capture:
            sent = self.captured_from_us()
            self.assertTrue(sent)
            # 3133 + 6401 + 0014 + 0a4d + 0064 = 9ff9
            self.assertEqual({(100, 0x6006, 255)}, set(sent))

    def test_the_form_of_keepalived_is_what_a_silent_backup_gets_to_hear(self):
        self.agent(families=(4,), priority=200)
        self.keepalived(100, (4,))
        self.a.wait_state("ACTIVE")
        time.sleep(2 * down(100))
        self.assertTrue(self.holds_none(self.b))
        self.assertNotIn("Invalid VRRPv3 checksum", self.b.log_text("keepalived"))
        self.check_wire()

    def test_what_is_wrong_is_counted_by_cause_and_moves_nothing(self):
        self.agent(families=(4,), priority=100)
        self.a.wait_state("ACTIVE")
        for wrong, cause in (({"ttl": 64}, "ttl"), ({"form": "bad"}, "checksum"), ({"first": 0x21}, "version"),
                             ({"first": 0x32}, "type")):
            self.maker(254, **wrong)
            wait_for("%s is counted" % cause, lambda cause=cause: self.vrrp()["dropped"].get(cause) == 1)
        self.assertEqual(self.a.state(), "ACTIVE")
        self.assertIn("cause=checksum", self.a.log_text("agent"))
        self.maker(254, form="pseudo")
        self.a.wait_state("STANDBY")


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
    if not KEEPALIVED:
        print("skipped: keepalived is not installed")
        sys.exit(SKIPPED)
    main()
