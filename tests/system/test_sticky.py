#!/usr/bin/python3
"""Sticky sessions: a cookie keeps a user at his server, over workers, restarts and both nodes of a pair."""
import os
import re
import tempfile
import unittest

from rig import Reader, Server, ask
from test_http1 import Case, config, get

STICKY = "sticky: {cookie: lb, max_age: 8h}"
COOKIE = r"lb=([0-9a-f]{16}); Path=/; Max-Age=28800; HttpOnly; SameSite=Lax"


class Sticky(Case):
    def servers(self, count=3):
        """Each answers with its own number."""
        made = []
        for i in range(count):
            s = Server(lambda conn, n, i=i: made[i].answer_all(conn, n, b"%d" % i))
            self.addCleanup(s.kill)
            made.append(s)
        return made

    def user(self, p, path="/"):
        """A new user: who serves him, and his cookie."""
        r = ask(p, get(path))
        self.assertEqual(r.status, 200)
        return r.body, re.fullmatch(COOKIE, r.get("set-cookie")).group(1)

    def back(self, p, cookie, extra=""):
        return ask(p, get("/", "Cookie: a=1; lb=%s; b=2\r\n%s" % (cookie, extra)))

    def test_a_user_stays_where_he_was_first_whatever_the_balance_and_the_worker(self):
        servers = self.servers()
        p = self.proxy(config(*servers, pool=STICKY + "\nbalance: round_robin"), workers=3)
        users = [self.user(p) for _ in range(6)]
        self.assertEqual(len({body for body, _ in users}), 3)
        self.assertEqual(len({cookie for _, cookie in users}), 3)
        for body, cookie in users * 3:
            r = self.back(p, cookie)
            self.assertEqual((r.status, r.body, r.get("set-cookie")), (200, body, None))
            self.assertIsNone(r.get("cache-control"))

    def test_the_server_never_sees_the_cookie_and_no_cache_keeps_it(self):
        s, = self.servers(1)
        p = self.proxy(config(s, pool=STICKY))
        r = ask(p, get())
        self.assertEqual(r.get("cache-control"), "private")
        self.back(p, "0" * 16)
        self.assertIn(b"\r\nCookie: a=1; b=2\r\n", s.heads()[1])
        self.assertNotIn(b"lb=", bytes(b"".join(s.heads())))

    def test_it_is_for_the_browsers_session_without_max_age_and_secure_where_a_trusted_proxy_says_tls(self):
        s, = self.servers(1)
        p = self.proxy(config(s, pool="sticky: {cookie: lb}", listener=", trusted_proxies: [127.0.0.0/8]"))
        self.assertRegex(ask(p, get()).get("set-cookie"), r"^lb=[0-9a-f]{16}; Path=/; HttpOnly; SameSite=Lax$")
        r = ask(p, get("/", "X-Forwarded-Proto: https\r\n"))
        self.assertRegex(r.get("set-cookie"), r"^lb=[0-9a-f]{16}; Path=/; HttpOnly; SameSite=Lax; Secure$")

    def test_when_his_server_dies_he_gets_another_one_and_its_cookie_in_the_same_answer(self):
        servers = self.servers()
        p = self.proxy(config(*servers, pool=STICKY + "\nbalance: round_robin"))
        body, cookie = self.user(p)
        servers[int(body)].kill()
        r = self.back(p, cookie)
        self.assertEqual(r.status, 200)
        self.assertNotEqual(r.body, body)
        again = self.back(p, re.fullmatch(COOKIE, r.get("set-cookie")).group(1))
        self.assertEqual((again.body, again.get("set-cookie")), (r.body, None))

    def test_what_is_no_cookie_of_ours_is_replaced(self):
        s, = self.servers(1)
        p = self.proxy(config(s, pool=STICKY))
        _, right = self.user(p)
        for wrong in ("x", "0" * 16, "f" * 17, right.upper() + "0", '"%s"' % right):
            self.assertRegex(self.back(p, wrong).get("set-cookie"), COOKIE)

    def test_a_user_waits_for_his_server_while_others_pass_him(self):
        gate = []

        def held(conn, n):
            rest = b""
            while True:
                head, _, rest = servers[0].read_request(conn, n, rest)
                if head is None:
                    return
                if b"GET /hold" in head:
                    gate.append(conn)
                else:
                    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0")

        servers = self.servers(2)
        servers[0].script = held
        p = self.proxy(config(*servers, pool=STICKY + "\nbalance: round_robin\nlimits: {connections_per_server: 1}"))
        cookie = dict(self.user(p) for _ in range(2))[b"0"]
        with p.connect() as holder, p.connect() as waiter:
            holder.sendall(get("/hold", "Cookie: lb=%s\r\n" % cookie))
            self.eventually(lambda: gate)
            waiter.sendall(get("/", "Cookie: lb=%s\r\n" % cookie))
            self.eventually(lambda: p.status()["pools"]["web"]["queued"] == 1)
            for _ in range(5):
                self.assertEqual(self.user(p)[0], b"1")
            self.assertEqual(p.status()["pools"]["web"]["servers"]["s0"]["queued"], 1)
            gate[0].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0")
            self.assertEqual(Reader(holder).response().body, b"0")
            r = Reader(waiter).response()
            self.assertEqual((r.body, r.get("set-cookie")), (b"0", None))

    def test_cookies_outlive_a_reload_and_a_restart(self):
        servers = self.servers()
        text = config(*servers, pool=STICKY)
        p = self.proxy(text)
        body, cookie = self.user(p)
        p.write(text + "    slow_start: 5s\n")
        self.assertIn("result", p.rpc("reload"))
        self.assertEqual(self.back(p, cookie).body, body)
        with open(p.tmp + "/sticky.key", "rb") as f:
            key = f.read()
        p.stop()
        again = self.proxy(text, wait=False)
        again.stop()
        with open(again.tmp + "/sticky.key", "wb") as f:
            f.write(key)
        again = self.proxy(text, args=("--state-dir", again.tmp))
        self.assertEqual(self.back(again, cookie).body, body)

    def test_two_nodes_with_one_secret_read_each_others_cookies(self):
        servers = self.servers(4)
        folder = tempfile.TemporaryDirectory(prefix="tandem-")
        self.addCleanup(folder.cleanup)
        secret = os.path.join(folder.name, "pair.key")
        with open(secret, "w") as f:
            f.write("5ac3" * 16 + "\n")
        os.chmod(secret, 0o600)
        pair = """failover:
  secret_file: %s
  nodes:
    a: {id: 1, paths: {lan: 127.0.0.1, cable: 127.1.0.1}}
    b: {id: 2, paths: {lan: 127.0.0.2, cable: 127.1.0.2}}
  groups:
    web: {vrid: 51, interface: lo, virtual_ips: [127.0.0.9/8]}
""" % secret
        text = pair + config(*servers, pool=STICKY + "\nbalance: random")
        nodes = [self.proxy(text, args=("--node", name)) for name in "ab"]
        for _ in range(4):
            body, cookie = self.user(nodes[0])
            for _ in range(4):
                r = self.back(nodes[1], cookie)
                self.assertEqual((r.status, r.body, r.get("set-cookie")), (200, body, None))
        self.assertFalse(os.path.exists(nodes[0].tmp + "/sticky.key"))


if __name__ == "__main__":
    unittest.main()
