#!/usr/bin/python3
"""What users notice of what happens behind the proxy: nothing. Servers die, freeze, fail and come back, names change,
operators drain, weigh, add, remove, reload, go back and upgrade, while a crowd asks on kept and on fresh connections.
No GET may fail, and no POST may come to servers twice.

CROWD_RATE is requests a second, CROWD_SECONDS how long each thing that happens is given, CROWD_RELOADS how many of these
there are; CROWD_TABLE=1 prints what came of each. CROWD_ONLY takes those whose name has it in it, CROWD_SEED others of
those that are drawn."""
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from crowd import BROKEN, GOOD, LEAVING, SICK, SLOW, Crowd, Phase, Server
from dnsd import A, Dns
from rig import BUILD, free_port
from test_http1 import Case

RATE = float(os.environ.get("CROWD_RATE", "150"))
SECONDS = float(os.environ.get("CROWD_SECONDS", "0.25"))
SEED = int(os.environ.get("CROWD_SEED", "1"))
ONLY = os.environ.get("CROWD_ONLY", "")
RELOADS = int(os.environ.get("CROWD_RELOADS", "5"))
CONFIG = """
resolvers: ["127.0.0.1:%(dns)d"]
log: {access: {tmp}/access.log, format: json}
listeners:
  main:
    bind: "127.0.0.1:{port}"
    routes:
      - {match: {path: /named/*}, pool: named}
%(routes)s      - pool: web
%(listeners)s
pools:
  web:
    servers: {%(servers)s}
%(pool)s
  named:
    discover: {dns: "web.internal:%(port)d"}
    balance: round_robin
    limits: {connections_per_server: 20}
%(pool)s
"""
# As someone would write it who wants nobody to notice.
POOL = """    health: {http: /healthz, every: 250ms, timeout: 1s, rise: 2, fall: 2}
    passive: {failures: 3, eject: 1s}
    retry: {attempts: 3, on: [connect, stale_connection, reset, first_byte, 500, 502, 503, 504]}
    timeouts: {connect: 1s, first_byte: 1s}"""


