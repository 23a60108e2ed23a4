#!/usr/bin/python3
"""Changing and stopping a busy proxy leaves no trace: nothing fails, nothing is reset, tunnels live on, and a bad
file changes nothing. TANDEM_RELOADS in the environment makes it more than a hundred reloads."""
import os
import random
import signal
import subprocess
import threading
import time
import unittest

from rig import BUILD, Reader, ask, free_port
from test_http1 import Case, get

RELOADS = int(os.environ.get("TANDEM_RELOADS", "100"))
CLIENTS = 20
TUNNELS = 4
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"


class Change(Case):
    def echo_server(self):
        """Answers a path with itself, /slow after a while; an upgrade with an echo of what comes."""
        def script(conn, n):
            rest = b""
            while True:
                head, _, rest = s.read_request(conn, n, rest)
                if head is None:
                    return
                path = head.split()[1]
                if b"\r\nUpgrade: " in head:
                    conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
                    while True:
                        data = conn.recv(65536)
                        if not data:
                            return
                        conn.sendall(data)
                if path == b"/slow":
                    time.sleep(1.5)
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))
        s = self.serve(script)
        return s

    def reload(self, p, text):
        p.write(text)
        answer = p.rpc("reload")
        self.assertTrue(answer.get("result", {}).get("ok"), answer)

    def tunnel(self, p):
        c = p.connect()
        self.addCleanup(c.close)
        c.sendall(UPGRADE)
        r = Reader(c)
        self.assertEqual(r.response().status, 101)
        return c, r


class Busy:
    """A client that asks as fast as it is answered, on one connection, until it is told to stop."""

    def __init__(self, p, seed):
        self.p, self.rng = p, random.Random(seed)
        self.done, self.failed, self.closed = 0, None, False
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            with self.p.connect() as c:
                r = Reader(c)
                while not self.stop.is_set() and not self.closed:
                    self.ask(c, r)
        except Exception as e:
            self.failed = "after %d requests: %r" % (self.done, e)

    def ask(self, c, r):
        path = "/%s/%d" % (self.rng.choice("abc"), self.rng.randrange(1000))
        c.sendall(get(path))
        answer = r.response()
        if (answer.status, answer.body) != (200, path.encode()):
            raise AssertionError("%d %r for %s" % (answer.status, answer.body, path))
        self.done += 1
        self.closed = answer.get("connection") == "close"

    def end(self):
        self.stop.set()
        self.thread.join(10)
        return self.failed or self.thread.is_alive()


class Reloads(Change):
    def text(self, rng, servers, extra_port):
        """One of many files: servers, routes, listeners, pools and times come and go; /ws and the rest stay."""
        chosen = [i for i in range(1, len(servers)) if rng.random() < 0.5]
        members = ", ".join('s%d: {address: "127.0.0.1:%d", weight: %d}' % (i, servers[i].port, rng.randrange(1, 4))
                            for i in [0] + chosen)
        routes = ["{match: {path: /ws}, pool: tunnels}"]
        routes += ["{match: {path: /%s/*}, pool: %s}" % (name, rng.choice(("web", "more")))
                   for name in "abc" if rng.random() < 0.5]
        routes.append("{pool: web, timeouts: {first_byte: %ds}}" % rng.randrange(10, 60))
        extra = '  extra: {bind: "127.0.0.1:%d", pool: web}\n' % extra_port if rng.random() < 0.5 else ""
        return ("listeners:\n  main: {bind: \"127.0.0.1:{port}\", routes: [%s]}\n%spools:\n"
                "  web: {servers: {%s}, balance: %s}\n  more: {servers: {m: \"127.0.0.1:%d\"}}\n"
                "  tunnels: {servers: {t: \"127.0.0.1:%d\"}}\n" % (
                    ", ".join(routes), extra, members, rng.choice(("least_requests", "round_robin")),
                    rng.choice(servers).port, servers[0].port))

    def test_no_request_fails_and_no_connection_closes_over_many_reloads(self):
        rng = random.Random(1)
        servers = [self.echo_server() for _ in range(4)]
        extra = free_port()
        p = self.proxy(self.text(rng, servers, extra), workers=2)
        tunnels = [self.tunnel(p) for _ in range(TUNNELS)]
        clients = [Busy(p, i) for i in range(CLIENTS)]
        for i in range(RELOADS):
            self.reload(p, self.text(rng, servers, extra))
            c, r = tunnels[i % TUNNELS]
            c.sendall(b"%06d" % i)
            self.assertEqual(r.exactly(6), b"%06d" % i)
        failed = [x for x in [c.end() for c in clients] if x]
        self.assertEqual(failed, [])
        self.assertEqual([c for c in clients if c.closed], [])
        self.assertGreater(min(c.done for c in clients), 0)
        self.assertGreater(sum(c.done for c in clients), 5 * RELOADS)
        self.assertEqual(p.status()["config"]["generation"], RELOADS + 1)
        for c, r in tunnels:
            c.close()
        self.eventually(lambda: p.status()["connections"] == 0)
        for pool in p.status()["pools"].values():
            self.assertEqual([s["in_flight"] for s in pool["servers"].values()], [0] * len(pool["servers"]))

    def test_what_is_under_way_at_what_was_removed_ends_well(self):
        old, new = self.echo_server(), self.echo_server()
        text = ('listeners:\n  main: {bind: "127.0.0.1:{port}", routes: [%s{pool: web}]}\n'
                'pools:\n  web: {servers: {%s: "127.0.0.1:%d"}}\n%s')
        gone = '  gone: {servers: {g: "127.0.0.1:%d"}}\n' % old.port
        p = self.proxy(text % ("{match: {host: gone}, pool: gone}, ", "a", old.port, gone))
        under_way = []
        for host in b"gone", b"stays":
            c = p.connect()
            self.addCleanup(c.close)
            c.sendall(b"GET /slow HTTP/1.1\r\nHost: %s\r\n\r\n" % host)
            under_way.append(c)
        time.sleep(0.3)
        self.reload(p, text % ("", "b", new.port, ""))
        for c in under_way:
            r = Reader(c)
            answer = r.response()
            self.assertEqual((answer.status, answer.body, answer.get("connection")), (200, b"/slow", None))
            c.sendall(get("/next"))  # on the same connection, now elsewhere
            self.assertEqual(r.response().body, b"/next")
        self.assertEqual(len(new.heads()), 2)
        self.eventually(lambda: p.status()["server_connections"] <= 1)  # none is kept to what was removed


