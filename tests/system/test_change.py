#!/usr/bin/python3
"""Changes while requests run: servers drained, weighed, added and removed over the socket, kept over restarts,
reconciled with the configuration; nobody's request fails."""
import json
import os
import re
import shutil
import subprocess
import threading
import time
import unittest

from rig import BUILD, Reader, ask, free_port
from test_http1 import Case, config, get
from test_upgrade import switch, upgrade

CHECKED = "health: {http: /, every: 50ms, rise: 1}"


def named(name):
    """A server's script: every answer carries its name; /slow takes half a second, an Upgrade is a tunnel."""
    def script(conn, n):
        rest = b""
        while True:
            head, _, rest = s.read_request(conn, n, rest)
            if head is None:
                return
            if b"\r\nUpgrade:" in head:
                conn.sendall(switch())
                while conn.recv(100):
                    conn.sendall(b"echo")
                return
            if b" /slow " in head:
                time.sleep(1.5)  # what is asked meanwhile finds it in flight
            conn.sendall(b"HTTP/1.1 200 OK\r\nX-Server: %s\r\nContent-Length: 2\r\n\r\nok" % name)
    s = None

    def made(server):
        nonlocal s
        s = server
    return script, made


class Load:
    """Clients that ask over and over, on kept and on fresh connections, and note what they were answered."""

    def __init__(self, case, proxy, clients=3):
        self.answers, self.failures, self.running, self.proxy = [], [], True, proxy
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(clients)]
        for t in self.threads:
            t.start()
        case.addCleanup(self.stop)

    def run(self, i):
        conn = None
        while self.running:
            try:
                conn = conn or self.proxy.connect()
                began = time.monotonic()
                conn.sendall(get())
                r = Reader(conn).response()
                self.answers.append((began, r.status, r.get("X-Server")))
                if r.status != 200:
                    self.failures.append(r.head)
            except (OSError, EOFError) as e:
                self.failures.append(repr(e))
                conn = conn and conn.close()
                continue
            if i % 2:
                conn = conn.close()
        if conn:
            conn.close()

    def stop(self):
        self.running = False
        for t in self.threads:
            t.join(5)

    def names_since(self, at):
        """Who answered what was asked after that."""
        return {name for began, _, name in list(self.answers) if began > at}


class Change(Case):
    def named(self, name):
        script, made = named(name.encode())
        s = self.serve(script)
        made(s)
        return s

    def order(self, p, method, **params):
        answer = p.rpc(method, dict({"pool": "web"}, **params))
        self.assertIn("result", answer, answer)
        return answer["result"]

    def refused(self, p, method, **params):
        return p.rpc(method, dict({"pool": "web"}, **params))["error"]["message"]

    def server(self, p, name):
        return p.status()["pools"]["web"]["servers"][name]

    def two(self, pool=CHECKED, **how):
        a, b = self.named("s0"), self.named("s1")
        p = self.proxy(config(a, b, pool="balance: round_robin\n" + pool), **how)
        self.eventually(lambda: self.server(p, "s0")["health"] == self.server(p, "s1")["health"] == "up")
        return a, b, p