class NeverNoticed(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tandem-")
        self.addCleanup(folder.cleanup)
        self.port = free_port()  # of all servers, each at an address of its own, as DNS has them
        self.dns = Dns()
        self.addCleanup(self.dns.close)
        self.servers = [Server(folder.name, "s%d" % i, "127.0.1.%d" % i, self.port) for i in range(1, 6)]
        for s in self.servers:
            self.addCleanup(s.kill)
        self.name_is(1, 2, 3, 4)
        self.p = self.proxy(self.config(), workers=2)
        self.phases, self.successor = [], None
        self.eventually(self.all_up, 10)
        self.crowd = Crowd(self.p.port, RATE, ("/", "/", "/named/"))
        self.crowd.start()
        self.addCleanup(self.crowd.stop)

    def config(self, servers=(1, 2, 3, 4), routes="", listeners=""):
        return CONFIG % {
            "dns": self.dns.port, "port": self.port, "routes": routes, "listeners": listeners, "pool": POOL,
            "servers": ", ".join('s%d: "127.0.1.%d:%d"' % (i, i, self.port) for i in servers)}

    def name_is(self, *servers):
        self.dns.fail = {}
        self.dns.records[("web.internal", A)] = ["127.0.1.%d" % i for i in servers]

    def members(self, pool="web"):
        return self.p.status()["pools"][pool]["servers"]

    def all_up(self):
        return all(s["health"] == "up" for pool in ("web", "named") for s in self.members(pool).values())

    def ctl(self, *words, may_fail=False):
        done = subprocess.run([os.path.join(BUILD, "ctl", "tandemctl"), "--run-dir", self.p.tmp, *words],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
        self.assertIn(done.returncode, (0, 1) if may_fail else (0,), done.stdout.decode() + self.p.logged()[-2000:])

    def retries(self):
        return sum(p["retries_total"] for p in self.p.status()["pools"].values())

    def happens(self, name, event):
        """The event, and the time until all is well again."""
        phase, before = Phase(name), self.retries()
        self.crowd.phase = phase
        event()
        self.eventually(self.all_up, 20)
        time.sleep(SECONDS / 2)
        phase.retries = max(0, self.retries() - before)
        self.phases.append(phase)

    def stay(self, part=1.0):
        time.sleep(SECONDS * part)

    # --- what happens

    def nothing(self):
        self.stay()

    def killed(self):
        """One, then two of four at once."""
        for dying in self.servers[:1], self.servers[1:3]:
            for s in dying:
                s.kill()
            self.stay()
            for s in dying:
                s.start()
            self.eventually(self.all_up, 20)

    def frozen(self):
        self.servers[1].freeze()
        time.sleep(max(1.5, SECONDS))
        self.servers[1].thaw()

    def behaving(self, manners, *servers):
        def event():
            for s in servers:
                s.behave(manners)
            self.stay(2)
            for s in servers:
                s.behave(GOOD)
        return event

    def names_fail_and_change(self):
        # After each failure the next question waits twice as long.
        for how in (2, None, "garbage", 3)[:4 if SECONDS >= 1 else 1]:
            self.dns.fail["web.internal"] = how
            self.stay()
        for servers in ((1, 2, 5), (3,), (1, 2, 3, 4)):
            self.name_is(*servers)
            want = ["127.0.1.%d:%d" % (i, self.port) for i in servers]
            self.eventually(lambda: sorted(self.members("named")) == want, 35)
            self.stay()

    def drained(self):
        for name in ("s1", "s2"):
            self.ctl("drain", "web/" + name, "--wait", "--timeout", "5s")
            self.stay()
            self.ctl("maintenance", "web/" + name)
            self.stay(0.5)
            self.ctl("ready", "web/" + name)
            self.eventually(self.all_up, 20)

    def added_and_removed(self):
        for _ in range(2):
            self.ctl("server", "add", "web/s5", "127.0.1.5:%d" % self.port)
            self.stay()
            self.ctl("server", "remove", "web/s5")
            self.stay(0.5)

    def weighed(self):
        for weight in (100, 1, 7):
            self.ctl("weight", "web/s3", str(weight))
            self.stay(0.5)

    def reloaded(self):
        rng = random.Random(1)
        for i in range(RELOADS):
            routes = "".join("      - {match: {path: /r%d/*}, pool: %s}\n" % (n, rng.choice(("web", "named")))
                             for n in range(rng.randrange(20)))
            listeners = "".join('  more%d: {bind: "127.0.0.1:%d", pool: web}\n' % (n, port)
                                for n, port in enumerate(self.more_ports) if rng.random() < 0.5)
            self.p.write(self.config(sorted(rng.sample(range(1, 6), rng.randrange(2, 6))), routes, listeners))
            self.ctl("reload")
            self.stay(rng.random() / 10)
        self.p.write(self.config())
        self.ctl("reload")

    def rolled_back(self):
        self.p.write(self.config((1, 5), "", ""))
        self.ctl("reload")
        self.stay(0.5)
        self.ctl("rollback")
        self.stay(0.5)
        self.p.write(self.config())
        self.ctl("reload")

    def mischief(self, rng, end):
        """One server after the other misbehaves, and names change."""
        while time.monotonic() < end:
            s, what = rng.choice(self.servers), rng.choice((BROKEN, SICK, SLOW, LEAVING, "kill", "freeze"))
            if what == "kill":
                s.kill()
                self.stay(rng.random())
                s.start()
            elif what == "freeze":
                s.freeze()
                self.stay(rng.random())
                s.thaw()
            else:
                s.behave(what)
                self.stay(rng.random())
                s.behave(GOOD)
            self.name_is(*rng.sample(range(1, 6), 4))
            self.stay(0.5 + rng.random())

    def all_of_it(self):
        """At most one server misbehaves at a time, and at most one of five is out of use."""
        rng = random.Random(SEED)
        end = time.monotonic() + 6 * SECONDS
        thread = threading.Thread(target=self.mischief, args=(random.Random(rng.random()), end))
        thread.start()
        while thread.is_alive():
            name = "web/s%d" % rng.randrange(1, 6)
            for words in rng.choice(((("drain", name), ("ready", name)), (("maintenance", name), ("ready", name)),
                                     (("weight", name, str(rng.randrange(1, 9))),), (("rollback",),),
                                     (("server", "add", "web/s5", "127.0.1.5:%d" % self.port),
                                      ("server", "remove", "web/s5")))):
                self.ctl(*words, may_fail=True)
                self.stay(rng.random() / 4)
            self.p.write(self.config(sorted(rng.sample(range(1, 6), 4))))
            self.ctl("reload")
            self.stay(rng.random() / 4)
        self.name_is(1, 2, 3, 4)
        self.p.write(self.config())
        self.ctl("reload")

    def upgrades(self):
        """Has the program something to do at SIGUSR2?"""
        with open("/proc/%d/status" % self.p.proc.pid) as f:
            caught = int([line for line in f if line.startswith("SigCgt")][0].split()[1], 16)
        return caught >> signal.SIGUSR2 - 1 & 1

    def upgraded(self):
        for _ in range(2):
            before = self.p.status()["pid"]
            os.kill(before, signal.SIGUSR2)
            self.eventually(lambda: self.p.status()["pid"] != before, 30)
            self.successor = self.p.status()["pid"]
            self.addCleanup(self.end, self.successor, signal.SIGKILL)
            self.stay()
            self.eventually(lambda: self.ended(before), 40)

    def ended(self, pid):
        self.p.proc.poll()
        try:
            with open("/proc/%d/stat" % pid) as f:
                return f.read().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            return True

    def end(self, pid, sig):
        if not self.ended(pid):
            os.kill(pid, sig)

    def events(self):
        one, all_of_them = self.servers[2:3], self.servers
        return (("nothing", self.nothing),
                ("kill -9 of one server, of two", self.killed),
                ("a server stands still", self.frozen),
                ("a server answers 500", self.behaving(BROKEN, *one)),
                ("500, and its checks pass", self.behaving(SICK, *one)),
                ("a server takes up to 2 s", self.behaving(SLOW, *one)),
                ("kept connections close under requests", self.behaving(LEAVING, *one)),
                ("the same at all servers", self.behaving(LEAVING, *all_of_them)),
                ("DNS fails and changes", self.names_fail_and_change),
                ("drain, maintenance, ready", self.drained),
                ("server add, server remove", self.added_and_removed),
                ("weight", self.weighed),
                ("%d reloads with changes" % (RELOADS + 1), self.reloaded),
                ("rollback", self.rolled_back),
                ("all of it at once", self.all_of_it),
                *[("two upgrades of the program", self.upgraded)] * self.upgrades())

    def table(self, rate):
        rows = ["%.0f requests/s" % rate,
                "%-40s %8s %8s %8s %8s %8s %8s" % (
                    "", "requests", "GET x", "POST x", "closed", "retries", "worst ms")]
        rows += ["%-40s %8d %8d %8d %8d %8d %8.0f" % (
            p.name, sum(p.requests.values()), len(p.failures["GET"]), len(p.failures["POST"]), p.closed_idle,
            p.retries, p.worst_s * 1000) for p in self.phases]
        return "\n".join(rows)

    def test_no_get_fails_and_no_post_is_sent_twice(self):
        self.more_ports = [free_port() for _ in range(4)]
        begun = time.monotonic()
        for name, event in self.events():
            if ONLY not in name:
                continue
            self.happens(name, event)
        rate = self.crowd.sent / (time.monotonic() - begun)
        self.assertTrue(self.crowd.is_alive())
        self.crowd.stop()
        table = self.table(rate)
        if "CROWD_TABLE" in os.environ:
            print(table, file=sys.stderr)
            for p in self.phases:
                for f in p.failures["POST"][:3] + p.failures["GET"][:20]:
                    print(p.name, f, file=sys.stderr)
        failed = [(p.name, f) for p in self.phases for f in p.failures["GET"]]
        self.assertTrue(self.phases)
        self.assertEqual(failed, [], table)
        posts = sorted(n for s in self.servers for n in s.names() if n.startswith("POST"))
        self.assertGreater(len(posts), 0.1 * self.crowd.sent)
        self.assertEqual([n for n, next in zip(posts, posts[1:]) if n == next], [])
        self.assertEqual(sum(p.closed_idle for p in self.phases), 0, table)
        self.assertEqual(self.p.stop(), 0)
        if self.successor:
            self.end(self.successor, signal.SIGTERM)
            self.eventually(lambda: self.ended(self.successor), 20)


if __name__ == "__main__":
    unittest.main()