class Refusals(Change):
    """A bad file is told in each place where somebody may look, and the old one runs on."""

    def start(self):
        p = self.proxy('listeners: {main: {bind: "127.0.0.1:{port}", pool: web}}\n'
                       'pools: {web: {servers: {a: "127.0.0.1:%d"}}}\n' % self.echo_server().port)
        c = p.connect()
        self.addCleanup(c.close)
        self.r = Reader(c)
        self.client = c
        c.sendall(get("/before"))
        self.assertEqual(self.r.response().body, b"/before")
        with open(p.file, "a") as f:
            f.write("timeouts: {idle: 2x}\n")
        return p

    def assert_refused(self, p, before=1):
        config = p.status()["config"]
        self.assertEqual(config["generation"], before)
        self.assertFalse(config["last_reload"]["ok"])
        self.assertIn("'2x' is not a duration", config["last_reload"]["errors"][0])
        self.assertRegex(p.logged(), r"tandem\.yaml:4:18: error: '2x' is not a duration")  # the report, on stderr
        self.assertIn("reload.refused", p.logged())
        self.client.sendall(get("/after"))
        self.assertEqual(self.r.response().body, b"/after")

    def ctl(self, p, *args):
        return subprocess.run([os.path.join(BUILD, "ctl", "tandemctl"), "--run-dir", p.tmp, *args], timeout=20,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)

    def test_by_signal(self):
        p = self.start()
        p.proc.send_signal(signal.SIGHUP)
        self.eventually(lambda: not p.status()["config"]["last_reload"]["ok"])
        self.assert_refused(p)

    def test_by_tandemctl(self):
        p = self.start()
        done = self.ctl(p, "reload")
        self.assertEqual(done.returncode, 1)
        self.assertIn("'2x' is not a duration", done.stdout + done.stderr)
        self.assert_refused(p)
        self.assertIn("'2x' is not a duration", self.ctl(p, "status").stdout)

    def test_a_good_file_after_it_runs_and_clears_the_errors(self):
        p = self.start()
        self.assertIn("error", p.rpc("reload"))
        with open(p.file) as f:
            good = f.read().replace("2x", "2m")
        with open(p.file, "w") as f:
            f.write(good)
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        self.assertEqual(p.status()["config"]["last_reload"]["errors"], [])
        self.assertEqual(p.status()["config"]["generation"], 2)


class Stops(Change):
    def test_a_stop_under_load_cuts_nobody_and_lets_slow_requests_finish(self):
        server = self.echo_server()
        p = self.proxy('listeners: {main: {bind: "127.0.0.1:{port}", pool: web}}\n'
                       'pools: {web: {servers: {a: "127.0.0.1:%d"}}}\n' % server.port, workers=2)
        clients = [Busy(p, i) for i in range(8)]
        slow = p.connect()
        self.addCleanup(slow.close)
        slow.sendall(get("/slow"))
        self.eventually(lambda: all(c.done > 5 for c in clients))
        p.proc.send_signal(signal.SIGTERM)
        answer = Reader(slow).response()
        self.assertEqual((answer.status, answer.body, answer.get("connection")), (200, b"/slow", "close"))
        for c in clients:
            c.thread.join(5)
        self.assertEqual([c.failed for c in clients if c.failed], [])
        self.assertTrue(all(c.closed for c in clients))
        self.assertEqual(p.proc.wait(5), 0)
        self.assertFalse(p.listens(p.port))


if __name__ == "__main__":
    unittest.main()
