#!/usr/bin/python3
"""What users notice of what happens behind the proxy: nothing. A crowd asks on kept and on fresh connections, over
HTTP/1.1 and 2, in clear text and through TLS, while trouble.py does its worst (what in the environment changes its shape
is said there). No GET may fail, and no POST may come to servers twice."""
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
import unittest

from crowd import BROKEN, GOOD, LEAVING, SICK, SLOW, Crowd
from dnsd import Dns
from rig import BUILD, free_port
from test_http1 import Case
from trouble import ONLY, RATE, SECONDS, SEED, Trouble


class NeverNoticed(Case, Trouble):
    subnet = "127.0.1."

    def begin(self):
        folder = tempfile.TemporaryDirectory(prefix="tandem-")
        self.addCleanup(folder.cleanup)
        self.folder, self.port = folder.name, free_port()
        self.dns = Dns()
        self.addCleanup(self.dns.close)
        self.set_up_trouble()
        secure, self.more_ports = free_port(), [free_port() for _ in range(4)]
        self.clear, self.secure = "127.0.0.1:{port}", "127.0.0.1:%d" % secure
        self.p = self.proxy(self.text(), workers=2)
        self.eventually(self.all_up, 10)
        self.crowd = Crowd(("127.0.0.1", self.p.port), ("127.0.0.1", secure), RATE, ("/", "/", "/named/"))
        self.crowd.start()
        self.addCleanup(self.crowd.stop)

    def text(self, *args):
        return "log: {access: {tmp}/access.log, format: json}\n" + super().text(*args)

    def status(self):
        return self.p.status()

    def all_up(self):
        return self.well(self.status())

    def ctl(self, *words, may_fail=False):
        done = subprocess.run([os.path.join(BUILD, "ctl", "tandemctl"), "--run-dir", self.p.tmp, *words],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
        self.assertIn(done.returncode, (0, 1) if may_fail else (0,), done.stdout.decode() + self.p.logged()[-2000:])

    def load(self, text):
        self.p.write(text)
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
                                     (("server", "add", "web/s5", self.address(5)), ("server", "remove", "web/s5")))):
                self.ctl(*words, may_fail=True)
                self.stay(rng.random() / 4)
            self.load(self.text(sorted(rng.sample(range(1, 6), 4))))
            self.stay(rng.random() / 4)
        self.name_is(1, 2, 3, 4)
        self.load(self.text())

    def no_get_fails(self, events):
        self.begin()
        chosen = [e for e in events() if ONLY in e[0]]
        if not chosen:
            self.skipTest("CROWD_ONLY is about others")
        for name, event in chosen:
            self.happens(name, event)
        self.assertTrue(self.crowd.is_alive())
        self.crowd.stop()
        table = self.table()
        self.assertEqual([(p.name, f) for p in self.phases for f in p.failures["GET"]], [], table)
        self.no_post_came_twice()
        self.assertEqual(sum(p.closed_idle for p in self.phases), 0, table)
        self.assertEqual(self.p.stop(), 0)
        for pid in self.successors:
            self.end(pid, signal.SIGTERM)
            self.eventually(lambda pid=pid: self.ended(pid), 20)

    def test_no_get_fails_and_no_post_is_sent_twice(self):
        self.no_get_fails(lambda: self.events() + (("all of it at once", self.all_of_it),))

    def test_nor_when_servers_are_killed_and_nobody_wrote_anything_about_it(self):
        self.pool = "    health: {http: /healthz}"
        self.no_get_fails(lambda: (("kill -9 of servers, with the defaults", self.killed),))


if __name__ == "__main__":
    unittest.main()
