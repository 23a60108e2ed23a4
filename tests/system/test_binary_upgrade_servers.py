#!/usr/bin/python3
"""Servers that no file lists are not lost with the process that knew them: those that DNS, a file and they themselves
named are known to a new binary, and the leases of registered ones to whatever process starts next."""
import http.client
import json
import os
import shutil
import signal
import tempfile
import time
import unittest

import rig
from dnsd import A, SRV, Dns
from test_binary_upgrade import Upgrading

TOKEN = "0123456789abcdef-token"


class Servers(Upgrading):
    def test_servers_that_were_discovered_stay_while_nobody_answers(self):
        dns, path = Dns(), os.path.join(tempfile.mkdtemp(prefix="tandem-"), "servers.yaml")
        self.addCleanup(dns.close)
        self.addCleanup(shutil.rmtree, os.path.dirname(path))
        with open(path, "w") as f:
            f.write("- targets: ['127.0.0.5:80', 'file.internal:80']\n")
        dns.records = {("host.internal", A): ["127.0.0.2", "127.0.0.3"], ("named.internal", A): ["127.0.0.4"],
                       ("file.internal", A): ["127.0.0.6"], ("s1.internal", A): ["127.0.0.7"],
                       ("s2.internal", A): ["127.0.0.8"],
                       ("_http._tcp.x.internal", SRV): [(1, 9, 81, "s1.internal"), (2, 5, 82, "s2.internal")]}
        p = self.begin(extra='  host: {discover: {dns: "host.internal:80"}}\n'
                             '  named: {servers: {n: {address: "named.internal:80", weight: 3}}}\n'
                             '  file: {discover: {file: %s}}\n  srv: {discover: {dns: _http._tcp.x.internal}}\n'
                             'resolvers: ["127.0.0.1:%d"]\n' % (path, dns.port))
        self.p = p

        def servers():
            pools = p.status()["pools"]
            return {(pool, name): (s["address"], s["weight"], s["backup"]) for pool in ("host", "named", "file", "srv")
                    for name, s in pools[pool]["servers"].items()}
        state = lambda pool, source: p.status()["pools"][pool]["discovery"][source]["state"]
        self.until(lambda: len(servers()) == 7)
        dns.records[("named.internal", A)] = ["127.0.0.1", "127.0.0.4"]  # it keeps the one that it has
        asked = len(dns.asked)
        self.until(lambda: sum(q[:2] == ("named.internal", A) for q in dns.asked[asked:]) >= 2)
        before = servers()
        self.assertEqual(before[("srv", "127.0.0.8:82")], ("127.0.0.8:82", 5, True))
        self.assertEqual(before[("named", "n")], ("127.0.0.4:80", 3, False))
        for name, how in (("host.internal", 3), ("named.internal", None), ("file.internal", 2), ("s1.internal", 3),
                          ("s2.internal", None), ("_http._tcp.x.internal", 2)):
            dns.fail[name] = how
        with open(path, "w") as f:
            f.write("- nonsense\n")
        for _ in range(2):  # what was inherited is left to the next as well
            self.upgrade(p)
            self.assertEqual(servers(), before)
        self.until(lambda: [state("host", "dns"), state("srv", "dns"), state("file", "file")] == ["stale"] * 3)
        self.assertEqual(servers(), before)
        dns.fail.clear()
        dns.records[("host.internal", A)] = ["127.0.0.9"]
        with open(path, "w") as f:
            f.write("- targets: ['127.0.0.5:80']\n")
        self.until(lambda: ("host", "127.0.0.9:80") in servers() and len(servers()) == 5)
        self.assertEqual(servers()[("named", "n")], before[("named", "n")])

    def registering(self, pool="  reg: {discover: {register: {token_file: %s, lease: 2s}}}\n"):
        folder = tempfile.mkdtemp(prefix="tandem-")
        self.addCleanup(shutil.rmtree, folder)
        with open(folder + "/token", "w") as f:
            f.write(TOKEN + "\n")
        os.chmod(folder + "/token", 0o600)
        p = self.p = self.begin(extra=pool % (folder + "/token"))
        self.file = os.path.join(p.tmp, "registrations.json")
        return p

    def put(self, name, method="PUT", **what):
        conn = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        conn.request(method, "/v1/pools/reg/servers/" + name, json.dumps(dict({"address": "127.0.0.1:81"}, **what)),
                     {"Authorization": "Bearer " + TOKEN})
        answer = conn.getresponse()
        answer.read()
        conn.close()
        return answer.status

    def servers(self):
        """{name: (address, weight, zone, backup)} and {name: milliseconds left}."""
        pool = self.p.status()["pools"]["reg"]
        return ({n: (s["address"], s["weight"], s["zone"], s["backup"]) for n, s in pool["servers"].items()},
                {n: s["lease_ms"] for n, s in pool["discovery"]["register"]["servers"].items()})

    def saved(self):
        with open(self.file) as f:
            return json.load(f)["pools"]["reg"]

    def three(self):
        self.assertEqual(self.put("a", lease="1h", weight=7, zone="r1", load=0.5), 201)
        self.assertEqual(self.put("b", lease="1h", backup=True, address="[::1]:82"), 201)
        self.assertEqual(self.put("short", lease="1s"), 201)
        return {"a": ("127.0.0.1:81", 7, "r1", False), "b": ("[::1]:82", 1, "", True)}

    def again(self, kill=False, text=None):
        """The program, started anew, with this text on disk."""
        proc = self.p.proc
        proc.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        self.assertEqual(proc.wait(20), -signal.SIGKILL if kill else 0)
        if text is not None:
            with open(self.file, "w") as f:
                f.write(text)
        self.p.start()
        self.pids.add(self.p.proc.pid)
        return self.servers()

    def test_registrations_survive_a_restart_but_not_their_lease(self):
        p = self.registering()
        want = self.three()
        servers, left = self.again()
        short = servers.pop("short", None)  # the machine may be slow
        self.assertEqual(servers, want)
        self.assertTrue(3590000 < left["a"] <= 3600000, left)
        self.assertEqual(p.status()["pools"]["reg"]["discovery"]["register"]["servers"]["a"]["load"], 0.5)
        self.until(lambda: "short" not in self.servers()[0])
        self.assertEqual(short, ("127.0.0.1:81", 1, "", False) if short else None)
        self.assertEqual(self.put("a", weight=8), 200)  # it is the same one
        self.assertEqual(self.put("b", method="DELETE"), 200)
        self.until(lambda: set(self.saved()) == {"a"} and self.saved()["a"]["weight"] == 8)
        self.assertEqual(set(self.again(kill=True)[0]), {"a"})
        with open(p.tmp + "/log") as f:
            self.assertNotIn(TOKEN, f.read())

    def test_what_is_on_disk_is_not_believed_blindly(self):
        p = self.registering()
        self.three()
        self.until(lambda: os.path.exists(self.file) and {"a", "b"} <= set(self.saved()))
        with open(self.file) as f:
            book = json.load(f)
        pool, now_ms = book["pools"]["reg"], int(time.time() * 1000)
        pool["late"] = dict(pool["a"], until_ms=now_ms - 1)
        pool["long"] = dict(pool["a"], lease_ms=60000, until_ms=now_ms + 10**9)  # the clock was set back
        for name, change in (("bad name", {}), ("weight", {"weight": 0}), ("address", {"address": 7}),
                             ("lease", {"lease_ms": 10**12})):
            pool[name] = dict(pool["a"], **change)
        book["pools"]["gone"] = dict(pool)
        servers, left = self.again(kill=True, text=json.dumps(book))
        self.assertEqual(set(servers) - {"short"}, {"a", "b", "long"})
        self.assertLessEqual(left["long"], 60000)
        for text, why in (("nonsense", "register.corrupt"), ('{"format": 2}', "its format")):
            self.assertEqual(self.again(kill=True, text=text)[0], {})
            self.assertIn(why, p.logged())
            with open(self.file + ".bad") as f:
                self.assertEqual(f.read(), text)
        self.assertEqual(self.put("a", lease="1h"), 201)
        self.until(lambda: os.path.exists(self.file) and set(self.saved()) == {"a"})

    def test_registrations_survive_an_upgrade(self):
        p = self.registering()
        want = self.three()
        tunnel = self.tunnel(p)[0]  # the old process stays
        before = self.servers()[1]["a"]
        self.assertEqual(self.put("renewed", lease="2s"), 201)
        over = time.monotonic() + 2.2
        self.upgrade(p)
        servers, left = self.servers()
        for name in ("renewed", "short"):  # the machine may be slow
            servers.pop(name, None)
        self.assertEqual(servers, want)
        self.assertLessEqual(left["a"], before)
        was_over = self.put("renewed", lease="1h") == 201
        self.assertEqual(self.put("a", lease="1s", weight=7, zone="r1"), 200)
        self.assertEqual(self.put("c", lease="1h"), 201)
        self.until(lambda: set(self.servers()[0]) == {"b", "c", "renewed"})
        self.until(lambda: set(self.saved()) == {"b", "c", "renewed"})
        self.upgrade(p)
        self.assertEqual(set(self.servers()[0]), {"b", "c", "renewed"})
        time.sleep(max(0, over - time.monotonic()))  # the first process was told of no more than two seconds
        lapsed = [line for line in p.logged().splitlines() if "register.lapsed" in line]
        lapsed = [w for line in lapsed for w in line.split() if w.startswith("server=")]
        self.assertEqual(lapsed.count("server=a"), 1, lapsed)
        self.assertEqual("server=renewed" in lapsed, was_over, lapsed)
        tunnel.close()


if __name__ == "__main__":
    unittest.main()
