"""What happens to a proxy, its servers and its operators while a crowd asks: servers die, freeze, fail and come back,
names change, operators drain, weigh, add, remove, reload, go back and upgrade.

CROWD_RATE is requests a second, CROWD_SECONDS how long each thing that happens is given, CROWD_RELOADS how many of these
there are; CROWD_TABLE=1 prints what came of each. CROWD_ONLY takes those whose name has it in it, CROWD_SEED others of
those that are drawn."""
import os
import random
import signal
import subprocess
import sys
import time

from crowd import BROKEN, GOOD, LEAVING, SICK, SLOW, Phase, Server
from dnsd import A

RATE = float(os.environ.get("CROWD_RATE", "150"))
SECONDS = float(os.environ.get("CROWD_SECONDS", "0.25"))
SEED = int(os.environ.get("CROWD_SEED", "1"))
ONLY = os.environ.get("CROWD_ONLY", "")
RELOADS = int(os.environ.get("CROWD_RELOADS", "5"))
LISTENERS = """listeners:
  main:
    bind: "%(clear)s"
    h2c: true
    routes:
%(routes)s
  secure:
    bind: "%(secure)s"
    tls: {certificates: [{cert: %(folder)s/crowd.crt, key: %(folder)s/crowd.key}]}
    routes:
%(routes)s
%(listeners)s
resolvers: ["%(dns)s"]
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
ROUTES = """      - {match: {path: /named/*}, pool: named}
%s      - pool: web"""
# As someone would write it who wants nobody to notice.
CAREFUL = """    health: {http: /healthz, every: 250ms, timeout: 1s, rise: 2, fall: 2}
    passive: {failures: 3, eject: 1s}
    retry: {attempts: 3, on: [connect, stale_connection, reset, first_byte, 500, 502, 503, 504]}
    timeouts: {connect: 1s, first_byte: 1s}"""


def certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "30", "-subj", "/CN=crowd.example", "-keyout", folder + "/crowd.key", "-out", folder + "/crowd.crt"],
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30, check=True)


class Trouble:
    """For a test case that has: `folder`, `crowd`, `dns`, the addresses `clear` and `secure` of the listeners, `subnet`
    (what the servers' addresses begin with) and `port`; and ctl(*words), status() of the proxy that serves, load(text),
    which is a reload, and all_up()."""

    pool = CAREFUL

    def set_up_trouble(self, where=()):
        certificate(self.folder)
        self.servers = [Server(self.folder, "s%d" % i, self.subnet + str(i), self.port, where) for i in range(1, 6)]
        for s in self.servers:
            self.addCleanup(s.kill)
        self.name_is(1, 2, 3, 4)
        self.phases, self.successors = [], []

    def text(self, servers=(1, 2, 3, 4), routes="", listeners=""):
        return LISTENERS % {
            "clear": self.clear, "secure": self.secure, "folder": self.folder, "dns": "%s:%d" % (self.dns.host, self.dns.port),
            "port": self.port, "routes": ROUTES % routes, "listeners": listeners, "pool": self.pool,
            "servers": ", ".join('s%d: "%s"' % (i, self.address(i)) for i in servers)}

    def address(self, i):
        return "%s%d:%d" % (self.subnet, i, self.port)

    def name_is(self, *servers):
        self.dns.fail = {}
        self.dns.records[("web.internal", A)] = [self.subnet + str(i) for i in servers]

    @staticmethod
    def well(status):
        return all(s["health"] == "up" for pool in ("web", "named") for s in status["pools"][pool]["servers"].values())

    def retries(self):
        return sum(p["retries_total"] for p in self.status()["pools"].values())

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
        """While it lasts."""
        self.meanwhile()
        time.sleep(SECONDS * part)

    def meanwhile(self):
        pass

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
        self.stay(max(1.5 / SECONDS, 1))
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
            want = [self.address(i) for i in servers]
            self.eventually(lambda: sorted(self.status()["pools"]["named"]["servers"]) == want, 35)
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
            self.ctl("server", "add", "web/s5", self.address(5))
            self.stay()
            self.ctl("server", "remove", "web/s5")
            self.stay(0.5)

    def weighed(self):
        for weight in (100, 1, 7):
            self.ctl("weight", "web/s3", str(weight))
            self.stay(0.5)

    def reloaded(self):
        rng = random.Random(1)
        for _ in range(RELOADS):
            routes = "".join("      - {match: {path: /r%d/*}, pool: %s}\n" % (n, rng.choice(("web", "named")))
                             for n in range(rng.randrange(20)))
            listeners = "".join('  more%d: {bind: "127.0.0.1:%d", pool: web}\n' % (n, port)
                                for n, port in enumerate(self.more_ports) if rng.random() < 0.5)
            self.load(self.text(sorted(rng.sample(range(1, 6), rng.randrange(2, 6))), routes, listeners))
            self.stay(rng.random() / 10)
        self.load(self.text())

    def rolled_back(self):
        self.load(self.text((1, 5)))
        self.stay(0.5)
        self.ctl("rollback")
        self.stay(0.5)
        self.load(self.text())

    def upgraded(self):
        for _ in range(2 if SECONDS >= 1 else 1):
            before = self.status()["pid"]
            os.kill(before, signal.SIGUSR2)
            self.eventually(lambda: self.has_taken_over(self.status(), before), 30)
            self.successors.append(self.status()["pid"])
            self.addCleanup(self.end, self.successors[-1], signal.SIGKILL)
            self.stay()
            self.eventually(lambda: self.ended(before), 40)

    @staticmethod
    def has_taken_over(status, before):
        return status["pid"] != before and (status["upgrade"]["last"] or {}).get("ok")

    @staticmethod
    def ended(pid):
        try:
            with open("/proc/%d/stat" % pid, encoding="ascii") as f:
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
                ("upgrades of the program", self.upgraded))

    # --- what came of it

    def table(self):
        rows = ["%-40s %8s %8s %8s %8s %8s %8s %8s" % (
            "", "requests", "GET x", "again x", "POST x", "closed", "retries", "worst ms")]
        rows += ["%-40s %8d %8d %8d %8d %8d %8d %8.0f" % (
            p.name, sum(p.requests.values()), len(p.failures["GET"]), len(p.lost), len(p.failures["POST"]), p.closed_idle,
            p.retries, p.worst_s * 1000) for p in self.phases]
        ways = sum((p.ways for p in self.phases), start=type(self.phases[0].ways)())
        rows.append(", ".join("%s: %d" % way for way in sorted(ways.items())))
        if "CROWD_TABLE" in os.environ:
            print("\n" + "\n".join(rows), file=sys.stderr)
            for p in self.phases:
                for f in p.failures["POST"][:3] + p.failures["GET"][:20] + p.lost:
                    print(p.name, f, file=sys.stderr)
        return "\n".join(rows)

    def no_post_came_twice(self):
        posts = sorted(n for s in self.servers for n in s.names() if n.startswith("POST"))
        self.assertGreater(len(posts), 0.1 * self.crowd.sent)
        self.assertEqual([n for n, following in zip(posts, posts[1:]) if n == following], [])
