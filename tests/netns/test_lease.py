#!/usr/bin/env python3
"""One owner at every instant, held by the kernel: measured on the wire by somebody who believes nobody."""

import json
import os
import signal
import socket
import sys
import time

from lab import GROUP, LAN, SLOW, VIP4, VIP6, LabTest, Pulse, failed, main, now_us, outcomes, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = "tandem_51"
LEASE_MS = 250
# What asks every 2 ms notices late, and a busy machine is late itself.
LATE_MS = 60

# What an agent of another time might still send: argv: own MAC and address, what. Prints the errno.
STALE = """
import errno, socket, struct, sys
mac, ip, what = bytes.fromhex(sys.argv[1].replace(":", "")), socket.inet_aton(sys.argv[2]), sys.argv[3]
vip, vip6 = socket.inet_aton("%s"), socket.inet_pton(socket.AF_INET6, "%s")
peer = socket.inet_aton("10.77.0.2" if sys.argv[2] == "10.77.0.3" else "10.77.0.3")
if what == "arp":
    frame = b"\\xff" * 6 + mac + bytes.fromhex("08060001080006040001") + mac + vip + bytes(6) + vip
elif what == "na":
    body = bytes.fromhex("8800000020000000") + vip6 + b"\\x02\\x01" + mac
    frame = (b"\\x33\\x33\\0\\0\\0\\1" + mac + b"\\x86\\xdd" + struct.pack("!IHBB", 6 << 28, len(body), 58, 255)
             + vip6 + bytes.fromhex("ff02" + 13 * "00" + "01") + body)
else:
    body = bytes([int(what), 1, 0, 0]) + struct.pack("!H", 51) + bytes(106)
    udp = struct.pack("!HHHH", 4242, 4242, 8 + len(body), 0) + body
    frame = (b"\\xff" * 6 + mac + b"\\x08\\x00" + struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 255, 17, 0)
             + ip + peer + udp)
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
    s.bind(("eth0", 0))
    try:
        s.send(frame)
        print("sent")
    except OSError as e:
        print(errno.errorcode[e.errno])
""" % (VIP4, VIP6)

# An address probe: who is about to claim asks whether anybody has it.
PROBE = """
import socket, struct, sys
vip, vip6 = socket.inet_aton("%s"), socket.inet_pton(socket.AF_INET6, "%s")
mac = bytes.fromhex("020000000099")
if sys.argv[1] == "arp":
    frame = b"\\xff" * 6 + mac + bytes.fromhex("08060001080006040001") + mac + bytes(10) + vip
else:
    group = bytes.fromhex("ff0200000000000000000001ff") + vip6[-3:]
    body = bytes.fromhex("8700000000000000") + vip6
    frame = (b"\\x33\\x33" + group[-4:] + mac + b"\\x86\\xdd" + struct.pack("!IHBB", 6 << 28, len(body), 58, 255)
             + bytes(16) + group + body)
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
    s.bind(("eth0", 0))
    s.send(frame)
""" % (VIP4, VIP6)


# More connections to the address, all within one node, than fit into a table together with the second chance.
MANY = """
import resource, socket, time
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
kept = [socket.create_server(("%s", 9999), backlog=100)]
for _ in range(8300):
    kept += [socket.create_connection(("%s", 9999)), kept[0].accept()[0]]
print("ready", flush=True)
time.sleep(60)
""" % (VIP4, VIP4)


def mac_of(node):
    return json.loads(node.run("ip", "-j", "link", "show", "dev", "eth0").stdout)[0]["address"]


class Watch:
    """observe.py at work on the client."""

    def __init__(self, client, nodes):
        self.client, self.name = client, "observe.%d" % now_us()
        self.macs = {mac_of(node): node.name for node in nodes}
        client.start(self.name, sys.executable, os.path.join(HERE, "observe.py"), "eth0", VIP4, VIP6, *self.macs)
        wait_for("the observer is answered", lambda: client.log_text(self.name).count("\n") > 50)

    def stop(self):
        """{question: {node: [times]}}"""
        self.client.stop(self.name)
        heard = {}
        for line in self.client.log_text(self.name).splitlines():
            at, what, mac = line.split()
            heard.setdefault(what, {}).setdefault(self.macs[mac], []).append(int(at))
        return heard


