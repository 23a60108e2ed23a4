#!/usr/bin/env python3
"""The active node's proxy is replaced by a new binary: its agent follows, the address stays, nobody fails; and who is
still with the old process is known to the peer as well as those of the new one."""

import os
import sys
import time

from lab import PROXY, SLOW, TREE, VIP4, VIP6, LabTest, Pulse, failed, good, main, outcomes, wait_for

UPGRADES = int(os.environ.get("TANDEM_UPGRADES", "3"))
COUNT = 50  # clients of each address that stay with the old process
TUNNEL = PROXY.replace("pools:", '  tunnel: {bind: ":81", mode: tcp, pool: web}\npools:', 1)


class Upgrade(LabTest):
    config = {"proxy": TUNNEL}

    def agent(self):
        return self.a.ask("agent", "status")

    @staticmethod
    def elders(node):
        """{pid: clients} of its retired processes."""
        return {e["pid"]: e["clients"] for e in node.ask("agent", "status")["proxy"]["elders"] if e["retired"]}

    def events(self, name):
        return self.a.log_text("agent").count("event=%s " % name)

    def test_the_agent_follows_and_nobody_notices(self):
        before = self.agent()["groups"]["web"]
        changes = self.events("proxy.state")
        fresh = [Pulse(self.client, 250, timeout_ms=int(2000 * SLOW), to=to) for to in (VIP4, VIP6)]
        kept = Pulse(self.client, 250, connections=20, timeout_ms=int(2000 * SLOW))
        olds = []
        for _ in range(UPGRADES):
            time.sleep(0.3)
            olds.append(self.a.upgrade_proxy())
            pid = self.a.programs["proxy"].pid
            wait_for("the agent follows", lambda pid=pid: self.agent()["proxy"]["pid"] == pid)
        wait_for("the old ones end", lambda: not self.agent()["proxy"]["elders"])
        self.assertEqual([old.wait(timeout=10) for old in olds], [0] * UPGRADES)
        time.sleep(0.4)  # longer than beats may be missing
        for pulse in fresh + [kept]:
            samples = pulse.stop()
            self.assertGreater(len(good(samples)), 100)
            self.assertEqual(failed(samples), [], outcomes(samples))
            self.assertEqual({s.via for s in good(samples)}, {good(samples)[0].via})
        after = self.agent()
        self.assertEqual([after["groups"]["web"][k] for k in ("state", "epoch", "since")],
                         [before[k] for k in ("state", "epoch", "since")])
        self.assertEqual((after["proxy"]["state"], after["proxy"]["pid"]), ("ok", self.a.programs["proxy"].pid))
        self.assertEqual(self.b.state(), "STANDBY")
        self.assertEqual(self.events("proxy.state"), changes, "it was never anything but ok")
        self.assertGreaterEqual(self.events("proxy.succeeded"), UPGRADES)

    def test_the_clients_of_the_old_process_are_told_when_the_node_dies(self):
        out = os.path.join(self.client.dir, "waiters")
        self.client.start("waiters", sys.executable, os.path.join(TREE, "tests/netns/waiters.py"), out, COUNT, 81,
                          VIP4, VIP6)
        self.addCleanup(self.client.stop, "waiters")
        wait_for("all clients are served", lambda: self.client.running("waiters") and "ready" in self.lines(out), 20)
        old = self.a.upgrade_proxy()
        wait_for("the agent knows both", lambda: self.elders(self.a).get(old.pid) == 2 * COUNT)
        wait_for("so does the peer", lambda: self.b.group()["peer_connections"] >= 2 * COUNT)
        self.assertEqual(len(self.ends(out)), 0)
        self.addCleanup(self.revive, old)
        self.lab.unplug(self.a)
        wait_for("all were told", lambda: len(self.ends(out)) == 2 * COUNT, 10)
        self.assertEqual({how for _, _, how in self.ends(out)}, {"reset"})

    def test_an_agent_that_was_started_since_hears_of_the_old_process(self):
        out = os.path.join(self.client.dir, "waiting")
        self.client.start("waiters", sys.executable, os.path.join(TREE, "tests/netns/waiters.py"), out, 1, 81, "10.77.0.3")
        self.addCleanup(self.client.stop, "waiters")
        wait_for("it is served", lambda: "ready" in self.lines(out))
        old = self.b.upgrade_proxy()
        wait_for("the agent knows both", lambda: old.pid in self.elders(self.b))
        self.b.stop("agent")
        self.b.start_agent()
        wait_for("a new agent knows both", lambda: old.pid in self.elders(self.b))
        self.lab.settle(self.a)
        self.client.stop("waiters")
        wait_for("it has ended", lambda: not self.elders(self.b))
        self.assertEqual(old.wait(timeout=10), 0)

    @staticmethod
    def lines(out):
        if not os.path.exists(out):
            return []
        with open(out, encoding="ascii") as f:
            return f.read().split("\n")[:-1]

    def ends(self, out):
        return [line.split() for line in self.lines(out) if line != "ready"]

    def revive(self, old):
        self.a.kill("proxy")
        old.kill()  # it would wait for those who do not answer any more
        old.wait(timeout=10)
        self.a.start_proxy()
        self.heal()


if __name__ == "__main__":
    main()
