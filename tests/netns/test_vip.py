#!/usr/bin/env python3
"""The VIP stays where it belongs: against operators, wires, attackers and left-overs."""

import json
import os
import signal
import subprocess
import sys
import time

from lab import SLOW, VIP4, VIP6, LabTest, Pulse, failed, main, now_us, outcomes, takeover_ms, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))


class Vip(LabTest):
    timed = True

    def setUp(self):
        super().setUp()
        self.addCleanup(self.heal)

    def watch_stays(self, seconds, node, other):
        """The VIP is on `node` and not on `other`, all the time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.assertTrue(node.holds_vip(), "the VIP left " + node.name)
            self.assertFalse(other.holds_vip(), "the VIP came to " + other.name)
            time.sleep(0.02)

    def test_both_families_answer_through_the_vip(self):
        for url in ("http://%s/" % VIP4, "http://[%s]/" % VIP6):
            self.assertRegex(self.lab.curl(url).stdout, "^web[12] 10.77.0.2 ")

    def test_only_the_active_node_has_the_addresses(self):
        for vip in (VIP4, VIP6):
            self.assertTrue(self.a.holds_vip(vip))
            self.assertFalse(self.b.holds_vip(vip))

    def test_the_addresses_would_end_with_their_agent(self):
        shown = json.loads(self.a.run("ip", "-j", "addr", "show", "dev", "eth0").stdout)
        left = {a["local"]: a["valid_life_time"] for link in shown for a in link.get("addr_info", []) if "local" in a}
        for vip in (VIP4, VIP6):
            self.assertLessEqual(left[vip], 2)

    def test_a_vip_deleted_by_hand_comes_back(self):
        for vip, prefix in ((VIP4, 24), (VIP6, 64)):
            self.a.run("ip", "addr", "del", "%s/%d" % (vip, prefix), "dev", "eth0")
            wait_for("%s is back" % vip, lambda vip=vip: self.a.holds_vip(vip), 1)
        self.assertEqual(self.a.state(), "ACTIVE")
        self.assertRegex(self.lab.curl("http://%s/" % VIP4).stdout, "^web")

    def test_left_over_addresses_are_removed_at_start(self):
        self.b.stop("agent")
        self.b.run("ip", "addr", "add", VIP4 + "/24", "dev", "eth0")
        self.b.run("ip", "addr", "add", VIP6 + "/64", "dev", "eth0", "nodad")
        self.b.start_agent()
        wait_for("the left-overs are gone", lambda: not (self.b.holds_vip(VIP4) or self.b.holds_vip(VIP6)), 2)
        self.assertTrue(self.a.holds_vip())

    def test_one_cut_path_moves_nothing(self):
        for bridge in ("cable",):
            pulse = Pulse(self.client, rate=500)
            self.lab.port(self.a, bridge, False)
            self.watch_stays(1.5, self.a, self.b)
            paths = wait_for("the cut path is shown as down", lambda: {
                name: path for name, path in self.b.ask("agent", "status")["peer"]["paths"].items()
                if not path["up"]})
            self.assertEqual(list(paths), [bridge])
            self.lab.port(self.a, bridge, True)
            samples = pulse.stop()
            self.assertEqual(failed(samples), [], outcomes(samples))

    def test_lost_heartbeats_alone_move_nothing(self):
        """Every heartbeat dropped on every path, clients' traffic untouched: the LAN is asked first."""
        rule = ["-p", "udp", "--dport", "4242", "-j", "DROP"]
        if self.b.run("sh", "-c", "command -v iptables || command -v nft", check=False).returncode:
            self.skipTest("neither nft nor iptables is installed")
        if self.b.run("sh", "-c", "command -v nft", check=False).returncode == 0:
            cut = ["nft", "table inet cut { chain in { type filter hook input priority 0; udp dport 4242 drop; }; }"]
            mend = ["nft", "delete table inet cut"]
        else:
            cut, mend = ["iptables", "-A", "INPUT"] + rule, ["iptables", "-D", "INPUT"] + rule
        self.b.run(*cut)
        try:
            self.watch_stays(2, self.a, self.b)
            self.assertEqual(self.a.state(), "ACTIVE")
            self.assertNotEqual(self.b.state(), "ACTIVE")
        finally:
            self.b.run(*mend)
        wait_for("the paths are up again", lambda: all(
            path["up"] for path in self.b.ask("agent", "status")["peer"]["paths"].values()))

    def attack(self, mode, count=40):
        attacker = subprocess.Popen(
            self.lab.switch.inside([sys.executable, os.path.join(HERE, "replay.py"), "lan-lb-b", "10.77.0.2",
                                    count, mode]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (attacker.kill(), attacker.communicate()))
        self.assertEqual(attacker.stdout.readline(), "recorded\n")
        return attacker

    def dropped(self, why):
        """How many heartbeats lb-b dropped for this reason, on the path that the attacker speaks on."""
        return self.b.ask("agent", "status")["peer"]["paths"]["lan"]["dropped"].get(why, 0)

    def test_forged_heartbeats_are_dropped_and_counted(self):
        attacker = self.attack("forged")
        before = self.dropped("mac")
        print("go", file=attacker.stdin, flush=True)
        wait_for("forged heartbeats are counted", lambda: self.dropped("mac") >= before + 40, 5)
        self.assertEqual((self.a.state(), self.b.state()), ("ACTIVE", "STANDBY"))

    def test_replayed_heartbeats_do_not_keep_a_dead_node_alive(self):
        attacker = self.attack("same")
        before = self.dropped("replay")
        pulse = Pulse(self.client, rate=200)
        time.sleep(0.2)
        fault_us = self.lab.unplug(self.a)
        print("go", file=attacker.stdin, flush=True)
        self.b.wait_state("ACTIVE", timeout_s=3)
        time.sleep(0.3)
        self.assertLess(takeover_ms(pulse.stop(), fault_us, "lb-b"), 1500 * SLOW)
        self.assertGreater(self.dropped("replay"), before)

    def test_noise_on_the_heartbeat_port_is_ignored(self):
        self.client.run(sys.executable, "-c", "import os, socket\n"
                        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                        "for n in list(range(300)) + [1400]:\n"
                        "    for host in ('10.77.0.2', '10.77.0.3'): s.sendto(os.urandom(n), (host, 4242))\n")
        self.watch_stays(0.7, self.a, self.b)

    def test_a_switchover_moves_it_and_the_way_back_too(self):
        pulse = Pulse(self.client, rate=500)
        time.sleep(0.2)
        self.a.ask("agent", "switchover")
        self.lab.settle(self.b)
        self.assertFalse(self.a.holds_vip())
        self.b.ask("agent", "switchover", {"group": "web"})
        self.lab.settle(self.a)
        samples = pulse.stop()
        lost = failed(samples)
        # Established connections are cut for now, so a few requests of a fresh-connection client may be.
        self.assertLess(len(lost), 100 * SLOW, outcomes(samples))

    def test_a_switchover_to_a_node_that_cannot_serve_is_refused(self):
        self.b.kill("proxy")
        wait_for("the peer's proxy is known dead",
                 lambda: self.a.ask("agent", "status")["peer"]["proxy_ok"] is False)
        answer = self.a.rpc("agent", "switchover")
        self.assertIn("error", answer)
        self.assertTrue(answer["error"]["message"])
        self.watch_stays(0.5, self.a, self.b)

    def test_a_frozen_pair_does_not_move_until_resumed(self):
        for node in (self.a, self.b):
            node.ask("agent", "freeze")
            self.assertTrue(node.ask("agent", "status")["frozen"])
        self.a.kill("proxy")
        self.watch_stays(1, self.a, self.b)
        for node in (self.a, self.b):
            node.ask("agent", "resume")
            self.assertFalse(node.ask("agent", "status")["frozen"])
        self.b.wait_state("ACTIVE")

    def test_a_hung_agent_never_makes_two_owners_that_both_speak(self):
        """Frozen longer than the VIP lives, then woken: it must notice before it acts."""
        self.a.programs["agent"].send_signal(signal.SIGSTOP)
        wait_for("the VIP leaves the frozen node by itself", lambda: not self.a.holds_vip(), 4)
        self.b.wait_state("ACTIVE")
        self.a.programs["agent"].send_signal(signal.SIGCONT)
        self.a.wait_state("STANDBY")
        self.watch_stays(1, self.b, self.a)

    def test_a_clean_stop_of_the_agent_hands_over_at_once(self):
        pulse = Pulse(self.client, rate=500)
        time.sleep(0.2)
        fault_us = now_us()
        self.assertEqual(self.a.stop("agent"), 0)
        self.assertFalse(self.a.holds_vip())
        self.b.wait_state("ACTIVE", timeout_s=1)
        time.sleep(0.3)
        self.assertLess(takeover_ms(pulse.stop(), fault_us, "lb-b"), 300 * SLOW)


if __name__ == "__main__":
    main()