class Lease(LabTest):
    timed = True

    def setUp(self):
        super().setUp()
        self.addCleanup(self.heal)

    def members(self, node, name):
        shown = json.loads(node.run("nft", "-j", "list", "set", "netdev", TABLE, name).stdout)
        return next(item["set"] for item in shown["nftables"] if "set" in item).get("elem", [])

    def check_one_owner(self, heard, old, new, fault_us, limit_ms):
        """All answers of the old owner come before all of the new one."""
        told = []
        self.assertEqual(sorted(heard), ["arp", "nd", "tcp4", "tcp6"])
        for what, nodes in sorted(heard.items()):
            self.assertIn(new.name, nodes, "%s: the new owner never answered" % what)
            last, first = max(nodes[old.name]), min(nodes[new.name])
            told.append("%s %.0f/%.0f" % (what, (last - fault_us) / 1000, (first - fault_us) / 1000))
            self.assertLess(last, first, "two owners for %.1f ms (%s)" % ((last - first) / 1000, what))
            self.assertLess((last - fault_us) / 1000, limit_ms * SLOW, what)
        print("\n    ms after the fault: last answer of the old owner/first of the new: " + ", ".join(told),
              file=sys.stderr)

    def test_a_killed_agent_loses_the_address_in_the_kernel(self):
        watch = Watch(self.client, (self.a, self.b))
        fault_us = now_us()
        self.a.kill("agent", wait=False)
        self.b.wait_state("ACTIVE")
        time.sleep(0.5)
        self.check_one_owner(watch.stop(), self.a, self.b, fault_us, LEASE_MS + LATE_MS)

    def test_a_frozen_agent_loses_the_address_and_harms_nobody_when_it_wakes(self):
        watch = Watch(self.client, (self.a, self.b))
        fault_us = now_us()
        self.a.programs["agent"].send_signal(signal.SIGSTOP)
        self.b.wait_state("ACTIVE")
        time.sleep(1.5)
        self.a.programs["agent"].send_signal(signal.SIGCONT)
        self.a.wait_state("STANDBY")
        time.sleep(0.5)
        self.check_one_owner(watch.stop(), self.a, self.b, fault_us, LEASE_MS + LATE_MS)
        self.assertEqual(self.b.state(), "ACTIVE")

    def test_a_frozen_agent_that_wakes_within_its_lease_keeps_the_address(self):
        epoch = self.a.group()["epoch"]
        for _ in range(5):
            self.a.programs["agent"].send_signal(signal.SIGSTOP)
            time.sleep(0.1)
            self.a.programs["agent"].send_signal(signal.SIGCONT)
            time.sleep(0.2)
        self.assertEqual((self.a.state(), self.a.group()["epoch"]), ("ACTIVE", epoch))

    def test_lost_heartbeats_move_nothing_on_the_wire(self):
        watch = Watch(self.client, (self.a, self.b))
        epoch = self.a.group()["epoch"]
        self.b.run("nft", "table inet cut { chain in { type filter hook input priority 0; udp dport 4242 drop; }; }")
        time.sleep(1.5)
        self.b.run("nft", "delete table inet cut")
        for what, nodes in watch.stop().items():
            self.assertEqual(list(nodes), ["lb-a"], what)
        self.assertEqual(self.a.group()["epoch"], epoch)

    def test_without_a_lease_nothing_of_an_owner_leaves(self):
        for node, verdict in ((self.b, "ENOBUFS"), (self.a, "sent")):
            for what in ("arp", "na", "1"):
                said = node.run(sys.executable, "-c", STALE, mac_of(node), "10.77.0.%d" % LAN[node.name], what)
                self.assertEqual(said.stdout.strip(), verdict, "%s of %s" % (what, node.name))
            claim = node.run(sys.executable, "-c", STALE, mac_of(node), "10.77.0.%d" % LAN[node.name], "2")
            self.assertEqual(claim.stdout.strip(), "ENOBUFS", "a CLAIM outside its window")
            standby = node.run(sys.executable, "-c", STALE, mac_of(node), "10.77.0.%d" % LAN[node.name], "0")
            self.assertEqual(standby.stdout.strip(), "sent")
        self.assertEqual(self.members(self.b, "lease"), [])

    def test_a_heartbeat_of_another_group_renews_nothing(self):
        """A lease of this group must end though a heartbeat with another VRID leaves."""
        self.b.run("nft", "add element netdev %s lease { eth0 timeout 200ms }" % TABLE)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            self.b.run(sys.executable, "-c", STALE.replace('"!H", 51', '"!H", 52'), mac_of(self.b), "10.77.0.3", "1")
        self.assertEqual(self.members(self.b, "lease"), [])

    def test_somebody_elses_probe_revokes_an_open_claim_in_the_kernel(self):
        for family in ("arp", "ns"):
            self.b.run("nft", "add element netdev %s claim { eth0 timeout 5s }" % TABLE)
            self.assertEqual(len(self.members(self.b, "claim")), 1)
            self.client.run(sys.executable, "-c", PROBE, family)
            self.assertEqual(self.members(self.b, "claim"), [], family)

    def test_rules_that_somebody_flushes_come_back_and_nothing_moves(self):
        epoch = self.a.group()["epoch"]
        watch, pulse = Watch(self.client, (self.a, self.b)), Pulse(self.client, rate=200, timeout_ms=3000)
        time.sleep(0.2)
        for node in (self.a, self.b):
            flushed = node.log_text("agent").count("event=fence.vanished")
            node.run("nft", "flush", "ruleset")
            wait_for("%s notices" % node.name,
                     lambda n=node, f=flushed: n.log_text("agent").count("event=fence.vanished") > f, 2)
            self.assertIn("chain heartbeat", node.run("nft", "list", "table", "netdev", TABLE).stdout)
        self.a.run("nft", "flush", "table", "netdev", TABLE)
        wait_for("a table without rules is noticed", lambda: "chain heartbeat" in self.a.run(
            "nft", "list", "table", "netdev", TABLE).stdout and self.members(self.a, "lease"), 1)
        time.sleep(0.6)
        samples = pulse.stop()
        self.assertEqual(failed(samples), [], outcomes(samples))
        heard = watch.stop()
        for what in ("arp", "nd"):
            self.assertEqual(list(heard[what]), ["lb-a"], what)
        # Until its next heartbeat a standby without rules serves who sends to its MAC in spite of that.
        for what in ("tcp4", "tcp6"):
            strays = heard[what].get("lb-b", [0])
            self.assertLess((max(strays) - min(strays)) / 1000, 50 + LATE_MS * SLOW, what)
        self.assertEqual((self.a.state(), self.a.group()["epoch"]), ("ACTIVE", epoch))

    def test_a_second_chance_that_does_not_fit_any_more_costs_no_fence(self):
        self.a.kill("agent", wait=False)
        self.b.wait_state("ACTIVE")
        table = lambda: self.b.run("nft", "list", "table", "netdev", TABLE).stdout
        self.assertIn("fwd", table())
        self.b.start("many", sys.executable, "-c", MANY)
        self.addCleanup(self.b.kill, "many")
        wait_for("so many connections", lambda: "ready" in self.b.log_text("many"), 20)
        flushed = self.b.log_text("agent").count("event=fence.vanished")
        self.b.run("nft", "flush", "ruleset")
        wait_for("it notices", lambda: self.b.log_text("agent").count("event=fence.vanished") > flushed, 2)
        self.assertIn("going on without the second chance", self.b.log_text("agent"))
        self.assertEqual((self.b.state(), self.b.group()["fence"]), ("ACTIVE", "kernel"))
        self.assertNotIn("fwd", table())

    def test_a_lease_that_somebody_takes_away_is_missed_at_once(self):
        self.a.run("nft", "flush", "set", "netdev", TABLE, "lease")
        self.b.wait_state("ACTIVE", timeout_s=1)
        self.assertIn("reason=LEASE_LOST", self.a.log_text("agent"))

    def test_a_killed_agents_rules_stay_until_the_next_one_replaces_them(self):
        self.a.kill("agent")
        self.b.wait_state("ACTIVE")
        watch = Watch(self.client, (self.a, self.b))
        self.assertIn("chain heartbeat", self.a.run("nft", "list", "table", "netdev", TABLE).stdout)
        # of a group that the file had, and of somebody else
        self.a.run("nft", "add table netdev tandem_52_old; add table netdev tandem_mine; add table inet tandem_51")
        self.a.start_agent()
        self.a.wait_state("STANDBY")
        self.assertEqual(set(self.a.run("nft", "list", "tables").stdout.split("\n")) - {""},
                         {"table netdev " + TABLE, "table netdev tandem_mine", "table inet tandem_51"})
        self.a.run("nft", "delete table netdev tandem_mine; delete table inet tandem_51")
        for what, nodes in watch.stop().items():
            self.assertEqual(list(nodes), ["lb-b"], what)

    def test_a_clean_stop_takes_away_what_is_ours_and_nothing_else(self):
        theirs = "table inet theirs { chain in { type filter hook input priority 0; tcp dport 9 drop; }; }"
        self.b.run("nft", theirs)
        before = self.b.run("nft", "list", "table", "inet", "theirs").stdout
        self.assertIn(VIP4, self.b.addresses("lo"))
        self.assertEqual(self.b.stop("agent"), 0)
        self.assertEqual(self.b.run("nft", "list", "ruleset").stdout, before)
        self.assertEqual(self.b.addresses("lo"), ["127.0.0.1", "::1"])
        for key in ("arp_ignore", "arp_announce"):
            self.assertEqual(self.b.run("sysctl", "-n", "net.ipv4.conf.eth0." + key).stdout.strip(), "0")
        self.b.run("nft", "delete", "table", "inet", "theirs")

    def test_an_address_that_somebody_takes_from_lo_comes_back(self):
        for node, address in ((self.a, VIP4 + "/32"), (self.b, VIP6 + "/128")):
            node.run("ip", "addr", "del", address, "dev", "lo")
            wait_for("%s is back" % address, lambda n=node, a=address: a.split("/")[0] in n.addresses("lo"), 1)

    def test_a_stranger_who_asks_for_the_address_is_told_of(self):
        mac = mac_of(self.client)
        frame = "ff" * 6 + mac.replace(":", "") + "08060001080006040001" + mac.replace(":", "") + "00" * 10 + \
            socket.inet_aton(VIP4).hex()
        self.client.run(sys.executable, "-c", "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); "
                        "s.bind(('eth0', 0)); s.send(bytes.fromhex('%s'))" % frame)
        wait_for("the standby says so", lambda: any("asks for it" in alarm for alarm in self.b.group()["alarms"]), 1)
        self.assertIn("mac=" + mac, next(line for line in self.b.log_text("agent").splitlines()
                                         if "event=address.asked_for" in line))
        self.assertEqual(self.a.group()["alarms"], [])

    def test_another_interface_in_the_network_answers_for_nothing_on_lo(self):
        ignored = lambda: [self.b.run("sysctl", "-n", "net.ipv4.conf.%s.arp_ignore" % name).stdout.strip()
                           for name in ("near0", "far0")]
        for name, address in (("near0", "10.77.0.77/24"), ("far0", "10.99.0.77/24")):
            self.b.run("ip", "link", "add", name, "type", "veth", "peer", "name", name + "p")
            self.addCleanup(self.b.run, "ip", "link", "del", name)
            self.b.run("ip", "addr", "add", address, "dev", name)
        wait_for("it is guarded when it comes", lambda: ignored() == ["1", "0"], 1)
        self.b.run("sysctl", "-w", "net.ipv4.conf.near0.arp_ignore=0")
        self.b.ask("agent", "reload")
        self.assertEqual(ignored(), ["1", "0"])

    def test_status_tells_the_fence_and_the_lease_of_the_kernel(self):
        group = self.a.group()
        self.assertEqual((group["fence"], group["fence_why"]), ("kernel", None))
        self.assertGreater(group["lease_ms"], LEASE_MS / 2)
        self.assertLessEqual(group["lease_ms"], LEASE_MS)
        self.assertEqual(self.b.group()["lease_ms"], 0)