class Drains(Change):
    def test_a_drained_server_ends_what_it_has_and_gets_nothing_new(self):
        a, b, p = self.two(workers=2)
        tunnel = p.connect()
        self.addCleanup(tunnel.close)
        load = Load(self, p)
        while True:  # round robin: the next one is s1's
            tunnel.sendall(upgrade())
            self.assertEqual(Reader(tunnel).response().status, 101)
            if self.server(p, "s1")["sessions"] == 1:
                break
            tunnel.close()
            tunnel = p.connect()
        r = self.order(p, "server.set", server="s1", admin="draining")
        self.assertTrue(r["changed"])
        self.assertRegex(r["text"], r"^web/s1: ready -> draining, 1 session, \d+ requests? in flight$")
        self.assertEqual((r["admin"], r["sessions"]), ({"from": "ready", "to": "draining"}, 1))
        time.sleep(0.1)
        at, asked = time.monotonic(), len(load.answers)
        self.eventually(lambda: len(load.answers) > asked + 50)
        self.assertEqual(load.names_since(at), {"s0"})
        tunnel.sendall(b"still there?")
        self.assertEqual(tunnel.recv(100), b"echo")
        s = self.server(p, "s1")
        self.assertEqual((s["admin"], s["health"], s["configured"]), ("draining", "up", "enabled"))
        self.assertTrue(s["admin_by"] and s["admin_since"])
        self.assertFalse(self.order(p, "server.set", server="s1", admin="draining")["changed"])
        self.order(p, "server.set", server="s1", admin="ready")
        self.eventually(lambda: "s1" in load.names_since(time.monotonic() - 0.1))
        load.stop()
        self.assertEqual(load.failures, [])

    def test_a_drain_with_a_timeout_ends_in_maintenance_which_stops_checks(self):
        a, b, p = self.two()
        self.order(p, "server.set", server="s1", admin="draining", timeout="200ms", by="deploy")
        self.assertRegex(self.server(p, "s1")["admin_by"], r"^deploy \(.+\)$")
        self.eventually(lambda: self.server(p, "s1")["admin"] == "maintenance")
        time.sleep(0.1)
        checks = len(b.received)
        time.sleep(0.3)
        self.assertEqual(len(b.received), checks)
        self.assertEqual(self.server(p, "s1")["reason"], "not checked: in maintenance")
        b.kill()
        self.order(p, "server.set", server="s1", admin="ready")
        for _ in range(20):  # it is not trusted before a check has passed
            self.assertEqual(ask(p, get()).get("X-Server"), "s0")
        self.eventually(lambda: self.server(p, "s1")["health"] == "down")

    def test_orders_that_make_no_sense_are_refused_with_the_remedy(self):
        _, _, p = self.two()
        self.assertIn("did you mean 'web'?", self.refused(p, "server.set", pool="wbe", server="s0", admin="ready"))
        self.assertIn("did you mean 's0'?", self.refused(p, "server.set", server="s00", admin="ready"))
        self.assertIn("ready, draining or maintenance", self.refused(p, "server.set", server="s0", admin="drain"))
        self.assertIn("from 1 to 256", self.refused(p, "server.set", server="s0", weight=0))
        self.assertIn("unit", self.refused(p, "server.set", server="s0", admin="draining", timeout="5"))
        self.assertIn("goes with", self.refused(p, "server.set", server="s0", admin="ready", timeout="5s"))
        self.assertIn("nothing to set", self.refused(p, "server.set", server="s0"))
        self.assertIn("'by'", self.refused(p, "server.set", server="s0", admin="ready", by="a\nb"))
        self.assertEqual(p.status()["orders"]["servers"], 0)

    def test_whoever_takes_the_last_server_out_is_told_what_happens(self):
        _, _, p = self.two()
        self.assertNotIn("no other", self.order(p, "server.set", server="s0", admin="draining")["text"])
        self.assertIn("no other server takes new requests: they get 503",
                      self.order(p, "server.set", server="s1", admin="maintenance")["text"])
        self.eventually(lambda: ask(p, get()).status == 503)
        self.assertNotIn("no other", self.order(p, "server.set", server="s1", admin="ready")["text"])
        self.eventually(lambda: ask(p, get()).status == 200)

    def test_a_server_that_the_configuration_disables_gets_nothing(self):
        a, b = self.named("s0"), self.named("s1")
        text = config(a, b, pool=CHECKED)
        p = self.proxy(text.replace('s1: "127.0.0.1:%d"' % b.port,
                                    's1: {address: "127.0.0.1:%d", enabled: false}' % b.port))
        self.eventually(lambda: self.server(p, "s0")["health"] == "up")
        for _ in range(10):
            self.assertEqual(ask(p, get()).get("X-Server"), "s0")
        self.assertEqual(self.server(p, "s1")["configured"], "disabled")
        self.assertEqual(b.received, [])


