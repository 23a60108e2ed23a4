#!/usr/bin/env python3
"""protocol: vrrp3 as the backup of a keepalived, and the two forms of the checksum."""

import time

from lab import wait_for
from vrrp import ADVERTISE_S, SLACK_S, VIPS, VrrpTest, down, main, skew

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


class Checksums(VrrpTest):
    def maker(self, priority, ttl=255, form="rfc", first=0x31, times=1):
        self.b.run("python3", "-c", MAKER, priority, ttl, form, "%x" % first, times)

    def maker_beside(self, priority, form, times):
        maker = self.b.start("maker", "python3", "-c", MAKER, priority, 255, form, "31", times)
        time.sleep(0.3)
        return maker

    def test_the_form_of_rfc_9568_is_understood_and_answered_in_kind(self):
        sent_first = self.maker_beside(200, form="rfc", times=40)
        self.agent(families=(4,), priority=100)
        self.a.wait_state("STANDBY")
        sent_first.wait()
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


if __name__ == "__main__":
    main()