class Fallbacks(LabTest):
    """What is left where less works."""
    timed = True

    check_one_owner = Lease.check_one_owner

    def setUp(self):
        super().setUp()
        self.addCleanup(self.heal)
        self.addCleanup(self.reload)

    def reload(self, **config):
        self.lab.config(**config)
        for node in (self.a, self.b):
            node.ask("agent", "reload")

    def test_the_agent_renews_the_lease_where_the_kernel_cannot(self):
        self.reload(profile="  fence: netlink\n")
        self.assertEqual([node.group()["fence"] for node in (self.a, self.b)], ["netlink", "netlink"])
        self.assertEqual(self.a.state(), "ACTIVE")
        watch = Watch(self.client, (self.a, self.b))
        fault_us = now_us()
        self.a.programs["agent"].send_signal(signal.SIGSTOP)
        self.b.wait_state("ACTIVE")
        time.sleep(0.5)
        self.a.programs["agent"].send_signal(signal.SIGCONT)
        self.check_one_owner(watch.stop(), self.a, self.b, fault_us, LEASE_MS + LATE_MS)

    def test_other_times_change_the_rules_in_place(self):
        handle = lambda: self.a.run("nft", "-a", "list", "tables", "netdev").stdout
        before, epoch = handle(), self.a.group()["epoch"]
        for profile, lease_ms in (("relaxed", 1000), ("default", 250)):
            self.reload(profile="  profile: %s\n" % profile)
            wait_for("the lease is another", lambda ms=lease_ms: ms / 2 < self.a.group()["lease_ms"] <= ms, 3)
            rules = self.a.run("nft", "list", "chain", "netdev", TABLE, "heartbeat").stdout
            self.assertEqual("timeout 1s" in rules, lease_ms == 1000, rules)
        self.assertEqual((handle(), self.a.state(), self.a.group()["epoch"]), (before, "ACTIVE", epoch))

    def test_a_group_without_a_path_on_its_interface_says_so(self):
        self.reload(groups=GROUP + "      paths: [cable]\n")
        group = self.a.group()
        self.assertEqual(group["fence"], "netlink")
        self.assertIn("none of the group's paths has its address on interface 'eth0'", group["fence_why"])
        self.assertEqual(self.a.state(), "ACTIVE")

    def test_with_addresses_alone_there_are_no_rules(self):
        self.reload(profile="  fence: address\n")
        self.assertEqual(self.a.group()["fence"], "address")
        for node in (self.a, self.b):
            self.assertNotIn("tandem", node.run("nft", "list", "ruleset").stdout)
            self.assertNotIn(VIP4, node.addresses("lo"))
        self.a.ask("agent", "switchover")
        self.b.wait_state("ACTIVE")
        self.a.wait_state("STANDBY")

    def test_a_fence_that_is_asked_for_and_impossible_means_no_owner(self):
        self.reload(profile="  fence: kernel\n", groups=GROUP + "      paths: [cable]\n")
        self.assertEqual([node.group()["fence"] for node in (self.a, self.b)], ["none", "none"])
        wait_for("the owner lets go", lambda: self.a.state() != "ACTIVE", 1)
        self.assertRegex(self.a.log_text("agent"), "LEASE_LOST|NO_FENCE")
        for node in (self.a, self.b):
            node.wait_state("FAULT")
        epochs = [node.group()["epoch"] for node in (self.a, self.b)]
        for _ in range(10):
            time.sleep(0.1)
            self.assertNotIn("ACTIVE", [node.state() for node in (self.a, self.b)])
            self.assertNotIn(VIP4, self.a.addresses("eth0"))
        self.assertEqual([node.group()["epoch"] for node in (self.a, self.b)], epochs, "no claim was tried")
        self.reload()
        wait_for("somebody has it again", lambda: "ACTIVE" in [node.state() for node in (self.a, self.b)], 5)



if __name__ == "__main__":
    main()