class Membership(Change):
    def test_servers_come_and_go_under_load_and_a_scaler_may_say_it_twice(self):
        a, b, p = self.two(workers=2)
        c = self.named("s2")
        load = Load(self, p)
        new = dict(server="s2", address="127.0.0.1:%d" % c.port)
        r = self.order(p, "server.add", **new)
        self.assertEqual((r["changed"], r["text"]), (True, "web/s2: added, 127.0.0.1:%d" % c.port))
        self.assertFalse(self.order(p, "server.add", **new)["changed"])
        self.eventually(lambda: "s2" in load.names_since(0))
        self.assertEqual(self.server(p, "s2")["source"], "runtime")
        self.assertTrue(self.order(p, "server.add", weight=3, **new)["changed"])
        self.assertEqual(self.server(p, "s2")["weight"], 3)
        self.order(p, "server.set", server="s2", weight=7)
        self.assertFalse(self.order(p, "server.add", weight=3, **new)["changed"])
        self.assertEqual(self.server(p, "s2")["weight"], 7)
        self.assertTrue(self.order(p, "server.add", weight=4, **new)["changed"])
        self.assertFalse(self.order(p, "server.add", weight=4, **new)["changed"])
        self.assertEqual(self.server(p, "s2")["weight"], 4)
        self.assertTrue(self.order(p, "server.remove", server="s2")["changed"])
        time.sleep(0.1)
        at = time.monotonic()
        again = self.order(p, "server.remove", server="s2")
        self.assertEqual((again["changed"], again["text"]), (False, "web/s2: is not there"))
        asked = len(load.answers)
        self.eventually(lambda: len(load.answers) > asked + 50)
        self.assertEqual(load.names_since(at), {"s0", "s1"})
        self.assertIn("configuration", self.refused(p, "server.remove", server="s0"))
        self.assertFalse(self.order(p, "server.add", server="s0", address="127.0.0.1:%d" % a.port)["changed"])
        self.assertIn("take another name", self.refused(p, "server.add", server="s0", address="127.0.0.1:1"))
        self.assertIn("IP address and a port", self.refused(p, "server.add", server="s3", address="here:80"))
        self.assertIn("not a name", self.refused(p, "server.add", server="a/b", address="127.0.0.1:1"))
        load.stop()
        self.assertEqual(load.failures, [])

    def test_a_removed_server_ends_its_requests_and_is_shown_until_then(self):
        p = self.proxy(config(pool="balance: round_robin"))
        self.assertEqual(ask(p, get()).status, 503)
        c = self.named("s2")
        self.order(p, "server.add", server="s2", address="127.0.0.1:%d" % c.port)
        conn = p.connect()
        self.addCleanup(conn.close)
        conn.sendall(get("/slow"))
        self.eventually(lambda: self.server(p, "s2")["in_flight"] == 1)
        r = self.order(p, "server.remove", server="s2")
        self.assertEqual(r["text"], "web/s2: removed, 0 sessions, 1 request in flight")
        self.assertEqual(p.status()["pools"]["web"]["leaving"]["s2"]["in_flight"], 1)
        self.assertEqual(ask(p, get()).status, 503)
        self.assertIn(b"X-Server: s2", conn.recv(4096))
        self.eventually(lambda: p.status()["pools"]["web"]["leaving"] == {})


