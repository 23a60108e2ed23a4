#!/usr/bin/python3
"""Limits of connections, and floods of them: who may come in, who has to go, and that good clients go on."""
import multiprocessing
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import unittest

from rig import PATIENCE_S, SANITIZED, SLOW, Reader, ask
from test_http1 import Case, config, get
from test_tls import Certs

ATTACKERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench", "attackers.py")
LARGE = b"x" * (1 << 24)
RESET = b"\1\0\0\0\0\0\0\0"  # a struct linger: close with a reset


class Floods(Case):
    def connect(self, p, source="127.0.0.1", port=None):
        c = socket.create_connection(("127.0.0.1", port or p.port), PATIENCE_S, (source, 0))
        self.addCleanup(c.close)
        return c

    def refused(self, p, host="127.0.0.1"):
        """A new connection is closed without a byte."""
        try:
            with socket.create_connection((host, p.port), PATIENCE_S) as c:
                c.sendall(get())
                return c.recv(100) == b""
        except ConnectionError:
            return True

    def works(self, c):
        c.sendall(get())
        return Reader(c).response().status == 200

    def listener(self, p):
        return p.status()["listeners"]["main"]

    def empty(self, p):
        """All connections have come and gone."""
        self.eventually(lambda: p.status()["connections"] == 0)

    def asked_once(self, p, **how):
        c = self.connect(p, **how)
        self.assertTrue(self.works(c))
        return c


class PerClient(Floods):
    LIMIT = ", limits: {connections_per_client: 3}%s"

    def start(self, workers=2, more=""):
        return self.proxy(config(self.serve(), listener=self.LIMIT % more), workers=workers)

    def test_a_client_over_its_limit_is_closed_at_once_whichever_worker_it_meets(self):
        p = self.start()
        held = [self.asked_once(p) for _ in range(3)]
        self.assertTrue(all(self.refused(p) for _ in range(20)))
        self.assertTrue(all(self.works(c) for c in held))
        self.assertTrue(self.works(self.connect(p, source="127.0.0.2")))  # another address
        self.assertEqual(self.listener(p)["connections_refused_total"], 20)
        self.assertIn("listener.refused", p.logged())
        self.assertIn("client=127.0.0.1", p.logged())
        self.assertLessEqual(p.logged().count("listener.refused"), 2)  # a line a worker in ten seconds

    def test_a_place_is_free_again_when_a_connection_ends_in_whatever_way(self):
        p = self.start()
        for end in ("close", "reset", "error", "half"):
            with self.subTest(end=end):
                self.empty(p)
                held = [self.asked_once(p) for _ in range(3)]
                for c in held:
                    if end == "error":
                        c.sendall(b"no\r\n\r\n")
                    elif end == "half":
                        c.sendall(b"GET / HTT")
                    elif end == "reset":
                        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    c.close()

    def test_trusted_proxies_have_no_limit(self):
        p = self.start(more=", trusted_proxies: [127.0.0.2/32]")
        held = [self.asked_once(p, source="127.0.0.2") for _ in range(10)]
        self.assertTrue(all(self.works(c) for c in held))

    def test_the_limit_holds_over_reloads_and_may_come_and_go(self):
        server = self.serve()
        with_limit, without = (config(server, listener=text) for text in (self.LIMIT % "", ""))
        p = self.proxy(with_limit, workers=2)
        self.empty(p)
        held = [self.asked_once(p) for _ in range(3)]
        for text, refused in ((with_limit, True), (without, False), (with_limit, True),
                              (with_limit.replace("main:", "other:"), False)):
            p.write(text)
            self.assertTrue(p.rpc("reload")["result"]["ok"])
            time.sleep(0.2)
            self.assertEqual(self.refused(p), refused, text)
            time.sleep(0.1)
        self.assertTrue(all(self.works(c) for c in held))
        for c in held:  # they left the count of a listener that is gone
            c.close()
        self.empty(p)

    def test_an_ipv6_client_is_its_network(self):
        p = self.proxy(config(self.serve(), listener=self.LIMIT % "").replace('"127.0.0.1:{port}"', '"[::1]:{port}"'),
                       wait=False)
        self.eventually(lambda: self.listens6(p), 10)
        self.empty(p)
        held = [socket.create_connection(("::1", p.port), PATIENCE_S) for _ in range(3)]
        for c in held:
            self.addCleanup(c.close)
        self.assertTrue(all(self.works(c) for c in held))
        self.assertTrue(self.refused(p, "::1"))
        for c in held:
            c.close()

    def listens6(self, p):
        try:
            socket.create_connection(("::1", p.port), 1).close()
            return p.status() is not None
        except OSError:
            return False


