#!/usr/bin/env python3
"""What happens to an agent beside the faults of its pair: interfaces, addresses and files that change under it."""

import os
import signal
import time

from lab import GROUP, VIP4, VIP6, LAN, LabTest, Pulse, failed, main, outcomes, wait_for

# A gratuitous ARP for the VIP, from a MAC that is nobody's.
CLAIM = """
import socket
vip = socket.inet_aton("%s")
mac = bytes.fromhex("020000000099")
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
    s.bind(("eth0", 0))
    s.send(b"\\xff" * 6 + mac + bytes.fromhex("08060001080006040001") + mac + vip + bytes(6) + vip)
""" % VIP4


class Agent(LabTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.heal)
        self.active = self.lab.active()
        self.peer = self.lab.peer_of(self.active)

    def reload(self, **config):
        self.lab.config(**config)
        for node in (self.a, self.b):
            node.ask("agent", "reload")

    def test_an_interface_that_goes_and_comes_back_is_used_again(self):
        node, peer, host = self.active, self.peer, LAN[self.active.name]
        self.lab.switch.run("ip", "link", "del", "lan-" + node.name)
        peer.wait_state("ACTIVE")
        self.assertEqual(node.state(), "FAULT")
        self.lab.wire(node, "lan", "eth0", ["10.77.0.%d/24" % host, "fd77::%d/64" % host])
        self.lab.settle(peer)
        peer.ask("agent", "switchover")
        self.lab.settle(node)
        self.assertTrue(node.holds_vip(VIP4) and node.holds_vip(VIP6))

    def test_a_renamed_interface_keeps_no_vip(self):
        node, peer = self.active, self.peer
        node.run("ip", "link", "set", "eth0", "name", "eth9")
        self.addCleanup(node.run, "ip", "link", "set", "eth9", "name", "eth0")
        peer.wait_state("ACTIVE")
        shown = node.run("ip", "addr", "show", "dev", "eth9").stdout
        self.assertNotIn(VIP4 + "/", shown)
        self.assertNotIn(VIP6 + "/", shown)

    def test_an_interface_that_leaves_a_bridge_is_still_there(self):
        gone = self.peer.log_text("agent").count("interface is gone")
        self.peer.run("ip", "link", "add", "br9", "type", "bridge")
        self.addCleanup(self.peer.run, "ip", "link", "del", "br9")
        for master in (["master", "br9"], ["nomaster"]):
            self.peer.run("ip", "link", "set", "eth0", *master)
        time.sleep(0.2)
        self.assertEqual(self.peer.log_text("agent").count("interface is gone"), gone)

    def test_a_reload_while_the_network_is_asked_asks_anew(self):
        node, peer = self.active, self.peer
        self.reload(profile="  times: {probe: 1s, claim_window: 3s}\n")
        node.kill("agent")
        peer.wait_state("PROBING")
        peer.ask("agent", "reload")
        self.assertEqual(peer.state(), "STANDBY")
        peer.wait_state("ACTIVE")
        node.start_agent()
        self.reload()

    def test_somebody_else_who_claims_the_vip_is_reported(self):
        self.client.run("python3", "-c", CLAIM)
        wait_for("the conflict is an alarm", lambda: self.active.group()["alarms"])
        self.assertIn("event=address.conflict", self.active.log_text("agent"))
        self.assertIn("mac=02:00:00:00:00:99", self.active.log_text("agent"))
        self.assertEqual(self.active.state(), "ACTIVE")

    def test_a_vip_that_somebody_adds_to_the_standby_is_taken_away(self):
        for address in (VIP4 + "/24", VIP4 + "/32", VIP6 + "/64"):
            self.peer.run("ip", "addr", "add", address, "dev", "eth0")
            wait_for("%s is gone" % address, lambda: not self.peer.holds_vip(VIP4) and not self.peer.holds_vip(VIP6), 1)
        self.assertTrue(self.active.holds_vip())

    def test_lost_kernel_events_are_made_up_for(self):
        batch = os.path.join(self.peer.dir, "batch")
        with open(batch, "w", encoding="ascii") as f:
            for i in range(30000):
                address = "10.%d.%d.%d/32" % (200 + i // 62500, i // 250 % 250, i % 250)
                f.write("addr add %s dev lo\naddr del %s dev lo\n" % (address, address))
        agent = self.peer.programs["agent"]
        agent.send_signal(signal.SIGSTOP)
        self.peer.run("ip", "-batch", batch)
        self.peer.run("ip", "addr", "add", VIP4 + "/24", "dev", "eth0")
        agent.send_signal(signal.SIGCONT)
        wait_for("the address that came unseen is gone", lambda: not self.peer.holds_vip(), 2)
        self.assertIn("event=netlink.overrun", self.peer.log_text("agent"))

    def test_a_second_agent_is_kept_out(self):
        second = self.active.run(*self.active.daemon_argv("agent"), check=False)
        self.assertEqual(second.returncode, 1)
        self.assertIn("another tandem-failover is running", second.stderr)
        self.assertTrue(self.active.holds_vip())

    def test_a_gateway_that_is_dead_for_both_moves_nothing(self):
        self.client.run("ip", "addr", "add", "10.77.0.250/24", "dev", "eth0")
        self.reload(profile="  gateway: 10.77.0.250\n")
        self.addCleanup(self.reload)
        self.lab.settle(self.active)
        epoch = self.active.group()["epoch"]
        self.client.run("ip", "addr", "del", "10.77.0.250/24", "dev", "eth0")
        wait_for("both miss it", lambda: self.peer.state() == "FAULT" and self.active.group()["alarms"])
        self.assertEqual((self.active.state(), self.active.group()["epoch"]), ("ACTIVE", epoch))

    def test_a_peer_with_another_key_moves_nothing_and_is_told_of(self):
        key, epoch = os.path.join(self.lab.dir, "other.key"), self.active.group()["epoch"]
        with open(key, "w", encoding="ascii") as f:
            os.chmod(key, 0o600)
            f.write("another secret of the other node\n")
        self.addCleanup(self.reload)
        before = [node.log_text("agent").count("cause=key") for node in (self.active, self.peer)]
        self.peer.write_config(self.lab.config().replace(self.lab.dir + "/pair.key", key))
        self.peer.ask("agent", "reload")
        for node, count in zip((self.active, self.peer), before):  # once for each path
            wait_for("the log of %s says so" % node.name, lambda node=node, count=count: node.log_text(
                "agent").count("cause=key") == count + 2)
            self.assertIn("does secret_file differ?", node.log_text("agent"))
        wait_for("it asks, and is answered", lambda: self.peer.group()["held"])
        self.assertRegex(self.peer.ctl("status").stdout, r"path (lan|cable), \d+ dropped \(key\)")
        self.assertEqual((self.active.state(), self.active.group()["epoch"]), ("ACTIVE", epoch))

    def test_a_reload_changes_addresses_and_groups_and_moves_nothing_else(self):
        epoch = self.active.group()["epoch"]
        pulse = Pulse(self.client, rate=100, timeout_ms=3000)
        self.reload(groups=GROUP.replace("10.77.0.100/24,", "10.77.0.100/24, 10.77.0.101/24,") + """    two:
      vrid: 52
      interface: eth0
      virtual_ips: [10.77.0.110/24]
      prefer: lb-b
""")
        self.assertTrue(self.active.holds_vip("10.77.0.101"))
        self.b.wait_state("ACTIVE", "two")
        self.assertTrue(self.b.holds_vip("10.77.0.110"))
        wait_for("both know that they agree", lambda: self.a.ask("agent", "status")["config"]["peer_matches"])
        self.reload()
        wait_for("the second group is gone", lambda: "two" not in self.b.ask("agent", "status")["groups"])
        self.assertFalse(self.active.holds_vip("10.77.0.101"))
        self.assertFalse(self.b.holds_vip("10.77.0.110"))
        samples = pulse.stop()
        self.assertEqual(len(failed(samples)), 0, outcomes(samples))
        self.assertEqual((self.active.state(), self.active.group()["epoch"]), ("ACTIVE", epoch))

    def test_an_owner_whose_paths_a_reload_takes_away_ends_in_good_order(self):
        self.addCleanup(self.reload)
        agents = [node.programs["agent"] for node in (self.a, self.b)]
        self.reload(groups=GROUP + "      protocol: vrrp3\n")
        wait_for("one node is active with VRRP", lambda: sorted(
            node.state() for node in (self.a, self.b)) == ["ACTIVE", "STANDBY"], 20)
        self.assertEqual([agent.poll() for agent in agents], [None, None])
        for node in (self.a, self.b):
            self.assertNotIn("table netdev tandem_51 ", node.run("nft", "list", "ruleset").stdout)

    def test_a_file_with_faults_changes_nothing(self):
        generation = self.active.ask("agent", "status")["config"]["generation"]
        self.addCleanup(self.lab.config)
        self.active.write_config("failover: [\n")
        answer = self.active.rpc("agent", "reload")
        self.assertIn("not valid YAML", answer["error"]["message"])
        self.active.programs["agent"].send_signal(signal.SIGHUP)
        wait_for("the signal was heard", lambda: self.active.log_text("agent").count("event=config.refused") >= 2)
        status = self.active.ask("agent", "status")
        self.assertEqual((status["config"]["generation"], status["groups"]["web"]["state"]), (generation, "ACTIVE"))

    def test_a_check_of_a_pipe_holds_up_nobody(self):
        pipe = os.path.join(self.lab.dir, "pipe")
        os.mkfifo(pipe)
        self.addCleanup(os.unlink, pipe)
        answer = self.active.rpc("agent", "check", {"file": pipe})
        self.assertIn("not a regular file", answer["error"]["message"])

    def test_the_heartbeats_move_to_another_port(self):
        self.addCleanup(self.reload)
        self.reload(profile="  port: 4300\n")
        for node in (self.a, self.b):
            wait_for("all paths are up", lambda node=node: all(
                path["up"] and path["last_heard_ms"] < 250
                for path in node.ask("agent", "status")["peer"]["paths"].values()))
        self.assertIn(":4300", self.a.run("ss", "-Hlun").stdout)
        self.assertNotIn(":4242", self.a.run("ss", "-Hlun").stdout)
        self.assertEqual(sorted([self.a.state(), self.b.state()]), ["ACTIVE", "STANDBY"])

    def test_an_agent_that_was_held_up_does_not_blame_the_proxy(self):
        proxies = self.peer.log_text("agent").count("event=proxy.state")
        agent = self.peer.programs["agent"]
        agent.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        agent.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        self.assertEqual(self.peer.state(), "STANDBY")
        self.assertEqual(self.peer.log_text("agent").count("event=proxy.state"), proxies)


if __name__ == "__main__":
    main()