class Kept(Change):
    def restart(self, p):
        p.proc.kill()
        p.proc.wait()
        os.unlink(os.path.join(p.tmp, "proxy.sock"))  # start() waits for it
        p.start()

    def saved(self, p):
        def all_saved():
            orders = p.status()["orders"]
            return orders["saved"] == orders["changes"]
        self.eventually(all_saved)

    def test_orders_survive_a_restart_and_a_reload_until_the_configuration_says_otherwise(self):
        a, b, p = self.two()
        c = self.named("s2")
        self.order(p, "server.add", server="s2", address="127.0.0.1:%d" % c.port, zone="here")
        self.order(p, "server.set", server="s0", admin="maintenance", by="ann")
        self.order(p, "server.set", server="s1", weight=7)
        self.saved(p)
        self.restart(p)
        self.assertEqual(self.server(p, "s0")["admin"], "maintenance")
        self.assertEqual((self.server(p, "s1")["weight"], self.server(p, "s1")["weight_configured"]), (7, 1))
        self.assertEqual(self.server(p, "s2")["zone"], "here")
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        self.assertEqual((self.server(p, "s0")["admin"], self.server(p, "s1")["weight"]), ("maintenance", 7))
        with open(p.file) as f:
            text = f.read()
        text = text.replace('s0: "127.0.0.1:%d"' % a.port, 's0: {address: "127.0.0.1:%d", enabled: false}' % a.port)
        text = text.replace('s1: "127.0.0.1:%d"' % b.port, 's1: {address: "127.0.0.1:%d", weight: 3}' % b.port)
        with open(p.file, "w") as f:
            f.write(text)
        plan = p.rpc("plan")["result"]
        self.assertEqual(sorted(line.split(";")[0] for line in plan["dropped"]), [
            "server web/s0: it is disabled in the configuration now",
            "server web/s1: weight 7 was set when 1 was configured, now it is 3"])
        self.assertEqual([d["server"] for d in plan["drained"]], ["web/s0"])
        self.assertEqual(self.server(p, "s0")["admin"], "maintenance")  # nothing was done yet
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        s0, s1 = self.server(p, "s0"), self.server(p, "s1")
        self.assertEqual((s0["configured"], s0["admin"], s1["weight"]), ("disabled", "ready", 3))
        self.assertIn("weight 7 was set when 1 was configured, now it is 3", p.logged())
        self.assertEqual(self.server(p, "s2")["address"], "127.0.0.1:%d" % c.port)

    def test_a_file_that_makes_no_sense_is_set_aside_and_the_proxy_starts(self):
        a, b, p = self.two()
        with open(os.path.join(p.tmp, "servers.json"), "w") as f:
            f.write('{"format": 1, "servers": {"web/s0": {"admin": 5}}')
        self.restart(p)
        self.assertEqual(self.server(p, "s0")["admin"], "ready")
        self.assertIn("orders.corrupt", p.logged())
        self.assertTrue(os.path.exists(os.path.join(p.tmp, "servers.json.bad")))

    def test_a_disk_that_takes_nothing_is_said_and_changes_nothing_else(self):
        a, b, p = self.two()
        os.mkdir(os.path.join(p.tmp, "servers.json.new"))
        self.order(p, "server.set", server="s0", admin="draining")
        self.eventually(lambda: p.status()["orders"]["trouble"])
        self.assertIn("servers.json.new", p.status()["orders"]["trouble"])
        self.assertEqual(self.server(p, "s0")["admin"], "draining")
        os.rmdir(os.path.join(p.tmp, "servers.json.new"))
        self.eventually(lambda: p.status()["orders"]["trouble"] is None, within=10)
        with open(os.path.join(p.tmp, "servers.json")) as f:
            self.assertEqual(json.load(f)["servers"]["web/s0"]["admin"]["value"]["state"], "draining")
        self.order(p, "server.set", server="s0", admin="ready")
        self.saved(p)
        self.assertIsNone(p.status()["orders"]["trouble"])
        with open(os.path.join(p.tmp, "servers.json")) as f:
            self.assertIsNone(json.load(f)["servers"]["web/s0"]["admin"]["value"])