class Full(Floods):
    def test_who_never_asked_goes_first_and_then_idle_ones_but_no_busy_one(self):
        def script(conn, n):
            head, rest = s.read_head(conn, n)
            if b"/slow" in head:
                time.sleep(4)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            s.answer_all(conn, n, b"ok")
        s = self.serve(script)
        p = self.proxy(config(s, listener=", limits: {connections: 12}"))
        self.empty(p)
        busy = [self.connect(p) for _ in range(4)]
        for c in busy:
            c.sendall(get("/slow"))
        idle = [self.asked_once(p) for _ in range(4)]
        silent = [self.connect(p) for _ in range(4)]
        time.sleep(0.3)
        begun = time.monotonic()
        self.assertTrue(self.works(self.connect(p)))
        self.assertLess(time.monotonic() - begun, 0.5 * SLOW)  # an idle one had to be so for a second
        self.assertTrue(all(self.is_closed(c) for c in silent))
        self.assertFalse(any(self.is_closed(c) for c in idle))
        more = [self.asked_once(p) for _ in range(3)]
        self.assertEqual(p.status()["connections"], 12)
        time.sleep(1.3)
        self.assertTrue(self.works(self.connect(p)))
        self.assertTrue(all(self.is_closed(c) for c in idle + more))
        for c in busy:
            self.assertEqual(Reader(c).response().status, 200)
        self.assertGreater(self.listener(p)["connections_shed_total"], 7)
        self.assertEqual(p.logged().count("listener.shedding"), 1)

    def test_who_was_just_served_is_not_taken_for_silent_after_a_reload(self):
        server = self.serve()
        text = config(server, listener=", limits: {connections: 4}, timeouts: {idle: %s}")
        p = self.proxy(text % "20s")
        self.empty(p)
        served = [self.asked_once(p) for _ in range(4)]
        p.write(text % "60s")
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        c = self.connect(p)
        time.sleep(0.3)
        self.assertFalse(any(self.is_closed(c) for c in served))
        self.assertTrue(self.works(c))  # once they have been silent for a second
        self.assertTrue(any(self.is_closed(c) for c in served))  # who was served later may stay

    def is_closed(self, c):
        c.setblocking(False)
        try:
            return c.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        finally:
            c.settimeout(PATIENCE_S)

    def test_idle_clients_of_other_workers_go_too(self):
        p = self.proxy(config(self.serve(), listener=", limits: {connections: 1}"), workers=4)
        self.empty(p)
        for _ in range(4):  # at least one meets another worker than the one before
            c = self.connect(p)
            self.assertTrue(self.works(c))

    def test_with_nobody_to_go_the_others_wait_until_there_is_room(self):
        s = self.serve(lambda conn, n: (s.read_head(conn, n), time.sleep(2), conn.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")))
        p = self.proxy(config(s, listener=", limits: {connections: 2}"))
        self.empty(p)
        clients = [self.connect(p) for _ in range(4)]
        for c in clients:
            c.sendall(get("/", "Connection: close\r\n"))
        self.eventually(lambda: p.status()["connections"] == 2)
        time.sleep(0.5)
        self.assertEqual(p.status()["connections"], 2)
        self.assertEqual([Reader(c).response().status for c in clients], [200] * 4)
        self.assertEqual(p.logged().count("listener.paused"), 1)

    def test_without_files_accepting_rests_and_goes_on_when_there_are_some(self):
        p = self.proxy(config(self.serve()), files=128)
        good = self.asked_once(p)
        flood = [self.connect(p) for _ in range(300)]
        for _ in range(20):
            self.assertTrue(self.works(good))
        self.assertLess(p.status()["connections"], 64)
        late = self.connect(p)  # behind some 250 others, of whom a second later the first are sent away
        late.settimeout(PATIENCE_S)
        self.assertTrue(self.works(late))
        for c in flood:
            c.close()
        self.assertEqual(ask(p, get()).status, 200)

    def test_established_clients_are_served_while_connections_flood_in(self):
        p = self.proxy(config(self.serve()))
        good = self.asked_once(p)

        def flood():
            while True:
                c = socket.socket()
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                try:
                    c.connect(("127.0.0.1", p.port))
                except OSError:
                    pass
                c.close()
        floods = [multiprocessing.get_context("fork").Process(target=flood, daemon=True) for _ in range(2)]
        for f in floods:
            f.start()
        times = []
        while sum(times) < 1.5:
            start = time.monotonic()
            self.assertTrue(self.works(good))
            times.append(time.monotonic() - start)
        for f in floods:
            f.kill()
            f.join()
        self.assertGreater(self.listener(p)["connections_total"], 500)
        self.assertLess(sorted(times)[len(times) // 2], 0.1)
        good.close()
        self.empty(p)


class AttackCase(Floods):
    """A few hundred of each kind, for a good client's sake; tests/bench/attacks has the thousands and the figures."""
    LISTENER = ""
    COUNTS = {"readers": 30, "h2-readers": 5}
    MEMORY_KIB = {"heads": 24, "bodies": 28, "readers": 200, "silent": 2, "idle": 4,
                  "tls-idle": 32, "tls-stalled": 4, "h2-readers": 4096}  # at most, each

    def attack(self, kind):
        def answer(conn, n):
            rest = b""
            while True:
                head, rest = s.read_head(conn, n, rest)
                if head is None or head.startswith(b"POST"):
                    return conn.recv(1)
                body = LARGE if b" /100m " in head else b"ok"
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
                conn.sendall(body)
        s = self.serve(answer)
        p = self.proxy(config(s, listener=self.LISTENER))
        count = self.COUNTS.get(kind, 300)
        good = self.asked_once(p)
        before_kib = p.rss_kb()
        attackers = subprocess.Popen([sys.executable, ATTACKERS, kind, str(p.port), str(count)],
                                     stdout=subprocess.PIPE, text=True)
        try:
            self.assertEqual(attackers.stdout.readline(), "ready\n")
            # On a busy machine some are cut for being too slow, as they should be.
            self.eventually(lambda: p.status()["connections"] > count // 4)
            times = []
            for _ in range(100):
                start = time.monotonic()
                self.assertTrue(self.works(good))
                times.append(time.monotonic() - start)
            self.assertTrue(self.works(self.connect(p)))
            self.assertLess(sorted(times)[50], 0.2 * SLOW)
            held = p.status()["connections"]
            self.assertGreater(held, count // 8)
            if not SANITIZED:
                self.assertLess((p.rss_kb() - before_kib - 4096) / held, self.MEMORY_KIB[kind])
        finally:
            attackers.kill()
            attackers.wait()
            attackers.stdout.close()
        self.assertTrue(self.works(good))
        self.eventually(lambda: p.status()["connections"] <= 2, 10)  # what is left are good clients


class Attacks(AttackCase):
    def test_heads_that_never_end(self):
        self.attack("heads")

    def test_bodies_that_drip(self):
        self.attack("bodies")

    def test_readers_that_hardly_read(self):
        self.attack("readers")

    def test_silent_connections(self):
        self.attack("silent")

    def test_idle_connections(self):
        self.attack("idle")


class EncryptedAttacks(AttackCase):
    @classmethod
    def setUpClass(cls):
        certs = Certs()
        certs.make("a", "a.test")
        cls.addClassCleanup(shutil.rmtree, certs.dir)
        cls.context = ssl.create_default_context(cafile=certs.path("a.crt"))
        cls.LISTENER = ", tls: {certificates: {cert: %s, key: %s}}" % (certs.path("a.crt"), certs.path("a.key"))

    def connect(self, p, **how):
        c = self.context.wrap_socket(super().connect(p, **how), server_hostname="a.test")
        self.addCleanup(c.close)
        return c

    def test_idle_connections(self):
        self.attack("tls-idle")

    def test_halves_of_a_hello(self):
        self.attack("tls-stalled")

    def test_streams_that_may_not_send(self):
        self.attack("h2-readers")

    def test_handshakes_that_come_to_nothing(self):
        p = self.proxy(config(self.serve(), listener=self.LISTENER))
        good = self.asked_once(p)
        attackers = subprocess.Popen([sys.executable, ATTACKERS, "tls-handshakes", str(p.port), "64"],
                                     stdout=subprocess.DEVNULL)
        try:
            self.eventually(lambda: p.status()["tls_handshakes"]["failed_total"] > 200, 10)
            for _ in range(20):
                self.assertTrue(self.works(good))
            self.assertTrue(self.works(self.connect(p)))
        finally:
            attackers.kill()
            attackers.wait()
        self.eventually(lambda: p.status()["connections"] <= 2, 10)


if __name__ == "__main__":
    unittest.main()
