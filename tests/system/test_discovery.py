#!/usr/bin/env python3
"""Servers by DNS and from a file: they come, change and go, and what fails keeps what was known."""
import http.client
import json
import os
import time
import unittest

import rig
from dnsd import A, AAAA, SRV, Dns

CONFIG = """
resolvers: ["127.0.0.1:%d"]
listeners: {web: {bind: "127.0.0.1:{port}", pool: web}}
pools:
  web: {%s}
"""
ADMIN = """
admin: {bind: "127.0.0.1:%d"}
"""
GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class TestDiscovery(unittest.TestCase):
    def setUp(self):
        self.dns = Dns()
        self.addCleanup(self.dns.close)
        self.server = rig.Server(host="0.0.0.0")

    def start(self, pool):
        self.proxy = rig.Proxy(CONFIG % (self.dns.port, pool))
        self.addCleanup(self.proxy.stop)
        rig.ask(self.proxy, GET)  # clients are let in once names were asked for
        return self.proxy

    def pool(self):
        return self.proxy.status()["pools"]["web"]

    def servers(self):
        return sorted(self.pool()["servers"])

    def eventually(self, want, get=None, limit=8):
        get = get or self.servers
        end = time.monotonic() + limit
        while get() != want and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(get(), want, self.proxy.logged()[-2000:])

    def at(self, *ips):
        return ["%s:%d" % (ip, self.server.port) for ip in ips]

    def test_a_host_is_followed_and_a_good_answer_removes(self):
        name = "api.internal"
        self.dns.records[(name, A)] = ["127.0.0.1"]
        self.start('discover: {dns: "%s:%d"}' % (name, self.server.port))
        self.assertEqual(rig.ask(self.proxy, GET).status, 200, "known before the first client")
        self.assertEqual(self.servers(), self.at("127.0.0.1"))
        self.assertEqual(self.pool()["discovery"]["dns"]["state"], "resolved")
        self.dns.records[(name, A)] = ["127.0.0.1", "127.0.0.2"]
        self.eventually(self.at("127.0.0.1", "127.0.0.2"))
        self.dns.records[(name, AAAA)] = ["::1"]
        self.eventually(self.at("127.0.0.1", "127.0.0.2") + ["[::1]:%d" % self.server.port])
        self.dns.records = {(name, A): ["127.0.0.2"]}
        self.eventually(self.at("127.0.0.2"))
        self.dns.records[(name, A)] = []
        self.eventually([])
        self.assertEqual(rig.ask(self.proxy, GET).status, 503)
        self.dns.records[(name, A)] = ["127.0.0.1"]
        self.eventually(self.at("127.0.0.1"))
        self.assertEqual(rig.ask(self.proxy, GET).status, 200)

    def test_what_fails_keeps_what_was_known(self):
        ways = {"servfail": 2, "nxdomain": 3, "refused": 5, "garbage": "garbage", "silent": None}
        pools = "discover: {dns: \"web.internal:%d\"}}\n" % self.server.port
        self.dns.records[("web.internal", A)] = ["127.0.0.1"]
        for way in ways:
            self.dns.records[(way + ".internal", A)] = ["127.0.0.2"]
            pools += "  %s: {discover: {dns: \"%s.internal:%d\"}}\n" % (way, way, self.server.port)
        self.start(pools.rstrip()[:-1])
        for way, how in ways.items():
            self.dns.fail[way + ".internal"] = how
        states = lambda: [self.proxy.status()["pools"][w]["discovery"]["dns"]["state"] for w in ways]
        self.eventually(["stale"] * 5, states)
        pools = self.proxy.status()["pools"]
        for way in ways:
            self.assertEqual(list(pools[way]["servers"]), self.at("127.0.0.2"), way)
        reasons = [pools[w]["discovery"]["dns"]["reason"] for w in ways]
        self.assertEqual(reasons[:3], ["SERVFAIL", "NXDOMAIN", "REFUSED"])
        self.assertIn("Timeout", reasons[4])
        self.dns.fail.clear()
        self.eventually(["resolved"] * 5, states)

    def test_the_time_to_live_is_honoured_and_a_truncated_answer_is_fetched_by_tcp(self):
        name = "many.internal"
        self.dns.ttl = 3600
        self.dns.fail[(name, A)] = "tc"
        self.dns.records[(name, A)] = ["127.0.%d.%d" % (i // 200, 1 + i % 200) for i in range(250)]
        self.start('discover: {dns: "%s:%d"}' % (name, self.server.port))
        self.assertEqual(len(self.servers()), 250)
        self.assertIn((name, A, "tcp"), self.dns.asked)
        asked = len(self.dns.asked)
        time.sleep(1.5)
        self.assertEqual(len(self.dns.asked), asked, "it is known for an hour")

    def test_a_service_has_ports_weights_and_backups(self):
        other = rig.Server(host="0.0.0.0")
        p1, p2 = self.server.port, other.port
        self.dns.records = {("_http._tcp.web.internal", SRV): [(10, 60, p1, "h1.internal"), (10, 30, p2, "h1.internal"),
                                                               (20, 0, p1, "h2.internal")],
                            ("h1.internal", A): ["127.0.0.1"], ("h2.internal", A): ["127.0.0.9"]}
        self.start("discover: {dns: _http._tcp.web.internal}")
        seen = lambda: {n: (s["weight"], s["backup"]) for n, s in self.pool()["servers"].items()}
        want = {"127.0.0.1:%d" % p1: (60, False), "127.0.0.1:%d" % p2: (30, False), "127.0.0.9:%d" % p1: (1, True)}
        self.eventually(want, seen)
        for _ in range(20):
            self.assertEqual(rig.ask(self.proxy, GET).status, 200)
        # All others at once: never a moment without a server.
        self.dns.records[("h3.internal", A)] = ["127.0.0.3"]
        self.dns.records[("_http._tcp.web.internal", SRV)] = [(1, 1000, p1, "h3.internal"), (1, 10, p2, "h3.internal")]
        end = time.monotonic() + 6
        while self.servers() != sorted(["127.0.0.3:%d" % p1, "127.0.0.3:%d" % p2]) and time.monotonic() < end:
            self.assertEqual(rig.ask(self.proxy, GET).status, 200)
        self.eventually({"127.0.0.3:%d" % p1: (256, False), "127.0.0.3:%d" % p2: (2, False)}, seen)

    def test_a_configured_server_may_have_a_hosts_name(self):
        self.dns.fail["a1.internal"] = 2
        self.dns.records[("a2.internal", A)] = ["127.0.0.2", "127.0.0.1"]
        self.start('servers: {a1: "a1.internal:%d", a2: {address: "a2.internal:%d", weight: 3}}' %
                   (self.server.port, self.server.port))
        pool = self.pool()
        self.assertEqual(pool["servers"]["a1"]["health"], "unresolved")
        self.assertEqual(pool["servers"]["a1"]["address"], "a1.internal:%d" % self.server.port)
        self.assertEqual((pool["total"], pool["up"]), (2, 1))
        self.assertEqual((pool["servers"]["a2"]["weight"], pool["servers"]["a2"]["address"]),
                         (3, self.at("127.0.0.1")[0]))
        self.assertEqual(rig.ask(self.proxy, GET).status, 200)
        # It keeps its address while the host has it, and moves when not.
        self.dns.records[("a2.internal", A)] = ["127.0.0.1", "127.0.0.0"]
        self.dns.records[("a1.internal", A)] = ["127.0.0.4"]
        del self.dns.fail["a1.internal"]
        addresses = lambda: [s["address"] for _, s in sorted(self.pool()["servers"].items())]
        self.eventually(self.at("127.0.0.4", "127.0.0.1"), addresses)
        self.dns.records[("a2.internal", A)] = ["127.0.0.7"]
        self.eventually(self.at("127.0.0.4", "127.0.0.7"), addresses)

    def test_a_reload_follows_other_resolvers_and_names(self):
        self.dns.records[("one.internal", A)] = ["127.0.0.1"]
        self.start('discover: {dns: "one.internal:%d"}' % self.server.port)
        self.assertEqual(self.servers(), self.at("127.0.0.1"))
        other = Dns()
        self.addCleanup(other.close)
        other.records[("one.internal", A)] = ["127.0.0.2"]
        with open(self.proxy.file) as f:
            text = f.read()

        def reload(text):
            with open(self.proxy.file, "w") as f:
                f.write(text)
            self.assertIn("result", self.proxy.rpc("reload"), self.proxy.logged())
        reload(text.replace(str(self.dns.port), str(other.port)))
        self.assertEqual(rig.ask(self.proxy, GET).status, 200)
        self.eventually(self.at("127.0.0.2"))
        other.records[("two.internal", A)] = ["127.0.0.3"]
        text = text.replace(str(self.dns.port), str(other.port)).replace("one.internal", "two.internal")
        reload(text)
        self.eventually(self.at("127.0.0.3"))
        reload(text.replace('discover: {dns: "two.internal:%d"}' % self.server.port,
                            'servers: {s: "127.0.0.1:%d"}' % self.server.port))
        self.eventually(["s"])
        self.assertEqual(rig.ask(self.proxy, GET).status, 200)

    def test_a_reload_to_a_name_that_is_not_answered_keeps_the_servers(self):
        self.dns.records[("one.internal", A)] = ["127.0.0.1"]
        self.start('discover: {dns: "one.internal:%d"}' % self.server.port)
        with open(self.proxy.file) as f:
            text = f.read().replace("one.internal", "two.internal")
        with open(self.proxy.file, "w") as f:
            f.write(text)
        self.dns.fail["two.internal"] = 3
        self.assertIn("result", self.proxy.rpc("reload"), self.proxy.logged())
        dns = lambda: self.pool()["discovery"]["dns"]
        self.eventually(("stale", "NXDOMAIN"), lambda: (dns()["state"], dns()["reason"]))
        self.assertEqual(self.servers(), self.at("127.0.0.1"))
        self.assertEqual(rig.ask(self.proxy, GET).status, 200)
        self.dns.records[("two.internal", A)] = ["127.0.0.2"]
        del self.dns.fail["two.internal"]
        self.eventually(self.at("127.0.0.2"))

    def test_a_file_is_followed_and_a_bad_one_changes_nothing(self):
        path = "/tmp/tandem-servers-%d.yaml" % os.getpid()
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        a1, a2 = self.at("127.0.0.1", "127.0.0.2")
        self.dns.records[("f.internal", A)] = ["127.0.0.5"]

        def write(text):
            with open(path + ".new", "w") as f:
                f.write(text)
            os.rename(path + ".new", path)
        file = lambda: self.pool()["discovery"]["file"]
        self.start("discover: {file: %s}" % path)
        self.assertEqual(file()["state"], "unresolved")
        self.assertIn("No such file", file()["reason"])
        write("- targets: [%s]\n  labels: {job: web, tandem_zone: r1, tandem_weight: '3'}\n" % a1)
        self.eventually([a1])
        self.assertEqual(self.pool()["servers"][a1]["weight"], 3)
        self.assertEqual(self.pool()["servers"][a1]["zone"], "r1")
        self.assertEqual((file()["state"], file()["reason"]), ("resolved", None))
        self.assertEqual(rig.ask(self.proxy, GET).status, 200)
        # JSON with tabs, written in place; a name among the targets, and names of our own.
        with open(path, "w") as f:
            f.write('[\n\t{"targets": ["%s", "f.internal:80"], "labels": {"env": "x"}},\n'
                    '\t{"targets": ["%s"], "labels": {"tandem_name": "b", "tandem_backup": "true"}}]' % (a1, a2))
        self.eventually(sorted([a1, "127.0.0.5:80", "b"]))
        self.assertTrue(self.pool()["servers"]["b"]["backup"])
        for bad, why in (('[{"targets": ["%s"' % a1, "YAML"), ("- {targets: [nonsense]}\n", "port"),
                         ("- {target: [x]}\n", "unknown key"), ("", "empty"),
                         ("- {targets: ['%s'], labels: {tandem_weight: '0'}}\n" % a1, "tandem_weight")):
            write(bad)
            self.eventually(True, lambda why=why: why in (file()["reason"] or ""))
            self.assertEqual(file()["state"], "stale")
            self.assertEqual(self.servers(), sorted([a1, "127.0.0.5:80", "b"]))
        write("[]\n")
        self.eventually([])
        write("- targets: ['%s']\n" % a2)
        self.eventually([a2])
        os.unlink(path)
        self.eventually("stale", lambda: file()["state"])
        self.assertEqual(self.servers(), [a2])

    def call(self, method, name, body=None, token="0123456789abcdef-token", pool="web"):
        conn = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
        conn.request(method, "/v1/pools/%s/servers/%s" % (pool, name), json.dumps(body) if body is not None else None,
                     {"Authorization": "Bearer " + token} if token else {})
        answer = conn.getresponse()
        data = json.loads(answer.read())
        conn.close()
        return answer.status, data

    def test_servers_register_renew_and_leave(self):
        self.admin = rig.free_port()
        path = "/tmp/tandem-token-%d" % os.getpid()
        with open(path, "w") as f:
            f.write("0123456789abcdef-token\n")
        os.chmod(path, 0o600)
        self.addCleanup(os.unlink, path)
        global CONFIG
        config, CONFIG = CONFIG, CONFIG + (ADMIN % self.admin).replace("%", "%%")
        try:
            self.start("discover: {register: {token_file: %s, lease: 1s}}" % path)
        finally:
            CONFIG = config
        port = self.server.port
        self.assertEqual(rig.ask(self.proxy, GET).status, 503)
        for token, pool in ((None, "web"), ("wrong", "web"), ("0123456789abcdef-token", "other")):
            self.assertEqual(self.call("POST", "w1", {"address": ":%d" % port}, token, pool)[0], 401)
        status, said = self.call("POST", "w1", {"address": ":%d" % port, "weight": 5, "load": 0.5})
        self.assertEqual((status, said["address"], said["lease_ms"]), (201, "127.0.0.1:%d" % port, 1000))
        self.assertEqual(rig.ask(self.proxy, GET).status, 200)
        self.assertEqual(self.pool()["servers"]["w1"]["weight"], 5)
        self.assertEqual(self.pool()["discovery"]["register"]["servers"]["w1"]["load"], 0.5)
        for bad, why in (({}, "address"), ({"address": "x"}, "x"), ({"address": ":1", "weight": 0}, "weight"),
                         ({"address": ":1", "load": 2}, "load"), ({"address": ":1", "lease": "1d"}, "lease"),
                         ({"address": ":1", "wieght": 1}, "wieght"), ([], "object")):
            status, said = self.call("PUT", "w2", bad)
            self.assertEqual(status, 400, bad)
            self.assertIn(why, said["error"])
        self.assertEqual(self.call("PUT", "a%20b", {"address": ":1"})[0], 400)
        self.assertEqual(self.call("GET", "w1")[0], 405)
        self.assertEqual(self.call("DELETE", "w2")[0], 404)
        # Renewed it stays; a reload does not lose it; what is not renewed goes.
        self.assertEqual(self.call("PUT", "w2", {"address": "127.0.0.1:%d" % port, "lease": "1h"})[0], 201)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            self.assertEqual(self.call("POST", "w1", {"address": ":%d" % port, "weight": 5})[0], 200)
            self.assertIn("result", self.proxy.rpc("reload"), self.proxy.logged())
            self.assertEqual(self.servers(), ["w1", "w2"])
            time.sleep(0.2)
        self.eventually(["w2"])
        self.assertIn("register.lapsed", self.proxy.logged())
        self.assertEqual(self.call("DELETE", "w2")[0], 200)
        self.eventually([])
        self.assertNotIn("0123456789abcdef", self.proxy.logged())


if __name__ == "__main__":
    unittest.main()