class Configurations(Change):
    def test_a_plan_says_whom_a_reload_would_touch_and_does_nothing(self):
        a, b, p = self.two()
        conn = p.connect()
        self.addCleanup(conn.close)
        conn.sendall(get("/slow"))
        file = os.path.join(p.tmp, "next.yaml")
        with open(file, "w") as f:
            f.write('workers: 1\nlisteners: {other: {bind: "127.0.0.1:%d", pool: web}}\n'
                    'pools: {web: {servers: {s9: "127.0.0.1:9"}}}\n' % free_port())
        self.eventually(lambda: self.server(p, "s0")["in_flight"] + self.server(p, "s1")["in_flight"] == 1)
        plan = p.rpc("plan", {"file": file})["result"]
        self.assertTrue(plan["ok"])
        self.assertIn("pool web: server s9 added", plan["changes"])
        self.assertEqual(sorted((d["server"], d["why"]) for d in plan["drained"]),
                         [("web/s0", "removed"), ("web/s1", "removed")])
        self.assertEqual(sum(d["in_flight"] for d in plan["drained"]), 1)
        self.assertEqual(plan["closed"], [{"listener": "main", "connections": 1}])
        self.assertEqual(p.status()["config"]["generation"], 1)
        with open(file, "a") as f:
            f.write("balance: x\n")
        plan = p.rpc("plan", {"file": file})["result"]
        self.assertFalse(plan["ok"])
        self.assertNotIn("changes", plan)

    def test_a_rollback_runs_what_ran_before_also_after_a_restart(self):
        a, b, p = self.two(workers=2)
        self.assertIn("no other configuration", p.rpc("rollback")["error"]["message"])
        with open(p.file) as f:
            first = f.read()
        os.mkdir(os.path.join(p.tmp, "conf.d"))
        with open(os.path.join(p.tmp, "conf.d", "more.yaml"), "w") as f:
            f.write('pools: {more: {servers: {m: "127.0.0.1:9"}}}\n')
        with open(p.file, "w") as f:
            f.write(first.replace("round_robin", "random") + "include: conf.d/*.yaml\n")
        load = Load(self, p)
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        back = p.rpc("rollback")["result"]
        self.assertEqual(back["restored"]["files"], [p.file])
        self.assertIn("pool web: balance random -> round_robin", back["changes"])
        status = p.status()
        self.assertEqual((status["pools"]["web"]["balance"], list(status["pools"])), ("round_robin", ["web"]))
        self.assertTrue(status["config"]["rolled_back"])
        forth = p.rpc("rollback")["result"]
        self.assertEqual(len(forth["restored"]["files"]), 2)
        self.assertEqual(sorted(p.status()["pools"]), ["more", "web"])
        self.assertFalse(p.status()["config"]["rolled_back"])
        load.stop()
        self.assertEqual(load.failures, [])
        p.stop()
        p.log = open(p.log.name, "ab")
        p.start()
        self.assertTrue(p.rpc("rollback")["result"]["ok"])
        self.assertEqual(list(p.status()["pools"]), ["web"])

    def test_a_configuration_that_cannot_run_again_changes_nothing(self):
        a, b, p = self.two()
        with open(p.file) as f:
            first = f.read()
        p.write("log: {access: {tmp}/logs/access.log}\n" + first.split("\n", 1)[1].replace("log: ", "# "))
        os.mkdir(os.path.join(p.tmp, "logs"))
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        p.write(first.split("\n", 1)[1])
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        shutil.rmtree(os.path.join(p.tmp, "logs"))
        self.assertIn("keeping the running configuration", p.rpc("rollback")["error"]["message"])
        self.assertEqual(ask(p, get()).status, 200)
        self.assertFalse(p.status()["config"]["rolled_back"])


