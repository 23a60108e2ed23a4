#!/usr/bin/env python3
"""The address moves in the middle of other trouble: servers that die, freeze, fail, drain, come and go, reloads, names
that change, upgrades. A crowd asks for all of it (../system/crowd.py and trouble.py, which say what in the environment
changes its shape; CROWD_MOVES takes those ways to move whose name has it in it).

A planned move and the death of an agent fail no GET. The death of a proxy or of a node fails what was begun at it and
nothing else: what is asked when the address has moved is answered. No POST comes to servers twice, whatever moves."""

import os
import signal
import sys
import threading
import time

from lab import VIP4, Lab, LabTest, main, wait_for

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../system"))
from crowd import Crowd, Phase, in_netns  # noqa: E402
from dnsd import Dns  # noqa: E402
from trouble import ONLY, RATE, Trouble  # noqa: E402

MOVES = os.environ.get("CROWD_MOVES")
# Without CROWD_MOVES a few of all pairs.
USUAL = (("kill -9 of one server", "planned"), ("drain", "proxy"), ("server add", "agent"), ("reloads", "node"))
# Those run beside other tests, and nothing should move because the machine is busy.
PROFILE = "  profile: relaxed\n" if MOVES is None else ""


def made_in(netns, make):
    """What make() returns, with its sockets in that namespace."""
    def run():
        in_netns(netns)
        made.append(make())
    made = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return made[0]


class Amid(LabTest, Trouble):
    subnet, port, clear, secure = "10.77.0.3", 8090, ":80", ":443"
    more_ports = range(8081, 8085)

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()

    def setUp(self):
        super().setUp()
        self.folder, web1 = self.lab.dir, self.lab.web[0]
        for i in range(1, 6):
            web1.run("ip", "addr", "add", "%s%d/24" % (self.subnet, i), "dev", "eth0")
        self.dns = made_in("web2", lambda: Dns(host="10.77.0.22"))
        self.addCleanup(self.dns.close)
        self.set_up_trouble(web1.inside([]))
        self.lab.up = 4
        self.lab.start_pair(proxy=self.text(), profile=PROFILE)
        self.eventually(self.all_up, 10)
        self.crowd = Crowd((VIP4, 80), (VIP4, 443), RATE, ("/", "/", "/named/"), netns="client")
        self.crowd.start()
        self.addCleanup(self.crowd.stop)
        self.move, self.moved, self.losses = None, 0, []

    @staticmethod
    def eventually(what, within):
        wait_for("all is well again", what, within)

    def both(self):
        return self.a, self.b

    def serving(self):
        return wait_for("one node is active", self.lab.active)

    def status(self):
        return self.serving().ask("proxy", "status")

    def retries(self):
        return sum(p["retries_total"] for node in self.both() for p in node.ask("proxy", "status")["pools"].values())

    def all_up(self):
        return all(self.well(node.ask("proxy", "status")) for node in self.both())

    def ctl(self, *words):
        self.serving().ctl(*words)

    def load(self, text):
        self.lab.config(proxy=text, profile=PROFILE)
        for node in self.both():
            node.ctl("reload")

    # --- ways to move

    def meanwhile(self):
        """In the middle of what happens, once."""
        if self.move:
            move, self.move = self.move, None
            self.make(move)

    def make(self, move):
        node = self.serving()
        self.moved += 1
        move(node, self.lab.peer_of(node))

    def planned(self, node, peer):
        wait_for("%s takes over" % peer.name, lambda: peer.state() == "ACTIVE" or (
            node.state() == "ACTIVE" and not node.rpc("agent", "switchover")))

    def agent_killed(self, node, peer):
        node.kill("agent")
        peer.wait_state("ACTIVE")
        node.start_agent()

    @staticmethod
    def kill_proxy(node):
        os.kill(node.ask("proxy", "status")["pid"], signal.SIGKILL)
        if node.running("proxy"):  # that, or the one whose place it has taken
            node.kill("proxy")

    def lost_since(self, begun):
        """Until now connections may have been begun at somebody who was gone from then on."""
        self.losses.append((begun, time.monotonic()))

    def excused(self, failure):
        return any(failure.opened <= until and failure.ended >= begun for begun, until in self.losses)

    def proxy_killed(self, node, peer):
        begun = time.monotonic()
        self.kill_proxy(node)
        peer.wait_state("ACTIVE")
        self.lost_since(begun)
        node.start_proxy()
        wait_for("the agent knows", lambda: node.state() in ("FAULT", "STANDBY"))
        node.forgive()

    def node_dead(self, node, peer):
        begun = time.monotonic()
        self.lab.unplug(node)
        peer.wait_state("ACTIVE")
        self.lost_since(begun)
        self.kill_proxy(node)
        node.kill("agent")
        self.lab.plug(node)
        node.start_proxy()
        node.start_agent()

    def moves(self):
        return (("planned move", self.planned), ("kill -9 of the agent", self.agent_killed),
                ("kill -9 of the proxy", self.proxy_killed), ("death of the node", self.node_dead))

    def settle(self):
        """The lab's own programs serve again: a successor by upgrade is none of them."""
        self.crowd.phase = Phase("between")
        for node in self.both():
            pid = node.ask("proxy", "status")["pid"]
            if pid not in self.successors:
                continue
            if node is self.serving():
                self.heal(back_to_a=False)
                self.make(self.planned)
            self.end(pid, signal.SIGTERM)
            self.eventually(lambda pid=pid: self.ended(pid), 20)
        self.heal(back_to_a=False)

    def amid(self, name, event, by, move):
        self.move, begun, moved, epoch = move, time.monotonic(), self.moved, self.serving().group()["epoch"]
        self.happens("%s, %s" % (name[:23], by[-14:]), event)
        self.assertIsNone(self.move, "nothing moved")
        self.assertTrue(self.crowd.is_alive())
        self.settle()
        if self.serving().group()["epoch"] - epoch > self.moved - moved:  # the machine did not let a proxy beat
            self.phases[-1].name += " !"
            self.lost_since(begun)

    def test_nobody_notices_a_move_amid_trouble(self):
        pairs = [(*event, *move) for move in self.moves() for event in self.events() if ONLY in event[0] and (
            MOVES in move[0] if MOVES is not None else any(e in event[0] and m in move[0] for e, m in USUAL))]
        try:
            for pair in pairs:
                self.amid(*pair)
        finally:
            self.crowd.stop()
            table = self.table()
        for p in self.phases:
            self.assertEqual([f for f in p.failures["GET"] + p.lost if not self.excused(f)], [], (p.name, table))
        self.no_post_came_twice()


if __name__ == "__main__":
    main()