class Tool(Change):
    def ctl(self, p, *args, code=0):
        r = subprocess.run([os.path.join(BUILD, "ctl", "tandemctl"), "--run-dir", p.tmp, *args], timeout=20,
                           capture_output=True, text=True)
        self.assertEqual(r.returncode, code, r.stdout + r.stderr)
        return r.stdout + r.stderr

    def test_an_operator_drains_weighs_adds_and_removes(self):
        a, b, p = self.two()
        conn = p.connect()
        self.addCleanup(conn.close)
        conn.sendall(get("/slow"))
        self.eventually(lambda: self.server(p, "s0")["in_flight"] + self.server(p, "s1")["in_flight"] == 1)
        busy = "s0" if self.server(p, "s0")["in_flight"] else "s1"
        out = self.ctl(p, "drain", "web/" + busy, "--wait")
        self.assertEqual(out, "web/%s: ready -> draining, 0 sessions, 1 request in flight\n1 in flight\n0 in flight\n" % busy)
        self.assertIn("draining already", self.ctl(p, "drain", "web/" + busy))
        self.assertIn("draining -> maintenance", self.ctl(p, "maintenance", "web/" + busy))
        self.assertRegex(self.ctl(p, "servers", "web"), r"web/%s .* maintenance " % busy)
        self.assertIn("maintenance -> ready", self.ctl(p, "ready", "web/" + busy))
        self.assertIn("weight 1 -> 5", self.ctl(p, "weight", "web/s0", "5"))
        c = self.named("s2")
        address = "127.0.0.1:%d" % c.port
        self.assertEqual(self.ctl(p, "server", "add", "web/s2", address, "--weight", "2"),
                         "web/s2: added, %s\n" % address)
        self.assertIn("is there already", self.ctl(p, "server", "add", "web/s2", address, "--weight", "2"))
        self.assertEqual(json.loads(self.ctl(p, "server", "remove", "web/s2", "--json"))["changed"], True)
        self.assertIn("is not there", self.ctl(p, "server", "remove", "web/s2"))
        self.assertIn("did you mean 's0'?", self.ctl(p, "drain", "web/s00", code=1))
        self.assertIn("POOL/SERVER", self.ctl(p, "drain", "web", code=2))
        self.assertIn("usage:", self.ctl(p, "drain", code=2))
        self.assertIn("1 to 256", self.ctl(p, "weight", "web/s0", "0", code=2))
        self.assertIn("--timeout", self.ctl(p, "drain", "web/s0", "--timeout", "5", code=2))
        self.ctl(p, "ready", "web/s0", "--timeout", "5s", code=2)
        p.stop()
        self.ctl(p, "ready", "web/s0", code=3)

    def test_the_configuration_is_shown_with_where_each_value_comes_from_and_no_secrets(self):
        a = self.named("s0")
        p = self.proxy(config(a, pool="health: {http: /, headers: {Authorization: \"Bearer x1y2\"}}"))
        out = self.ctl(p, "config", "show")
        self.assertRegex(out, r'(?m)^pools\.web\.servers\.s0\.address: 127\.0\.0\.1:%d  # .*tandem.yaml:\d+$' % a.port)
        self.assertIn("pools.web.health.headers.Authorization: (hidden)", out)
        self.assertNotIn("timeouts.idle", out)
        out = self.ctl(p, "config", "show", "--effective")
        for line in ("timeouts.idle: 60s  # default", "pools.web.balance: least_requests  # default",
                     "pools.web.servers.s0.weight: 1  # default", "pools.web.health.every: 2s  # default",
                     "pools.web.retry.attempts: 3  # default", "pools.web.passive.eject: 10s  # default",
                     "listeners.main.limits.request_head: 32KiB  # default"):
            self.assertIn(line + "\n", out)
        for line in ("failover", "pools.web.sticky", "pools.web.health.agent"):  # of these it would mean something
            self.assertNotIn(line, out)
        self.assertIn("usage:", self.ctl(p, "config", "shwo", code=2))
        bundle = self.ctl(p, "dump")
        self.assertNotIn("x1y2", bundle)
        bundle = json.loads(bundle)
        self.assertIn("web", bundle["proxy"]["status"]["pools"])
        self.assertIn("error", bundle["failover"]["status"])
        self.assertTrue(any(e["event"] == "server.up" for e in bundle["proxy"]["events"]))

    def test_top_shows_what_each_server_does_now(self):
        a, b, p = self.two()
        load = Load(self, p)
        top = json.loads(self.ctl(p, "top", "--once", "--json"))
        load.stop()
        self.assertGreater(top["requests_per_second"], 20)
        for s in top["servers"]:
            self.assertGreater(s["requests_per_second"], 10)
        self.assertRegex(self.ctl(p, "top", "--once"), r"(?m)^web/s1 +\d+ +\d+ .* up +ready")

    def test_an_operator_plans_and_rolls_back(self):
        a, b, p = self.two()
        with open(p.file) as f:
            text = f.read()
        with open(p.file, "w") as f:
            f.write(re.sub(r', s1: "[^"]*"', "", text))
        self.order(p, "server.set", server="s1", weight=9)
        out = self.ctl(p, "plan")
        self.assertIn("  pool web: server s1 removed\n", out)
        self.assertIn("  web/s1: removed; 0 sessions, 0 in flight may end\n", out)
        self.assertIn("orders that it would overrule:\n  server web/s1: it is not in the pool any more", out)
        self.assertEqual(self.ctl(p, "check"), "%s: good\n" % p.file)  # what a reload would read
        self.assertIn("reloaded", self.ctl(p, "reload"))
        out = self.ctl(p, "rollback")
        self.assertIn("runs again, generation 3\n", out)
        self.assertIn("%s is as it is" % p.file, out)
        self.assertIn("s1", p.status()["pools"]["web"]["servers"])

    def test_what_could_not_be_saved_is_said_at_once(self):
        _, _, p = self.two()
        os.mkdir(os.path.join(p.tmp, "servers.json.new"))
        self.assertIn("lost with a restart", self.ctl(p, "drain", "web/s0"))


if __name__ == "__main__":
    unittest.main()
